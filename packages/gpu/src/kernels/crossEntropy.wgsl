// loss[row] = logNormalizer[row] − logits[row, target], 0 where the target is left out. The lanes of a row share its columns, and sum them in blocks:
// over a whole vocabulary what each small term adds to a large sum would be rounded away.
const block = 512u;
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
  for (var first = 0u; first < p.columns; first += block) {
    let end = min(p.columns, first + block);
    var part = 0.0;
    for (var c = first + lane; c < end; c += lanesOfRow) { part += exponential(logits[at + c] - largest); }
    sum += part;
  }
  sum = sumOverRow(sum, index);
  if (lane == 0u) {
    let normalizer = largest + logarithm(sum);
    logNormalizer[row] = normalizer;
    if (targets[row] == leftOut) { loss[row] = 0.0; } else { loss[row] = normalizer - logits[at + targets[row]]; }
  }
}
