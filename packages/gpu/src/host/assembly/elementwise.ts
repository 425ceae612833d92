/** Kernels that give one number to one number. Bindings as pointers in binding order, then parameters in layout order. */
import { exponential, onePlusExponential, sigmoid } from "./exponential"
import { copyRow, fillRow, storeLanes } from "./lanes"

// @ts-ignore: decorator
@inline
function put(at: usize, value: v128, i: u32, count: u32): void {
  if (i + 4 <= count) v128.store(at + (i << 2), value)
  else storeLanes(at + (i << 2), value, count - i)
}

export function fill(out: usize, count: u32, value: f32): void {
  fillRow(out, value, count)
}

export function add(a: usize, b: usize, out: usize, count: u32, scale: f32): void {
  const s = f32x4.splat(scale)
  for (let i: u32 = 0; i < count; i += 4) put(out, f32x4.add(v128.load(a + (i << 2)), f32x4.mul(s, v128.load(b + (i << 2)))), i, count)
}

export function multiply(a: usize, b: usize, out: usize, count: u32, scale: f32): void {
  const s = f32x4.splat(scale)
  for (let i: u32 = 0; i < count; i += 4) put(out, f32x4.mul(f32x4.mul(s, v128.load(a + (i << 2))), v128.load(b + (i << 2))), i, count)
}

export function affine(x: usize, out: usize, count: u32, scale: f32, shift: f32): void {
  const s = f32x4.splat(scale), t = f32x4.splat(shift)
  for (let i: u32 = 0; i < count; i += 4) put(out, f32x4.add(f32x4.mul(s, v128.load(x + (i << 2))), t), i, count)
}

export function swiglu(gate: usize, up: usize, out: usize, count: u32): void {
  for (let i: u32 = 0; i < count; i += 4) {
    const g = v128.load(gate + (i << 2))
    put(out, f32x4.mul(f32x4.div(g, onePlusExponential(g)), v128.load(up + (i << 2))), i, count)
  }
}

export function swigluGradient(gate: usize, up: usize, gradient: usize, gateGradient: usize, upGradient: usize, count: u32): void {
  const one = f32x4.splat(1)
  for (let i: u32 = 0; i < count; i += 4) {
    const x = v128.load(gate + (i << 2)), s = sigmoid(x), g = v128.load(gradient + (i << 2))
    put(upGradient, f32x4.mul(g, f32x4.mul(x, s)), i, count)
    put(gateGradient, f32x4.mul(f32x4.mul(f32x4.mul(g, v128.load(up + (i << 2))), s), f32x4.add(one, f32x4.mul(x, f32x4.sub(one, s)))), i, count)
  }
}

export function adamw(parameter: usize, first: usize, second: usize, gradient: usize, hyper: usize, clip: usize, count: u32, decays: u32): void {
  const rate = load<f32>(hyper), beta1 = load<f32>(hyper, 4), beta2 = load<f32>(hyper, 8), epsilon = load<f32>(hyper, 12), decay = load<f32>(hyper, 16)
  const b1 = f32x4.splat(beta1), b2 = f32x4.splat(beta2), c1 = f32x4.splat(<f32>(1 - <f64>beta1)), c2 = f32x4.splat(<f32>(1 - <f64>beta2))
  const shrink = f32x4.splat(decays ? <f32>(1 - <f64>rate * <f64>decay) : 1), scale = f32x4.splat(load<f32>(clip)), e = f32x4.splat(epsilon)
  const step = f32x4.splat(rate / load<f32>(hyper, 20)), correction = f32x4.splat(load<f32>(hyper, 24))
  for (let i: u32 = 0; i < count; i += 4) {
    const g = f32x4.mul(v128.load(gradient + (i << 2)), scale)
    const m = f32x4.add(f32x4.mul(b1, v128.load(first + (i << 2))), f32x4.mul(c1, g))
    const v = f32x4.add(f32x4.mul(b2, v128.load(second + (i << 2))), f32x4.mul(c2, f32x4.mul(g, g)))
    put(first, m, i, count)
    put(second, v, i, count)
    const change = f32x4.div(f32x4.mul(step, m), f32x4.add(f32x4.sqrt(f32x4.div(v, correction)), e))
    put(parameter, f32x4.sub(f32x4.mul(v128.load(parameter + (i << 2)), shrink), change), i, count)
  }
}

const silus: u32 = 0, sigmoids: u32 = 1, tanhs: u32 = 2, relus: u32 = 3, exponentials: u32 = 4, logarithms: u32 = 5, squares: u32 = 6, roots: u32 = 7, gelus: u32 = 8
const bend: f64 = 0.7978845608028654

/** The modes without a vector form, in double precision. */
function mapOne(x: f64, mode: u32): f64 {
  if (mode == tanhs) return Math.tanh(x)
  if (mode == logarithms) return Math.log(x)
  return 0.5 * x * (1 + Math.tanh(bend * (x + 0.044715 * x * x * x)))
}
function slopeOne(x: f64, mode: u32): f64 {
  if (mode == tanhs) {
    const t = Math.tanh(x)
    return 1 - t * t
  }
  const t = Math.tanh(bend * (x + 0.044715 * x * x * x))
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * bend * (1 + 3 * 0.044715 * x * x)
}

