// Both gradients of clampedSwiglu. One thread to an element.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  let g = select(gate[i], p.limit, gate[i] > p.limit);
  let u = select(select(up[i], -p.limit, up[i] < -p.limit), p.limit, up[i] > p.limit);
  let s = sigmoid(p.slope * g);
  gateGradient[i] = select(gradient[i] * (u + 1.0) * s * (1.0 + p.slope * g * (1.0 - s)), 0.0, gate[i] > p.limit);
  upGradient[i] = select(gradient[i] * g * s, 0.0, abs(up[i]) > p.limit);
}
