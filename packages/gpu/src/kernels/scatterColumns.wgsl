// out[row, column] = Σ of x[row, rank] over the ranks that chose the column. One thread to an element.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  let row = i / p.columns;
  let column = i % p.columns;
  var sum = 0.0;
  for (var rank = row * p.active_; rank < (row + 1u) * p.active_; rank++) {
    if (ids[rank] == column) { sum += x[rank]; }
  }
  out[i] = sum;
}
