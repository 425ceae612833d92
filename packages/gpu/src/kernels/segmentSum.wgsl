// out[bin] = Σ of the rows order[offsets[bin]] … in that order. One workgroup to a bin, lanes over columns.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let bin = flatWorkgroup(workgroup, workgroups);
  if (bin >= p.bins) { return; }
  let begin = offsets[bin];
  let end = offsets[bin + 1u];
  for (var c = lane; c < p.columns; c += 64u) {
    var sum = 0.0;
    for (var i = begin; i < end; i++) { sum += x[order[i] * p.columns + c]; }
    out[bin * p.columns + c] = sum;
  }
}
