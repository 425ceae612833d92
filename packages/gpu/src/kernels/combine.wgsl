// out[token] = Σ over rank of weight · y[place], in rank order. One thread to an element.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  let token = i / p.columns;
  let c = i % p.columns;
  var sum = 0.0;
  for (var rank = token * p.active_; rank < (token + 1u) * p.active_; rank++) {
    let value = y[places[rank] * p.columns + c];
    if (p.weighted != 0u) { sum += weights[rank] * value; } else { sum += value; }
  }
  out[i] = sum;
}
