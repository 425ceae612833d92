// loss[row] = logNormalizer[row] − logits[row, target], 0 where the target is left out. One workgroup to a row.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = flatWorkgroup(workgroup, workgroups);
  if (row >= p.rows) { return; }
  let at = row * p.columns;
  var largest = logits[at];
  for (var c = lane; c < p.columns; c += 64u) { largest = max(largest, logits[at + c]); }
  largest = maximumOverWorkgroup(largest, lane);
  var sum = 0.0;
  for (var c = lane; c < p.columns; c += 64u) { sum += exponential(logits[at + c] - largest); }
  sum = sumOverWorkgroup(sum, lane);
  if (lane == 0u) {
    let normalizer = largest + logarithm(sum);
    logNormalizer[row] = normalizer;
    if (targets[row] == leftOut) { loss[row] = 0.0; } else { loss[row] = normalizer - logits[at + targets[row]]; }
  }
}
