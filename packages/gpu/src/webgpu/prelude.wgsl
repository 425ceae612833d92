// Small functions that kernels share. The generated declarations of the kernel's parameters and bindings stand before them.

// A target or an id that is left out.
const leftOut = 0xffffffffu;

// The flat index of a workgroup that Kernel.groups folded into x and y.
fn flatWorkgroup(workgroup: vec3<u32>, workgroups: vec3<u32>) -> u32 { return workgroup.y * workgroups.x + workgroup.x; }

// By its bits: compilers may assume that x == x.
fn isNaN(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }

// exp and log of some drivers lose NaN.
fn exponential(x: f32) -> f32 { return select(exp(x), x, isNaN(x)); }
fn logarithm(x: f32) -> f32 { return select(log(x), x, isNaN(x)); }

fn sigmoid(x: f32) -> f32 { return 1.0 / (1.0 + exponential(-x)); }

// Drivers may compute tanh from exponentials that overflow; beyond 15 it is ±1 in f32.
fn hyperbolicTangent(x: f32) -> f32 { return select(tanh(clamp(x, -15.0, 15.0)), x, isNaN(x)); }
