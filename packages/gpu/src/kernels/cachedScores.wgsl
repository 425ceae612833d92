// out[row, head, key] = scale · q · key where the row sees the key, else 0. One thread to a score.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  let key = i % p.columns;
  let head = i / p.columns;
  let row = head / p.heads;
  let place = places[row];
  if (place >= p.columns || key > place || (p.window != 0u && key + p.window <= place)) {
    out[i] = 0.0;
    return;
  }
  let x = head * p.headSize;
  let y = ((row / p.tokens * p.capacity + key) * p.keyValueHeads + head % p.heads / (p.heads / p.keyValueHeads)) * p.headSize;
  var sum = 0.0;
  for (var d = 0u; d < p.headSize; d++) { sum = fma(q[x + d], keys[y + d], sum); }
  out[i] = p.scale * sum;
}
