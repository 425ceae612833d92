// out[batch, head, column] = the cache's key of that column, zero where it holds none yet. One thread to an element.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  let head = i / p.headSize / p.columns;
  let entry = head / p.heads;
  let first = places[entry * p.tokens];
  out[i] = 0.0;
  if (first >= p.capacity) { return; }
  var key = i / p.headSize % p.columns;
  if (p.window != 0u && first + 1u > p.window) { key += first + 1u - p.window; }
  if (key >= p.capacity || key >= first + p.tokens) { return; }
  if (key >= first) { if (places[entry * p.tokens + key - first] != key) { return; } }
  out[i] = cache[((entry * p.capacity + key) * p.heads + head % p.heads) * p.headSize + i % p.headSize];
}
