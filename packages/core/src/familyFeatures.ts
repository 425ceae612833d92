/**
 * What a family's rows say beyond names and sizes, read from config.json and written to it: attention's extras and what stands around it and
 * the feed-forward. The rows are in `families.ts`; no family is known to this code by name.
 */
import type { AttentionRow, Family, Field, Quantity, Switch } from "./families.ts"
import { mixtureObstacles } from "./familyMixture.ts"
import { ropeObstacles } from "./familyRope.ts"
import type * as Model from "./Model.ts"
import type { Plain } from "./StrictJson.ts"

export type Config = Readonly<Record<string, Plain>>
/** A config.json being read: what it holds, which keys have been understood, and how to refuse one. */
export interface Reading {
  readonly config: Config
  readonly used: Set<string>
  readonly number: (field: Field) => number
  readonly fail: (key: string, problem: string, remedy: string) => never
}

export const object = (value: Plain | undefined): Config | undefined => typeof value === "object" && value !== null && !Array.isArray(value) ? value as Config : undefined
/** Equal as JSON, whatever the order of keys. */
export const same = (a: Plain | undefined, b: Plain): boolean => {
  if (typeof a !== "object" || a === null || typeof b !== "object" || b === null) return a === b
  const keys = Object.keys(a)
  return Array.isArray(a) === Array.isArray(b) && keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && same((a as Record<string, Plain>)[key], (b as Record<string, Plain>)[key]!))
}

export const isOn = ({ config, fail, used }: Reading, { key, missing }: Switch): boolean => {
  used.add(key)
  const value = config[key] ?? missing
  return typeof value === "boolean" ? value : fail(key, `${JSON.stringify(value)} is not true or false`, "correct the value")
}
export const whole = ({ config, fail }: Reading, key: string, missing: number | null, least: number): number | undefined => {
  const value = config[key] === undefined ? missing : config[key]
  return value === null ? undefined : typeof value === "number" && Number.isSafeInteger(value) && value >= least ? value : fail(key, `${JSON.stringify(value)} is not an integer of at least ${least}`, "correct the value")
}
export const quantity = ({ config, fail, used }: Reading, { key, missing }: Quantity): number | undefined => {
  used.add(key)
  const value = config[key] === undefined ? missing : config[key]
  return value === null ? undefined : typeof value === "number" && value > 0 ? value : fail(key, `${JSON.stringify(value)} is not a positive number`, "correct the value")
}

// ---------------------------------------------------------------- attention
/** How many tokens back attention sees, where that is fewer than the model has, and the layers that see everything. A key that is off is carried, one that says nothing more is dropped. */
const window = (reading: Reading, { attention, fixed }: Family): { readonly window?: number; readonly global?: ReadonlyArray<number> } => {
  const { config, fail, number, used } = reading, row = attention?.window, kinds = config["layer_types"], layers = number("layers")
  const types = Array.isArray(kinds) ? [...new Set(kinds)] : []
  const strange = types.find((type) => type !== "full_attention" && type !== "sliding_attention")
  if (strange !== undefined) fail("layer_types", `layers of type ${JSON.stringify(strange)} are not computed by our decoder`, "use a model with full or sliding attention")
  if (row === undefined) {
    const given = config["sliding_window"], off = (config["use_sliding_window"] ?? fixed["use_sliding_window"]) === false
    if (!off || given === null) used.add("sliding_window")
    if (!off && typeof given === "number" && given < number("contextLength")) fail("sliding_window", `attention over the last ${given} tokens only is not computed in this family`, `set it to null and max_position_embeddings to at most ${given}`)
    if (types.includes("sliding_attention")) fail("layer_types", "layers with a window are not computed in this family", "use a model with full attention")
    return {}
  }
  if (row.when !== undefined && !isOn(reading, row.when)) {
    if (config[row.key] === null) used.add(row.key)
    if (types.includes("sliding_attention")) fail("layer_types", `it contradicts ${row.when.key} = false`, "keep one of the two")
    return {}
  }
  used.add(row.key)
  if (types.length > 1 && row.from === undefined && row.every === undefined) fail("layer_types", "a window in some layers only is not computed in this family", "use a model whose layers are alike")
  const size = whole(reading, row.key, row.missing, 1)
  const from = row.from === undefined ? 0 : whole(reading, row.from.key, row.from.missing, 0) ?? 0
  const every = row.every === undefined ? 0 : row.every.key === undefined ? row.every.missing : whole(reading, row.every.key, row.every.missing, 1) ?? row.every.missing
  for (const key of [row.from?.key, row.every?.key]) if (key !== undefined) used.add(key)
  if (types.length > 0 && (kinds as ReadonlyArray<Plain>).length < layers) fail("layer_types", `it lists ${(kinds as ReadonlyArray<Plain>).length} of ${layers} layers`, "correct the list")
  const seesAll = (layer: number) => types.length > 0 ? (kinds as ReadonlyArray<Plain>)[layer] === "full_attention" : layer < from || (every > 0 && (layer + 1) % every === 0)
  const global = Array.from({ length: layers }, (_, layer) => layer).filter(seesAll)
  // a window as wide as the model's context is none, unless the layers with it have positions of their own
  if (size === undefined || global.length === layers || (size >= number("contextLength") && attention?.localTheta === undefined)) return {}
  return { window: size, ...global.length === 0 ? {} : { global } }
}

