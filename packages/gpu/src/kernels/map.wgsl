// out = f(x); the cases stand in the order of `modes` in map.ts. One thread to an element.
fn apply(mode: u32, x: f32) -> f32 {
  switch mode {
    case 0u: { return x * sigmoid(x); }                  // silu
    case 1u: { return sigmoid(x); }
    case 2u: { return hyperbolicTangent(x); }
    case 3u: { return select(x, 0.0, x <= 0.0); }        // relu: NaN stays
    case 4u: { return exponential(x); }
    case 5u: { return logarithm(x); }
    case 6u: { return x * x; }
    case 7u: { return sqrt(x); }
    case 8u: { return x * sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x)); } // gelu, tanh form: 1 + tanh u is 2 sigmoid 2u, which keeps its digits near zero
    default: { return 1.0 / x; }                         // reciprocal
  }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  out[i] = apply(p.mode, x[i]);
}
