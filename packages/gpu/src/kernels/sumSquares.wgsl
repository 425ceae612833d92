// out[at] = Σ x². One workgroup of 256, four sums to a lane, then a tree: a fixed order.
var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
  var parts = vec4<f32>();
  var i = lane;
  for (; i + 768u < p.count; i += 1024u) {
    let values = vec4(x[i], x[i + 256u], x[i + 512u], x[i + 768u]);
    parts += values * values;
  }
  for (; i < p.count; i += 256u) { parts.x += x[i] * x[i]; }
  sums[lane] = (parts.x + parts.y) + (parts.z + parts.w);
  workgroupBarrier();
  for (var half = 128u; half > 0u; half >>= 1u) {
    if (lane < half) { sums[lane] += sums[lane + half]; }
    workgroupBarrier();
  }
  if (lane == 0u) { out[p.at] = sums[0]; }
}
