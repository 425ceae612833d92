// out[row, head, d] = Σ over seen keys of weight · value. One thread to an element: neighbours read neighbouring numbers of a value.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  let head = i / p.headSize;
  let row = head / p.heads;
  let place = places[row];
  var end = 0u;
  if (place < p.columns) { end = place + 1u; }
  var begin = 0u;
  if (p.window != 0u && end > p.window) { begin = end - p.window; }
  let width = p.keyValueHeads * p.headSize;
  let value = row / p.tokens * p.capacity * width + head % p.heads / (p.heads / p.keyValueHeads) * p.headSize + i % p.headSize;
  var sum = 0.0;
  for (var key = begin; key < end; key++) { sum = fma(weights[head * p.columns + key], values[value + key * width], sum); }
  out[i] = sum;
}
