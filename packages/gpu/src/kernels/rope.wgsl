// Turns the pairs (j, j + headSize/2) of every head. One thread to a pair.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  let half = p.headSize / 2u;
  let j = i % half;
  let head = i / half;
  let at = head * p.headSize + j;
  let angle = positions[head / p.heads] * half + j;
  let cosine = cosines[angle];
  let sine = p.direction * sines[angle];
  let first = x[at];
  let second = x[at + half];
  out[at] = first * cosine - second * sine;
  out[at + half] = second * cosine + first * sine;
}
