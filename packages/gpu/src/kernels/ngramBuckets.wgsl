// The bucket of the n-gram that ends at each row, for each order. One thread to an order and a row.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  let order = i / p.rows + 1u;
  let row = i % p.rows;
  let place = places[row];
  if (place == leftOut || place + 1u < order) {
    out[i] = leftOut;
    return;
  }
  var hash = order;
  for (var back = 0u; back < order; back++) {
    let mixed = (hash ^ ids[row + 1u + back - order]) * 0x9e3779b1u;
    hash = mixed ^ (mixed >> 15u);
  }
  out[i] = (order - 1u) * p.buckets + ((hash * 0x85ebca6bu) >> 8u) % p.buckets;
}
