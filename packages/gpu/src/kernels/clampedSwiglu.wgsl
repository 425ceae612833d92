// out = g · sigmoid(slope · g) · (u + 1), both inputs clamped. One thread to an element.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  let g = select(gate[i], p.limit, gate[i] > p.limit); // NaN stays
  let u = select(select(up[i], -p.limit, up[i] < -p.limit), p.limit, up[i] > p.limit);
  out[i] = g * sigmoid(p.slope * g) * (u + 1.0);
}
