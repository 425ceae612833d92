/**
 * Gradients against central differences, with every kernel's reference in f64: the oracle of every backward. A test's tool, not exported.
 */
import { Random } from "@switchyard/core"
import { Effect } from "effect"
import * as Gradient from "./Gradient.ts"
import { plainDevice } from "./host/plain.ts"
import { keep } from "./ops/keep.ts"
import { multiply } from "./ops/multiply.ts"
import { sumAll } from "./ops/sumAll.ts"
import * as Recording from "./Recording.ts"
import { kept, type Tensor } from "./Tensor.ts"

export interface Input { readonly tensor: Tensor; readonly data: Float64Array | Uint32Array; readonly checked: boolean }

/** A kept f32 input with seeded normal numbers, whose gradient is checked. Options: `from` maps each number (say to make it positive). */
export const real = (shape: ReadonlyArray<number>, options: { readonly seed?: number; readonly label?: string; readonly from?: (x: number) => number } = {}): Input => {
  const { from = (x) => x, label = "x", seed = 0 } = options
  const tensor = kept(shape, { label })
  return { tensor, data: Float64Array.from(Random.fillNormal(Random.make(seed, label), new Float32Array(tensor.slot.length)), from), checked: true }
}
/** A kept u32 input. */
export const index = (shape: ReadonlyArray<number>, data: ReadonlyArray<number>): Input => ({ tensor: kept(shape, { dtype: "u32" }), data: Uint32Array.from(data), checked: false })

/**
 * The largest relative error over the checked inputs: |analytic − numeric| / (|analytic| + |numeric|), norms over the elements tried.
 *
 * `build` gives the output; the loss is its sum weighted by fixed normal numbers. Options: `samples` elements of each input are tried (all when left out).
 */
export const checkGradient = async (inputs: ReadonlyArray<Input>, build: () => Tensor, options: { readonly samples?: number; readonly step?: number } = {}): Promise<number> => {
  const { samples = Infinity, step = 1e-4 } = options
  let weights: Tensor | undefined
  const loss = () => {
    const out = build()
    weights ??= kept(out.shape, { label: "weights" })
    return sumAll(multiply(out, weights))
  }
  const checked = inputs.filter((input) => input.checked)
  const value = Recording.record(() => keep(loss(), "loss"))
  const gradient = Recording.record(() => Gradient.of(loss(), checked.map(({ tensor }) => tensor)).map((g, at) => keep(g, `gradient ${at}`)))
  return Effect.runPromise(Effect.scoped(Effect.gen(function*() {
    const arena = yield* plainDevice({ precision: "f64" }).arena
    for (const { data, tensor } of inputs) yield* arena.upload(tensor, data)
    yield* arena.upload(weights!, Float64Array.from(Random.fillNormal(Random.make(1, "weights"), new Float32Array(weights!.slot.length))))
    yield* arena.submit(gradient)
    let worst = 0
    for (const [at, { data, tensor }] of checked.entries()) {
      const analytic = yield* arena.read(gradient.outputs[at]!)
      if (analytic.length !== data.length) throw new Error(`checkGradient: gradient ${at} has ${analytic.length} elements for ${data.length}`)
      const lossAt = function*(i: number, change: number) {
        const moved = Float64Array.from(data)
        moved[i]! += change
        yield* arena.upload(tensor, moved)
        yield* arena.submit(value)
        return (yield* arena.read(value.outputs))[0]!
      }
      let difference = 0, length = 0
      const places = Random.shuffle(Random.make(2, String(at)), data.length).slice(0, Math.min(samples, data.length))
      for (const i of places) {
        const [far, near] = [(yield* lossAt(i, 2 * step)) - (yield* lossAt(i, -2 * step)), (yield* lossAt(i, step)) - (yield* lossAt(i, -step))]
        const numeric = (8 * near - far) / (12 * step) // five points: error of order step⁴
        difference += (numeric - analytic[i]!) ** 2
        length += numeric ** 2 + analytic[i]! ** 2
      }
      yield* arena.upload(tensor, data)
      worst = Math.max(worst, Math.sqrt(difference / (length || 1)))
    }
    return worst
  })))
}
