// loss[row] = logNormalizer[row] − logits[row, target], 0 where the target is left out. The lanes of a row share its columns.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let row = rowOf(workgroup, workgroups, index);
  if (row >= p.rows) { return; }
  let lane = laneOf(index);
  let at = row * p.columns;
  var largest = logits[at];
  for (var c = lane; c < p.columns; c += lanesOfRow) { largest = max(largest, logits[at + c]); }
  largest = maximumOverRow(largest, index);
  var sum = 0.0;
  for (var c = lane; c < p.columns; c += lanesOfRow) { sum += exponential(logits[at + c] - largest); }
  sum = sumOverRow(sum, index);
  if (lane == 0u) {
    let normalizer = largest + logarithm(sum);
    logNormalizer[row] = normalizer;
    if (targets[row] == leftOut) { loss[row] = 0.0; } else { loss[row] = normalizer - logits[at + targets[row]]; }
  }
}
