// Causal pooling along tokens, one pass. One thread to a (batch, column).
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  let base = (i / p.columns) * p.tokens * p.columns + i % p.columns;
  let pooled = p.mean != 0u;
  var sum = 0.0;
  var weight = 0.0;
  for (var t = 0u; t < p.tokens; t++) {
    let at = base + t * p.columns;
    let before = select(sum, select(sum / weight, 0.0, weight == 0.0), pooled);
    sum = p.decay * sum + x[at];
    weight = p.decay * weight + 1.0;
    out[at] = select(select(sum, sum / weight, pooled), before, p.exclusive != 0u);
  }
}
