// The places of the largest of a row, ties to the lowest place, NaN lowest. One thread to a row, one pass over the columns to a rank.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.rows) { return; }
  for (var rank = 0u; rank < p.active_; rank++) {
    var best = leftOut;
    var largest = 0.0;
    for (var c = 0u; c < p.columns; c++) {
      let value = x[i * p.columns + c];
      let better = best == leftOut || value > largest || (isNaN(largest) && !isNaN(value));
      if (!better) { continue; }
      var taken = false;
      for (var before = 0u; before < rank; before++) { taken = taken || ids[i * p.active_ + before] == c; }
      if (!taken) { best = c; largest = value; }
    }
    ids[i * p.active_ + rank] = best;
  }
}
