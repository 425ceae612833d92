// out[token] = Σ over rank of weight · y[place], in rank order. Four elements to a thread: what a token asks of its places is looked up once for them.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first = (flatWorkgroup(workgroup, workgroups) * 64u + lane) * 4u;
  if (first >= p.count) { return; }
  var token = first / p.columns;
  let c = first - token * p.columns;
  if (c + 4u <= p.columns) {
    var sums = vec4<f32>();
    for (var rank = token * p.active_; rank < (token + 1u) * p.active_; rank++) {
      let at = places[rank] * p.columns + c;
      let values = vec4(y[at], y[at + 1u], y[at + 2u], y[at + 3u]);
      if (p.weighted != 0u) { sums += weights[rank] * values; } else { sums += values; }
    }
    out[first] = sums.x;
    out[first + 1u] = sums.y;
    out[first + 2u] = sums.z;
    out[first + 3u] = sums.w;
    return;
  }
  // across the end of a row, or of all
  for (var i = first; i < min(first + 4u, p.count); i++) {
    token = i / p.columns;
    var sum = 0.0;
    for (var rank = token * p.active_; rank < (token + 1u) * p.active_; rank++) {
      let value = y[places[rank] * p.columns + i - token * p.columns];
      if (p.weighted != 0u) { sum += weights[rank] * value; } else { sum += value; }
    }
    out[i] = sum;
  }
}