const noRope = (reading: Reading, row: NonNullable<AttentionRow["noRope"]>): ReadonlyArray<number> => {
  const { config, fail, number, used } = reading, layers = Array.from({ length: number("layers") }, (_, layer) => layer), list = config[row.key] ?? undefined
  used.add(row.key)
  const interval = whole(reading, row.interval, row.missing, 1) ?? row.missing
  if (list === undefined) return layers.filter((layer) => (layer + 1) % interval === 0)
  if (!Array.isArray(list) || list.length < layers.length || list.some((value) => value !== 0 && value !== 1)) return fail(row.key, `${JSON.stringify(list).slice(0, 80)} is not a list of 0 and 1 for each of ${layers.length} layers`, "correct the list")
  return layers.filter((layer) => list[layer] === 0)
}

/** How many of a head's numbers rotate; undefined when all do. */
const rotated = ({ config, fail, number, used }: Reading, { key }: { readonly key: string }): number | undefined => {
  used.add(key)
  const shares = [[key, config[key]], [`rope_parameters.${key}`, object(config["rope_parameters"])?.[key]]] as const, given = shares.filter(([, value]) => value !== undefined && value !== null), size = number("headSize")
  if (given.length === 0) return undefined
  const [[name, share]] = given as [(typeof given)[number]]
  for (const [other, value] of given) if (value !== share) fail(other, `${JSON.stringify(value)} contradicts ${name} = ${JSON.stringify(share)}`, "keep one of the two")
  const part = typeof share === "number" ? Math.trunc(share * size) : 0
  if (part < 2 || part > size || part % 2 !== 0) return fail(name, `${JSON.stringify(share)} of a head of ${size} is not an even number of rotated numbers`, "correct the value")
  return part === size ? undefined : part
}

/** What the family's attention has beside its matrices, in this config; undefined when nothing. */
export const readAttention = (reading: Reading, family: Family): Model.Attention | undefined => {
  const { attention: row = {} } = family, without = row.noRope === undefined ? [] : noRope(reading, row.noRope), size = reading.number("headSize")
  const bias = row.bias === true || (row.bias !== undefined && isOn(reading, row.bias)), seen = window(reading, family)
  const part = row.share === undefined ? undefined : rotated(reading, row.share), cap = row.softCap === undefined ? undefined : quantity(reading, row.softCap)
  const theta = row.localTheta === undefined ? undefined : localTheta(reading, row.localTheta), divisor = row.scale === undefined ? undefined : quantity(reading, row.scale)
  const found: Model.Attention = {
    ...bias ? { bias } : {}, ...bias && row.outputBias === true ? { outputBias: true } : {}, ...row.sinks === true ? { sinks: true } : {}, ...row.norms === undefined ? {} : { norms: row.norms }, ...seen, ...without.length === 0 ? {} : { noRope: without },
    ...part === undefined ? {} : { rotated: part }, ...theta === undefined || seen.window === undefined ? {} : { localTheta: theta }, ...divisor === undefined || divisor === size ? {} : { scale: 1 / Math.sqrt(divisor) },
    ...cap === undefined ? {} : { softCap: cap }, ...row.latent === undefined ? {} : { rotated: reading.number("rotated"), latent: latentOf(reading, row.latent) }
  }
  return Object.keys(found).length === 0 ? undefined : found
}