export function map(x: usize, out: usize, count: u32, mode: u32): void {
  const one = f32x4.splat(1)
  if (mode == tanhs || mode == logarithms || mode == gelus) {
    for (let i: u32 = 0; i < count; i++) store<f32>(out + (i << 2), <f32>mapOne(<f64>load<f32>(x + (i << 2)), mode))
    return
  }
  for (let i: u32 = 0; i < count; i += 4) {
    const v = v128.load(x + (i << 2))
    let y: v128
    if (mode == silus) y = f32x4.div(v, onePlusExponential(v))
    else if (mode == sigmoids) y = sigmoid(v)
    else if (mode == relus) y = f32x4.max(v, f32x4.splat(0))
    else if (mode == exponentials) y = exponential(v)
    else if (mode == squares) y = f32x4.mul(v, v)
    else if (mode == roots) y = f32x4.sqrt(v)
    else y = f32x4.div(one, v)
    put(out, y, i, count)
  }
}

export function mapGradient(x: usize, gradient: usize, out: usize, count: u32, mode: u32): void {
  const one = f32x4.splat(1)
  if (mode == tanhs || mode == gelus) {
    for (let i: u32 = 0; i < count; i++) store<f32>(out + (i << 2), <f32>(<f64>load<f32>(gradient + (i << 2)) * slopeOne(<f64>load<f32>(x + (i << 2)), mode)))
    return
  }
  for (let i: u32 = 0; i < count; i += 4) {
    const v = v128.load(x + (i << 2))
    let y: v128
    if (mode == silus) {
      const s = sigmoid(v)
      y = f32x4.mul(s, f32x4.add(one, f32x4.mul(v, f32x4.sub(one, s))))
    } else if (mode == sigmoids) {
      const s = sigmoid(v)
      y = f32x4.mul(s, f32x4.sub(one, s))
    } else if (mode == relus) y = v128.and(f32x4.gt(v, f32x4.splat(0)), one)
    else if (mode == exponentials) y = exponential(v)
    else if (mode == logarithms) y = f32x4.div(one, v)
    else if (mode == squares) y = f32x4.add(v, v)
    else if (mode == roots) y = f32x4.div(f32x4.splat(0.5), f32x4.sqrt(v))
    else y = f32x4.div(f32x4.splat(-1), f32x4.mul(v, v))
    put(out, f32x4.mul(v128.load(gradient + (i << 2)), y), i, count)
  }
}

export function copyColumns(x: usize, out: usize, count: u32, columns: u32, inputStride: u32, inputOffset: u32, outStride: u32, outOffset: u32): void {
  const rows = count / columns
  for (let row: u32 = 0; row < rows; row++) copyRow(x + ((row * inputStride + inputOffset) << 2), out + ((row * outStride + outOffset) << 2), columns)
}

export function permute(x: usize, out: usize, count: u32, b: u32, c: u32, d: u32): void {
  const a = count / (b * c * d)
  let to = out
  if (d == 1) { // a transpose: rows of the output are written whole
    for (let i: u32 = 0; i < a; i++) for (let k: u32 = 0; k < c; k++) {
      let from = x + ((i * b * c + k) << 2)
      for (let j: u32 = 0; j < b; j++, from += c << 2, to += 4) store<f32>(to, load<f32>(from))
    }
    return
  }
  for (let i: u32 = 0; i < a; i++) for (let k: u32 = 0; k < c; k++) {
    let from = x + ((i * b * c + k) * d << 2)
    for (let j: u32 = 0; j < b; j++, from += (c * d) << 2, to += d << 2) copyRow(from, to, d)
  }
}

export function rope(x: usize, positions: usize, cosines: usize, sines: usize, out: usize, count: u32, heads: u32, headSize: u32, direction: f32): void {
  const half = headSize >> 1, width = half << 2, all = count / half, d = f32x4.splat(direction)
  for (let head: u32 = 0; head < all; head++) {
    const at = (head * headSize) << 2, angle = (load<u32>(positions + ((head / heads) << 2)) * half) << 2
    for (let j: u32 = 0; j < half; j += 4) {
      const from = x + at + (j << 2), to = out + at + (j << 2)
      const cosine = v128.load(cosines + angle + (j << 2)), sine = f32x4.mul(d, v128.load(sines + angle + (j << 2)))
      const first = v128.load(from), second = v128.load(from + width)
      const low = f32x4.sub(f32x4.mul(first, cosine), f32x4.mul(second, sine)), high = f32x4.add(f32x4.mul(second, cosine), f32x4.mul(first, sine))
      if (j + 4 <= half) {
        v128.store(to, low)
        v128.store(to + width, high)
      } else {
        storeLanes(to, low, half - j)
        storeLanes(to + width, high, half - j)
      }
    }
  }
}
