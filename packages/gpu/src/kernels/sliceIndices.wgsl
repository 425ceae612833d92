// out[row, c] = x[row, offset + c], whole numbers. One thread to an element.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  out[i] = x[i / p.columns * p.stride + p.offset + i % p.columns];
}
