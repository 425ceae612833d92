/**
 * Weights stored in 8-bit floats with a scale for each block, as DeepSeek writes them and transformers' fine-grained FP8 does: beside `x.weight` in F8_E4M3
 * stands `x.weight_scale_inv` in F32, one number for each block of rows and columns, which the block is multiplied with.
 *
 * Such tensors are read as f32, lazily and by rows. A tensor in f8 without scales is read as it stands; scales that fit no tensor are an error by name.
 * Paper: DeepSeek-AI, "DeepSeek-V3 Technical Report", 2024.
 */
import { Effect, Result } from "effect"
import { ConfigError } from "./Family.ts"
import { withMicroscaling } from "./microscaling.ts"
import type { Plain } from "./StrictJson.ts"
import * as Weights from "./Weights.ts"

type Config = Readonly<Record<string, Plain>>
/** Rows and columns of a block; or MXFP4, whose blocks are always 32 of a row (`microscaling.ts`). */
export type Block = readonly [number, number] | "mxfp4"

const settings = "quantization_config"
/** Keys of the settings that say how products are computed, not what the numbers are. */
const silent = new Set(["quant_method", "activation_scheme", "fmt", "weight_block_size", "modules_to_not_convert", "ignored_layers", "dequantize", "scale_fmt", "modules_to_convert", "expert_dtype"])

/**
 * The block of a config.json's settings, and the config without them: what is read is no longer quantised. A config without them is
 * given back as it is. Fails: ConfigError naming the key.
 */
export const readBlock = (file: string, config: Config): Result.Result<{ readonly block: Block | undefined; readonly rest: Config }, ConfigError> => {
  const given = config[settings]
  const method = typeof given !== "object" || given === null || Array.isArray(given) ? undefined : (given as Config)["quant_method"]
  if (given === undefined || given === null) return Result.succeed({ block: undefined, rest: config })
  const remedy = `dequantise the model with ${method === "fp8" ? "transformers (FineGrainedFP8Config(dequantize=True))" : "the tool that quantised it"} and save it, then load that`
  const fail = (key: string, problem: string) => Result.fail(new ConfigError({ file, key: `${settings}.${key}`, problem, remedy }))
  if (method !== "fp8" && method !== "mxfp4") return fail("quant_method", method === undefined ? "it is missing" : `${JSON.stringify(method)} is not read, only "fp8" and "mxfp4" are`)
  const said = given as Config, unknown = Object.keys(said).find((key) => !silent.has(key))
  if (unknown !== undefined) return fail(unknown, "it is not understood")
  const { [settings]: _, ...rest } = config
  if (method === "mxfp4") return Result.succeed({ block: method, rest })
  if (said["fmt"] !== undefined && said["fmt"] !== "e4m3") return fail("fmt", `${JSON.stringify(said["fmt"])} is not e4m3`)
  const size = said["weight_block_size"] ?? [128, 128]
  if (!(Array.isArray(size) && size.length === 2 && size.every((axis) => Number.isSafeInteger(axis) && (axis as number) > 0))) return fail("weight_block_size", `${JSON.stringify(size)} is not two positive numbers`)
  return Result.succeed({ block: size as unknown as Block, rest })
}

const suffix = "_scale_inv"
/** The tensors with their scales in them, as f32; the scales themselves are no longer there. Fails: WeightsError naming a scale that fits no tensor in f8. */
export const withBlockScales = (stored: Weights.Weights, block: Block): Effect.Effect<Weights.Weights, Weights.WeightsError> => {
  if (block === "mxfp4") return withMicroscaling(stored)
  const [high, wide] = block
  const infos = new Map<string, Weights.TensorInfo>(), scaled = new Set<string>()
  for (const [name, info] of stored.infos) if (!name.endsWith(suffix)) infos.set(name, info)
  for (const [name, { dtype, shape }] of stored.infos) {
    if (!name.endsWith(suffix)) continue
    const of = name.slice(0, -suffix.length), weight = infos.get(of), [rows = 0, columns = 0] = weight?.shape ?? []
    const wrong = (problem: string) => Effect.fail(new Weights.WeightsError({ tensor: name, problem, remedy: "fetch the model again, or correct weight_block_size in config.json" }))
    if (weight === undefined) return wrong("these scales belong to no tensor")
    if (weight.dtype !== "F8_E4M3" || weight.shape.length !== 2 || dtype !== "F32") return wrong(`scales are f32 and belong to a matrix in F8_E4M3, not ${dtype} and ${weight.dtype} of ${weight.shape.length} axes`)
    const expected = [Math.ceil(rows / high), Math.ceil(columns / wide)]
    if (shape.join() !== expected.join()) return wrong(`its shape is [${shape.join(", ")}] instead of [${expected.join(", ")}] (${rows} × ${columns} in blocks of ${high} × ${wide})`)
    infos.set(of, { dtype: "F32", shape: weight.shape })
    scaled.add(of)
  }
  return Effect.succeed(Weights.make(infos, (name, rows, { shape }) => !scaled.has(name) || rows.from === rows.to ? stored.read(name, rows) : Effect.gen(function*() {
    const columns = shape[1]!, first = Math.floor(rows.from / high), blocks = Math.ceil(columns / wide)
    const values = yield* stored.read(name, rows)                                                              // [rows, columns]
    const scales = yield* stored.read(`${name}${suffix}`, { from: first, to: Math.ceil(rows.to / high) })    // [blocks of rows, blocks of columns]
    const out = new Float32Array(values.length)
    for (let row = rows.from, at = 0; row < rows.to; row++) {
      const own = (Math.floor(row / high) - first) * blocks
      for (let column = 0; column < columns; column++, at++) out[at] = values[at]! * scales[own + Math.floor(column / wide)]!
    }
    return out
  })))
}
