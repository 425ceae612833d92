// cache[batch, places[row]] = x[row]; a place past the end is left out. One thread to an element.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  let row = i / p.columns;
  let place = places[row];
  if (place >= p.capacity) { return; }
  cache[(row / p.tokens * p.capacity + place) * p.columns + i % p.columns] = x[i];
}
