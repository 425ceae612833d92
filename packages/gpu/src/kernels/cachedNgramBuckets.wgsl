// The buckets of the n-grams that end at new tokens, whose beginnings are kept. One thread to a text.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let entry = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (entry >= p.batch) { return; }
  let rows = p.batch * p.tokens;
  let before = p.orders - 1u;
  let first = entry * before;
  for (var t = 0u; t < p.tokens; t++) {
    let row = entry * p.tokens + t;
    let place = places[row];
    for (var order = 1u; order <= p.orders; order++) {
      let at = (order - 1u) * rows + row;
      if (place == leftOut || place + 1u < order) {
        out[at] = leftOut;
        continue;
      }
      var hash = order;
      for (var back = 0u; back < order; back++) {
        var id = ids[row];
        if (back + 1u < order) { id = held[first + p.orders - order + back]; }
        let mixed = (hash ^ id) * 0x9e3779b1u;
        hash = mixed ^ (mixed >> 15u);
      }
      out[at] = (order - 1u) * p.buckets + ((hash * 0x85ebca6bu) >> 8u) % p.buckets;
    }
    if (place == leftOut) { continue; }
    for (var at = 0u; at < before; at++) {
      if (at + 1u < before) { held[first + at] = held[first + at + 1u]; } else { held[first + at] = ids[row]; }
    }
  }
}
