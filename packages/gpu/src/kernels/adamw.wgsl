// AdamW in place. hyper = [learningRate, beta1, beta2, epsilon, weightDecay, 1 − beta1^step, 1 − beta2^step]. One thread to an element.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  let rate = hyper[0];
  var shrink = 1.0;
  if (p.decays != 0u) { shrink = 1.0 - rate * hyper[4]; }
  let g = gradient[i] * clip[0];
  let m = hyper[1] * first[i] + (1.0 - hyper[1]) * g;
  let v = hyper[2] * second[i] + (1.0 - hyper[2]) * g * g;
  first[i] = m;
  second[i] = v;
  parameter[i] = parameter[i] * shrink - rate * (m / hyper[5]) / (sqrt(v / hyper[6]) + hyper[3]);
}
