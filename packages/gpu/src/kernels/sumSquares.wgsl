// out[at + part] = Σ x² over a chunk. A workgroup of 256 to a part, four sums to a lane, then a tree: a fixed order.
var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let part = flatWorkgroup(workgroup, workgroups);
  let begin = part * p.chunk;
  if (begin >= p.count) { return; }
  let end = min(begin + p.chunk, p.count);
  var parts = vec4<f32>();
  var i = begin + lane;
  for (; i + 768u < end; i += 1024u) {
    let values = vec4(x[i], x[i + 256u], x[i + 512u], x[i + 768u]);
    parts += values * values;
  }
  for (; i < end; i += 256u) { parts.x += x[i] * x[i]; }
  sums[lane] = (parts.x + parts.y) + (parts.z + parts.w);
  workgroupBarrier();
  for (var half = 128u; half > 0u; half >>= 1u) {
    if (lane < half) { sums[lane] += sums[lane + half]; }
    workgroupBarrier();
  }
  if (lane == 0u) { out[p.at + part] = sums[0]; }
}
