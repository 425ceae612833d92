// Softmax over the keys a query may see; zero elsewhere. One workgroup to a row; a lane reads back only what it wrote.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = flatWorkgroup(workgroup, workgroups);
  if (row >= p.rows) { return; }
  let at = row * p.columns;
  let end = min(p.columns, row % p.queries + p.offset + 1u);
  var begin = 0u;
  if (p.window != 0u && end > p.window) { begin = end - p.window; }
  var largest = p.scale * x[at + begin];
  for (var c = begin + lane; c < end; c += 64u) { largest = max(largest, p.scale * x[at + c]); }
  largest = maximumOverWorkgroup(largest, lane);
  var sum = 0.0;
  for (var c = begin + lane; c < end; c += 64u) {
    let e = exponential(p.scale * x[at + c] - largest);
    out[at + c] = e;
    sum += e;
  }
  sum = sumOverWorkgroup(sum, lane);
  for (var c = begin + lane; c < end; c += 64u) { out[at + c] = out[at + c] / sum; }
  for (var c = lane; c < begin; c += 64u) { out[at + c] = 0.0; }
  for (var c = end + lane; c < p.columns; c += 64u) { out[at + c] = 0.0; }
}
