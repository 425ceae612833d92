// out[i] = ids[start + i] − from where that lies below `entries`, else left out. One thread to an element.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  let id = ids[p.start + i];
  out[i] = select(leftOut, id - p.from_, id != leftOut && id >= p.from_ && id - p.from_ < p.entries);
}
