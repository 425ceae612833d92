/** out = f(x), f chosen by `mode` (the place of its name in `modes`). */
import { make, perElement, reads, writes, type Reals } from "../Kernel.ts"

export const modes = ["silu", "sigmoid", "tanh", "relu", "exp", "log", "square", "sqrt", "gelu", "reciprocal"] as const
export type Mode = (typeof modes)[number]
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))
const bend = Math.sqrt(2 / Math.PI)
/** gelu is the tanh form. */
const forward: Record<Mode, (x: number) => number> = {
  silu: (x) => x * sigmoid(x), sigmoid, tanh: Math.tanh, relu: (x) => Math.max(x, 0), exp: Math.exp, log: Math.log, square: (x) => x * x, sqrt: Math.sqrt,
  gelu: (x) => 0.5 * x * (1 + Math.tanh(bend * (x + 0.044715 * x ** 3))), reciprocal: (x) => 1 / x
}
const slope: Record<Mode, (x: number) => number> = {
  silu: (x) => sigmoid(x) * (1 + x * (1 - sigmoid(x))), sigmoid: (x) => sigmoid(x) * (1 - sigmoid(x)), tanh: (x) => 1 - Math.tanh(x) ** 2, relu: (x) => x > 0 ? 1 : 0,
  exp: Math.exp, log: (x) => 1 / x, square: (x) => 2 * x, sqrt: (x) => 0.5 / Math.sqrt(x), reciprocal: (x) => -1 / (x * x),
  gelu: (x) => { const t = Math.tanh(bend * (x + 0.044715 * x ** 3)); return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * bend * (1 + 3 * 0.044715 * x * x) }
}
/** out = gradient · f′(x), in plain form. */
export const mapSlope = (mode: number, x: Reals, gradient: Reals, out: Reals, count: number): void => {
  const f = slope[modes[mode]!]
  for (let i = 0; i < count; i++) out[i] = gradient[i]! * f(x[i]!)
}

export const map = make("map", {
  bindings: { x: reads, out: writes },
  params: { count: "u32", mode: "u32" },
  flops: ({ count }) => 8 * count,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./map.wgsl", import.meta.url),
  run: ({ out, x }, { count, mode }) => {
    const f = forward[modes[mode]!]
    for (let i = 0; i < count; i++) out[i] = f(x[i]!)
  }
})
