// out[1] = the global norm, out[0] = what scales gradients down to `maximum`. One workgroup.
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  for (var i = lane; i < p.count; i += 64u) { sum += squares[i]; }
  let norm = sqrt(sumOverWorkgroup(sum, lane));
  if (lane == 0u) {
    out[0] = 1.0;
    if (p.maximum > 0.0 && norm > p.maximum) { out[0] = p.maximum / norm; }
    out[1] = norm;
  }
}
