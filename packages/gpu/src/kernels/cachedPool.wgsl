// Causal pooling that goes on from a kept state. One thread to a column of a sequence.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  let entry = i / p.columns;
  var sum = state[i];
  var weight = state[p.count + i];
  for (var t = 0u; t < p.tokens; t++) {
    let place = places[entry * p.tokens + t];
    let at = (entry * p.tokens + t) * p.columns + i % p.columns;
    if (place == leftOut) {
      out[at] = 0.0;
      continue;
    }
    if (place == 0u) { sum = 0.0; weight = 0.0; }
    sum = p.decay * sum + x[at];
    weight = p.decay * weight + 1.0;
    if (p.mean != 0u) { out[at] = sum / weight; } else { out[at] = sum; }
  }
  state[i] = sum;
  state[p.count + i] = weight;
}
