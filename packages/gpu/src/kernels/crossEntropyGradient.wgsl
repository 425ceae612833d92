// out[row] = gradient[row] · (softmax(logits[row]) − one-hot(target)), 0 where the target is left out. One workgroup to a row.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = flatWorkgroup(workgroup, workgroups);
  if (row >= p.rows) { return; }
  let at = row * p.columns;
  let chosen = targets[row];
  for (var c = lane; c < p.columns; c += 64u) {
    var value = 0.0; // of a row left out, also when its logits are not numbers
    if (chosen != leftOut) { value = gradient[row] * (exponential(logits[at + c] - logNormalizer[row]) - select(0.0, 1.0, c == chosen)); }
    out[at + c] = value;
  }
}
