// Gradient of prefixPool: pooling from the end. One thread to a (batch, column).

// 1 + decay + … + decay^(terms − 1) by doubling: every term is positive, so nothing cancels.
fn geometric(decay: f32, terms: u32) -> f32 {
  var sum = 0.0;
  var power = 1.0;
  for (var bit = 32u - countLeadingZeros(terms); bit > 0u; bit--) {
    sum = sum * (1.0 + power);
    power = power * power;
    if (((terms >> (bit - 1u)) & 1u) == 1u) {
      sum = decay * sum + 1.0;
      power = power * decay;
    }
  }
  return sum;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  let base = (i / p.columns) * p.tokens * p.columns + i % p.columns;
  let exclusive = p.exclusive != 0u;
  var sum = 0.0;
  for (var left = p.tokens; left > 0u; left--) {
    let at = base + (left - 1u) * p.columns;
    let terms = select(left, left - 1u, exclusive);
    var own = gradient[at];
    if (p.mean != 0u && terms > 0u) { own = own / geometric(p.decay, terms); }
    if (exclusive) {
      out[at] = sum;
      sum = p.decay * sum + select(own, 0.0, terms == 0u);
    } else {
      sum = p.decay * sum + own;
      out[at] = sum;
    }
  }
}
