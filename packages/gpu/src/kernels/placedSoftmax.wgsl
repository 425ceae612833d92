// Softmax over the keys that a row sees, zero elsewhere. The lanes of a row share its columns; a lane reads back only what it wrote.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let row = rowOf(workgroup, workgroups, index);
  if (row >= p.rows) { return; }
  let lane = laneOf(index);
  let at = row * p.columns;
  let entry = row / (p.tokens * p.heads) % p.batch * p.tokens;
  let place = places[entry + row % p.tokens];
  var end = 0u;
  if (place != leftOut) {
    var shift = 0u;
    if (p.window != 0u && places[entry] + 1u > p.window) { shift = places[entry] + 1u - p.window; }
    end = min(p.columns, place + 1u - shift);
  }
  var begin = 0u;
  if (p.window != 0u && end > p.window) { begin = end - p.window; }
  var largest = p.scale * x[at + begin];
  for (var c = begin + lane; c < end; c += lanesOfRow) { largest = max(largest, p.scale * x[at + c]); }
  largest = maximumOverRow(largest, index);
  var sum = 0.0;
  for (var c = begin + lane; c < end; c += lanesOfRow) {
    let e = exponential(p.scale * x[at + c] - largest);
    out[at + c] = e;
    sum += e;
  }
  sum = sumOverRow(sum, index);
  for (var c = begin + lane; c < end; c += lanesOfRow) { out[at + c] = out[at + c] / sum; }
  for (var c = lane; c < begin; c += lanesOfRow) { out[at + c] = 0.0; }
  for (var c = end + lane; c < p.columns; c += lanesOfRow) { out[at + c] = 0.0; }
}