const latentOf = (reading: Reading, { epsilon, interleaved }: NonNullable<AttentionRow["latent"]>): NonNullable<Model.Attention["latent"]> => {
  const { number } = reading, rank = number("queryRank")
  return { ...rank === 0 ? {} : { query: rank }, keyValue: number("keyValueRank"), value: number("valueSize"), interleaved: interleaved === true || isOn(reading, interleaved), epsilon }
}

/** Theta of the layers with a window: beside the other, or by kind of layer. */
const localTheta = (reading: Reading, row: Quantity): number | undefined => {
  const beside = reading.config[row.key] === undefined ? undefined : quantity(reading, row), within = object(object(reading.config["rope_parameters"])?.["sliding_attention"])?.["rope_theta"] ?? undefined
  reading.used.add(row.key)
  if (within !== undefined && !(typeof within === "number" && within > 0)) reading.fail("rope_parameters.sliding_attention.rope_theta", `${JSON.stringify(within)} is not a positive number`, "correct the value")
  if (beside !== undefined && within !== undefined && beside !== within) reading.fail(row.key, `${beside} contradicts rope_parameters.sliding_attention.rope_theta = ${JSON.stringify(within)}`, "keep one of the two")
  return beside ?? (within as number | undefined) ?? row.missing ?? undefined
}

/** The keys of config.json that say it. */
export const writeAttention = ({ bias, latent, localTheta: theta, noRope: rotary, scale, share, softCap, window: row }: AttentionRow, model: Model.Model): Config => {
  const { global = [], noRope: without = [], rotated: part, scale: times, window: size } = model.attention ?? {}
  const layers = Array.from({ length: model.layers }, (_, layer) => layer)
  // every family with a list of layers is told so; the others only where the layers differ
  const listed = row !== undefined && (row.every !== undefined || (size !== undefined && global.length > 0))
  return {
    ...bias === undefined || bias === true ? {} : { [bias.key]: model.attention?.bias === true },
    ...row === undefined ? {} : size === undefined ? row.when === undefined ? { [row.key]: row.every === undefined ? null : model.contextLength } : { [row.when.key]: false }
      : { [row.key]: size, ...row.when === undefined ? {} : { [row.when.key]: true }, ...row.from === undefined ? {} : { [row.from.key]: global.every((layer, at) => layer === at) ? global.length : model.layers } },
    ...listed ? { layer_types: layers.map((layer) => size === undefined || global.includes(layer) ? "full_attention" : "sliding_attention") } : {},
    ...rotary === undefined ? {} : { [rotary.key]: layers.map((layer) => without.includes(layer) ? 0 : 1) },
    ...latent === undefined || latent.interleaved === true ? {} : { [latent.interleaved.key]: model.attention?.latent?.interleaved ?? latent.interleaved.missing },
    ...share === undefined || part === undefined ? {} : { [share.key]: part / model.headSize },
    ...theta === undefined ? {} : { [theta.key]: model.attention?.localTheta ?? theta.missing },
    ...scale === undefined ? {} : { [scale.key]: times === undefined ? model.headSize : tidy(times ** -2) },
    ...softCap === undefined ? {} : { [softCap.key]: model.attention?.softCap ?? null }
  }
}
/** The whole number that a root's rounding missed. */
const tidy = (value: number): number => Math.abs(value - Math.round(value)) < 1e-9 * value ? Math.round(value) : value

