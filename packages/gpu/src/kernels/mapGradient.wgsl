// out = gradient · f′(x); the cases stand in the order of `modes` in map.ts. One thread to an element.
fn slope(mode: u32, x: f32) -> f32 {
  switch mode {
    case 0u: { let s = sigmoid(x); return s * (1.0 + x * (1.0 - s)); }     // silu
    case 1u: { let s = sigmoid(x); return s * (1.0 - s); }
    case 2u: { let t = hyperbolicTangent(x); return 1.0 - t * t; }
    case 3u: { return select(0.0, 1.0, x > 0.0); }                         // relu
    case 4u: { return exponential(x); }
    case 5u: { return 1.0 / x; }                                           // log
    case 6u: { return 2.0 * x; }                                           // square
    case 7u: { return 0.5 / sqrt(x); }
    case 8u: {                                                              // gelu, tanh form: 1 + tanh u is 2 sigmoid 2u, which keeps its digits near zero
      let bend = 1.5957691216057308;
      let s = sigmoid(bend * (x + 0.044715 * x * x * x));
      return s + x * s * (1.0 - s) * bend * (1.0 + 0.134145 * x * x);
    }
    default: { return -1.0 / (x * x); }                                    // reciprocal
  }
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let i = flatWorkgroup(workgroup, workgroups) * 64u + lane;
  if (i >= p.count) { return; }
  out[i] = gradient[i] * slope(p.mode, x[i]);
}
