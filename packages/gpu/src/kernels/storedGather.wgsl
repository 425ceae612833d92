// out[row] = table[ids[row] / divisor], the table stored; a left-out id gives zeros. One thread to an element.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  let id = ids[i / p.columns];
  if (id == leftOut) { out[i] = 0.0; return; }
  out[i] = widened((id / p.divisor) * p.columns + i % p.columns);
}
