// x [a, b, c, d] → out [a, c, b, d]. One thread to an element of out.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  let l = i % p.d;
  let j = (i / p.d) % p.b;
  let k = (i / (p.d * p.b)) % p.c;
  let first = i / (p.d * p.b * p.c);
  out[i] = x[((first * p.b + j) * p.c + k) * p.d + l];
}
