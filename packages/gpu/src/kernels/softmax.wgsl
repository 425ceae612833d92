// out[row] = softmax(scale · x[row]). The lanes of a row share its columns; a lane reads back only what it wrote.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let row = rowOf(workgroup, workgroups, index);
  if (row >= p.rows) { return; }
  let lane = laneOf(index);
  let at = row * p.columns;
  var largest = p.scale * x[at];
  for (var c = lane; c < p.columns; c += lanesOfRow) { largest = max(largest, p.scale * x[at + c]); }
  largest = maximumOverRow(largest, index);
  var sum = 0.0;
  for (var c = lane; c < p.columns; c += lanesOfRow) {
    let e = exponential(p.scale * x[at + c] - largest);
    out[at + c] = e;
    sum += e;
  }
  sum = sumOverRow(sum, index);
  for (var c = lane; c < p.columns; c += lanesOfRow) { out[at + c] = out[at + c] / sum; }
}