const attentionObstacles = (row: AttentionRow = {}, model: Model.Model): ReadonlyArray<string> => {
  const { bias = false, global = [], latent, localTheta: theta, noRope: without = [], norms, outputBias = false, rotated: part, scale, sinks = false, softCap, window: size } = model.attention ?? {}
  const listable = row.window?.every !== undefined || row.window?.from !== undefined
  return [
    ...bias && row.bias === undefined ? ["biases of query, key and value"] : !bias && row.bias === true ? ["attention without biases"] : [],
    ...norms === row.norms ? [] : [norms === undefined ? "attention without norms of query and key" : `norms of query and key by ${norms}`],
    ...norms === "width" && model.heads * model.headSize !== model.hidden ? [`${model.heads} heads of ${model.headSize} in a hidden width of ${model.hidden}`] : [],
    ...size === undefined || row.window !== undefined ? [] : [`attention over the last ${size} tokens only`],
    ...global.length === 0 || size === undefined || row.window === undefined || listable ? [] : ["a window in some layers only"],
    ...without.length === 0 || row.noRope !== undefined ? [] : ["layers without rotary positions"],
    ...outputBias === (bias && row.outputBias === true) ? [] : [outputBias ? "a bias of attention's output" : "attention's output without a bias"],
    ...(latent === undefined) === (row.latent === undefined) ? [] : [latent === undefined ? "attention that is not latent" : "latent attention"],
    ...latent === undefined || row.latent === undefined || ((latent.interleaved || row.latent.interleaved !== true) && latent.epsilon === row.latent.epsilon) ? [] : [`latent attention with norms of epsilon ${latent.epsilon}${latent.interleaved ? "" : " and rotated halves"}`],
    ...part === undefined || row.share !== undefined || row.latent !== undefined ? [] : [`heads of which ${part} numbers rotate`],
    ...theta === undefined || row.localTheta !== undefined ? [] : [`theta ${theta} in layers with a window`],
    ...theta !== undefined || row.localTheta === undefined || size === undefined ? [] : ["one theta for all layers"],
    ...scale === undefined || row.scale !== undefined ? [] : [`scores times ${scale}`],
    ...softCap === undefined || row.softCap !== undefined ? [] : [`scores below ${softCap}`],
    ...sinks === (row.sinks === true) ? [] : [sinks ? "sinks of attention" : "attention without sinks"]
  ]
}

// ---------------------------------------------------------------- the block
/** What stands around attention and feed-forward: the inner function, second norms, gains, scales, the cap of the logits. */
export const readBlock = (reading: Reading, family: Family): Partial<Pick<Model.Model, "activation" | "outputNorms" | "shiftedGains" | "embeddingScale" | "logitCap">> => {
  const cap = family.logitCap === undefined ? undefined : quantity(reading, family.logitCap)
  return {
    ...family.activation === undefined ? {} : { activation: activation(reading, family.activation) }, ...family.outputNorms === true ? { outputNorms: true } : {}, ...family.shiftedGains === true ? { shiftedGains: true } : {},
    ...family.scaledEmbeddings === true ? { embeddingScale: Math.sqrt(reading.number("hidden")) } : {}, ...cap === undefined ? {} : { logitCap: cap }
  }
}

const activation = (reading: Reading, row: NonNullable<Family["activation"]>): Model.Activation => row.kind === "geluTanh" ? { kind: "geluTanh" }
  : { kind: "clampedSilu", slope: quantity(reading, row.slope) ?? row.slope.missing!, limit: quantity(reading, row.limit) ?? row.limit.missing! }

/** The keys of config.json that say it. */
export const writeBlock = ({ activation: row, logitCap }: Family, { activation: inner, logitCap: cap }: Model.Model): Config => ({
  ...logitCap === undefined ? {} : { [logitCap.key]: cap ?? null },
  ...row?.kind === "clampedSilu" && inner?.kind === "clampedSilu" ? { [row.slope.key]: inner.slope, [row.limit.key]: inner.limit } : {}
})

const blockObstacles = (family: Family, model: Model.Model): ReadonlyArray<string> => {
  const scale = family.scaledEmbeddings === true ? Math.sqrt(model.hidden) : 1, { embeddingScale = 1 } = model
  return [
    ...model.activation?.kind === family.activation?.kind ? [] : [`feed-forwards with ${model.activation?.kind ?? "silu"}`],
    ...model.outputNorms === family.outputNorms ? [] : [model.outputNorms === true ? "norms behind attention and feed-forward" : "no norms behind attention and feed-forward"],
    ...model.shiftedGains === family.shiftedGains ? [] : [model.shiftedGains === true ? "norms times 1 + gain" : "norms times their gain alone"],
    ...embeddingScale === scale ? [] : [`embeddings times ${embeddingScale}`],
    ...model.logitCap === undefined || family.logitCap !== undefined ? [] : [`logits below ${model.logitCap}`]
  ]
}

/** What keeps a family from expressing a model, one phrase each; empty when it can. */
export const obstacles = (family: Family, model: Model.Model): ReadonlyArray<string> => {
  const form = model.feedForward
  if (form.kind !== family.feedForward) return [`a ${form.kind} feed-forward`]
  const body = [...attentionObstacles(family.attention, model), ...blockObstacles(family, model), ...ropeObstacles(family, model)]
  if (form.kind === "dense" || family.router === undefined) return body
  const has = (field: Field) => family.sizes.some((size) => size.field === field)
  return [...body, ...mixtureObstacles(family.router, form, model, { counted: has("shared"), first: has("dense") })]
}
