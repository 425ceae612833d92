// sigmoid(log Σ e^s − sink), the sum read off at the row's likeliest place. The lanes of a row share its columns.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let row = rowOf(workgroup, workgroups, index);
  if (row >= p.rows) { return; }
  let lane = laneOf(index);
  let at = row * p.columns;
  var likeliest = probability[at];
  for (var c = lane; c < p.columns; c += lanesOfRow) { likeliest = max(likeliest, probability[at + c]); }
  likeliest = maximumOverRow(likeliest, index);
  var score = -3.0e38;
  for (var c = lane; c < p.columns; c += lanesOfRow) { if (probability[at + c] == likeliest) { score = max(score, p.scale * x[at + c]); } }
  score = maximumOverRow(score, index);
  let sink = sinks[row / p.repeat % p.heads];
  if (lane == 0u) { out[row] = sigmoid(score - logarithm(likeliest) - sink); }
}
