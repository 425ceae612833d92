/**
 * Weights stored in MXFP4, as gpt-oss has its experts: beside `x_blocks` [experts, rows, groups, 16], two 4-bit floats in a byte, stands `x_scales` [experts, rows,
 * groups], the power of two that each group of 32 numbers is multiplied with. What they stand for is `x` [experts, 32 · groups, rows]: turned, as the files have it unquantised.
 *
 * Read as f32, an expert at a time. Paper: Rouhani et al., "Microscaling Data Formats for Deep Learning", 2023.
 */
import { Effect } from "effect"
import * as Weights from "./Weights.ts"

/** What four bits stand for: a sign, two bits of exponent, one of mantissa. */
const numbers = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6]
const inBlock = 16

/** The tensors with their scales in them; blocks and scales are no longer there. Fails: WeightsError naming blocks or scales that do not fit. */
export const withMicroscaling = (stored: Weights.Weights): Effect.Effect<Weights.Weights, Weights.WeightsError> => {
  const infos = new Map<string, Weights.TensorInfo>(), scaled = new Set<string>()
  for (const [name, info] of stored.infos) if (!/_(blocks|scales)$/.test(name)) infos.set(name, info)
  for (const [name, { dtype, shape }] of stored.infos) {
    const found = /^(.*)_(blocks|scales)$/.exec(name)
    if (found === null) continue
    const [, of, which] = found as unknown as readonly [string, string, string], other = stored.infos.get(`${of}_${which === "blocks" ? "scales" : "blocks"}`)
    const wrong = (problem: string) => Effect.fail(new Weights.WeightsError({ tensor: name, problem, remedy: "fetch the model again" }))
    if (other === undefined || infos.has(of) && !scaled.has(of)) return wrong(other === undefined ? `there are no ${which === "blocks" ? "scales" : "blocks"} of it` : `${of} stands beside it`)
    if (dtype !== "U8") return wrong(`its dtype is ${dtype} instead of U8`)
    if (which === "scales") continue
    const [experts = 0, rows = 0, groups = 0, bytes = 0] = shape
    if (shape.length !== 4 || bytes !== inBlock || other.shape.join() !== shape.slice(0, 3).join()) return wrong(`its shape is [${shape.join(", ")}], its scales' [${other.shape.join(", ")}]: [experts, rows, groups, ${inBlock}] and [experts, rows, groups] are needed`)
    infos.set(of, { dtype: "F32", shape: [experts, 2 * inBlock * groups, rows] })
    scaled.add(of)
  }
  return Effect.succeed(Weights.make(infos, (name, asked, { shape }) => !scaled.has(name) ? stored.read(name, asked) : Effect.gen(function*() {
    const [, columns = 0, rows = 0] = shape, bytes = columns / 2
    const blocks = yield* stored.read(`${name}_blocks`, asked), scales = yield* stored.read(`${name}_scales`, asked) // [experts, rows, groups, 16], [experts, rows, groups]
    const out = new Float32Array(2 * blocks.length) // [experts, columns, rows]
    for (let at = 0; at < blocks.length; at++) {
      const row = Math.floor(at / bytes), column = 2 * (at % bytes), to = (Math.floor(row / rows) * columns + column) * rows + row % rows
      const byte = blocks[at]!, scale = 2 ** (scales[Math.floor(at / inBlock)]! - 127)
      out[to] = numbers[byte & 15]! * scale
      out[to + rows] = numbers[byte >> 4]! * scale
    }
    return out
  })))
}
