/**
 * What a family's rows say beyond names and sizes, read from config.json and written to it: attention's extras, scaled rotary positions, the
 * router and the shared expert. The rows are in `families.ts`; no family is known to this code by name.
 */
import type { AttentionRow, Family, Field, Switch } from "./families.ts"
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

const isOn = ({ config, fail, used }: Reading, { key, missing }: Switch): boolean => {
  used.add(key)
  const value = config[key] ?? missing
  return typeof value === "boolean" ? value : fail(key, `${JSON.stringify(value)} is not true or false`, "correct the value")
}
const whole = ({ config, fail }: Reading, key: string, missing: number | null, least: number): number | undefined => {
  const value = config[key] === undefined ? missing : config[key]
  return value === null ? undefined : typeof value === "number" && Number.isSafeInteger(value) && value >= least ? value : fail(key, `${JSON.stringify(value)} is not an integer of at least ${least}`, "correct the value")
}

// ---------------------------------------------------------------- attention
const partly = "some layers of the model look back over a window and others over everything, which is not computed by our decoder"

/** How many tokens back attention sees, where that is fewer than the model has. A key that is off is carried, one that says nothing more is dropped. */
const window = (reading: Reading, { attention, fixed }: Family): number | undefined => {
  const { config, fail, number, used } = reading, row = attention?.window, kinds = config["layer_types"]
  const types = Array.isArray(kinds) ? [...new Set(kinds)] : []
  if (types.length > 1) fail("layer_types", partly, "use a model whose layers are alike")
  if (types.some((type) => type !== "full_attention" && type !== "sliding_attention")) fail("layer_types", `layers of type ${JSON.stringify(types[0])} are not computed by our decoder`, "use a model with full or sliding attention")
  if (row === undefined) {
    const given = config["sliding_window"], off = (config["use_sliding_window"] ?? fixed["use_sliding_window"]) === false
    if (!off || given === null) used.add("sliding_window")
    if (!off && typeof given === "number" && given < number("contextLength")) fail("sliding_window", `attention over the last ${given} tokens only is not computed in this family`, `set it to null and max_position_embeddings to at most ${given}`)
    if (types.includes("sliding_attention")) fail("layer_types", "layers with a window are not computed in this family", "use a model with full attention")
    return undefined
  }
  if (row.when !== undefined && !isOn(reading, row.when)) {
    if (config[row.key] === null) used.add(row.key)
    if (types.includes("sliding_attention")) fail("layer_types", `it contradicts ${row.when.key} = false`, "keep one of the two")
    return undefined
  }
  used.add(row.key)
  const size = whole(reading, row.key, row.missing, 1)
  if (row.from !== undefined) {
    used.add(row.from.key)
    const from = whole(reading, row.from.key, row.from.missing, 0) ?? 0, layers = number("layers")
    if (types.length === 0 && size !== undefined && size < number("contextLength") && from > 0 && from < layers) fail(row.from.key, partly, "use a model whose layers are alike")
    if (types.length === 0 ? from >= layers : types[0] === "full_attention") return undefined
  }
  return size === undefined || size >= number("contextLength") ? undefined : size
}

const noRope = (reading: Reading, row: NonNullable<AttentionRow["noRope"]>): ReadonlyArray<number> => {
  const { config, fail, number, used } = reading, layers = Array.from({ length: number("layers") }, (_, layer) => layer), list = config[row.key] ?? undefined
  used.add(row.key)
  const interval = whole(reading, row.interval, row.missing, 1) ?? row.missing
  if (list === undefined) return layers.filter((layer) => (layer + 1) % interval === 0)
  if (!Array.isArray(list) || list.length < layers.length || list.some((value) => value !== 0 && value !== 1)) return fail(row.key, `${JSON.stringify(list).slice(0, 80)} is not a list of 0 and 1 for each of ${layers.length} layers`, "correct the list")
  return layers.filter((layer) => list[layer] === 0)
}

/** What the family's attention has beside its matrices, in this config; undefined when nothing. */
export const readAttention = (reading: Reading, family: Family): Model.Attention | undefined => {
  const { attention: row = {} } = family, seen = window(reading, family), without = row.noRope === undefined ? [] : noRope(reading, row.noRope)
  const bias = row.bias === true || (row.bias !== undefined && isOn(reading, row.bias))
  const found: Model.Attention = { ...bias ? { bias } : {}, ...row.norms === undefined ? {} : { norms: row.norms }, ...seen === undefined ? {} : { window: seen }, ...without.length === 0 ? {} : { noRope: without } }
  return Object.keys(found).length === 0 ? undefined : found
}

/** The keys of config.json that say it. */
export const writeAttention = ({ bias, noRope: rotary, window: row }: AttentionRow, model: Model.Model): Config => {
  const { window: size, noRope: without = [] } = model.attention ?? {}
  return {
    ...bias === undefined || bias === true ? {} : { [bias.key]: model.attention?.bias === true },
    ...row === undefined ? {} : size === undefined ? row.when === undefined ? { [row.key]: null } : { [row.when.key]: false }
      : { [row.key]: size, ...row.when === undefined ? {} : { [row.when.key]: true }, ...row.from === undefined ? {} : { [row.from.key]: 0 } },
    ...rotary === undefined ? {} : { [rotary.key]: Array.from({ length: model.layers }, (_, layer) => without.includes(layer) ? 0 : 1) }
  }
}

const attentionObstacles = (row: AttentionRow = {}, model: Model.Model): ReadonlyArray<string> => {
  const { bias = false, norms, window: size, noRope: without = [] } = model.attention ?? {}
  return [
    ...bias && row.bias === undefined ? ["biases of query, key and value"] : !bias && row.bias === true ? ["attention without biases"] : [],
    ...norms === row.norms ? [] : [norms === undefined ? "attention without norms of query and key" : `norms of query and key by ${norms}`],
    ...norms === "width" && model.heads * model.headSize !== model.hidden ? [`${model.heads} heads of ${model.headSize} in a hidden width of ${model.hidden}`] : [],
    ...size === undefined || row.window !== undefined ? [] : [`attention over the last ${size} tokens only`],
    ...without.length === 0 || row.noRope !== undefined ? [] : ["layers without rotary positions"]
  ]
}

// ---------------------------------------------------------------- rotary positions
/** Our names of Llama 3.1's numbers, and config.json's. */
const llama3 = { factor: "factor", lowFrequency: "low_freq_factor", highFrequency: "high_freq_factor", originalContext: "original_max_position_embeddings" } as const

/** How rotary positions are scaled; the newer key `rope_parameters` and the older `rope_scaling` must not contradict each other. */
export const readRope = (reading: Reading): Model.RopeScaling | undefined => {
  const { config, fail, number, used } = reading
  const found = (["rope_scaling", "rope_parameters"] as const).flatMap((key): ReadonlyArray<{ readonly key: string; readonly scaling: Model.RopeScaling }> => {
    used.add(key)
    const of = object(config[key])
    if (of === undefined) return []
    if (Object.values(of).some((value) => object(value) !== undefined)) fail(key, "rotary positions that differ between layers are not computed by our decoder", "use a model whose layers are alike")
    const share = of["partial_rotary_factor"]
    if (share !== undefined && share !== null && share !== 1) fail(`${key}.partial_rotary_factor`, `${JSON.stringify(share)} is not computed by our decoder, only 1 is`, "use a model that rotates whole heads")
    const kind = of["rope_type"] ?? of["type"] ?? "default"
    if (kind === "default") return []
    const at = (name: string, missing?: number): number => {
      const value = of[name] ?? missing
      return typeof value === "number" && value > 0 ? value : fail(key, `rotary positions of type ${JSON.stringify(kind)} need ${name}, which is ${value === undefined ? "missing" : JSON.stringify(value)}`, "add a positive number")
    }
    if (kind === "linear") return [{ key, scaling: { kind, factor: at("factor") } }]
    if (kind === "llama3") return [{ key, scaling: { kind, factor: at(llama3.factor), lowFrequency: at(llama3.lowFrequency), highFrequency: at(llama3.highFrequency), originalContext: at(llama3.originalContext, number("contextLength")) } }]
    return fail(key, `rotary positions of type ${JSON.stringify(kind)} are not computed by our decoder`, "use a model with plain rotary positions, or scaled ones of type linear or llama3")
  })
  if (found.length === 2 && !same(found[0]!.scaling, found[1]!.scaling)) fail(found[1]!.key, `it contradicts ${found[0]!.key}`, "keep one of the two")
  return found[0]?.scaling
}

/** The key of config.json that says it, as transformers 4 and 5 both read it. */
export const writeRope = (scaling: Model.RopeScaling | undefined): Config =>
  scaling === undefined ? {} : { rope_scaling: scaling.kind === "linear" ? { rope_type: "linear", type: "linear", factor: scaling.factor }
    : { rope_type: "llama3", ...Object.fromEntries(Object.entries(llama3).map(([ours, theirs]) => [theirs, scaling[ours as keyof typeof llama3]])) } }

// ---------------------------------------------------------------- mixtures
/** The mixture that a family's files hold, in this config. */
export const readMixture = (reading: Reading, { normalised, shared }: NonNullable<Family["router"]>): Model.Mixture => {
  const { number } = reading, experts = number("experts"), active = number("active")
  const weight = normalised === true ? "softmaxKept" : isOn(reading, normalised) ? "renorm" : "prob"
  return {
    kind: "mixture", inner: number("inner"), experts, active, expert: { kind: "full" },
    router: { unit: { of: "token" }, score: { by: "linear" }, select: { keep: "top", active }, weight }, routerTensors: { weight: [experts, number("hidden")] },
    ...shared === undefined ? {} : { shared: { inner: number("sharedInner"), gate: shared.gate } }
  }
}

/** The keys of config.json that say it. */
export const writeMixture = ({ normalised }: NonNullable<Family["router"]>, form: Model.Mixture): Config =>
  normalised === true ? {} : { [normalised.key]: (form.router as Config)["weight"] !== "prob" }

/** What keeps a family's layer from computing a router. Keeping all experts is the best k of k, whose probabilities sum to one. `losses` matter in training only. */
const routerObstacles = (normalised: true | Switch, router: Plain, active: number, experts: number): ReadonlyArray<string> => {
  const given = object(router)
  if (given === undefined) return ["a router that is not an object"]
  const { unit, score, select, weight, capacity, losses: _, ...others } = given
  const all = same(select, { keep: "all" }) && active === experts
  const fits = {
    unit: unit === undefined || same(unit, { of: "token" }),
    score: same(score, { by: "linear" }),
    select: all || same(select, { keep: "top", active }),
    weight: weight === "softmaxKept" || weight === "renorm" || (weight === "prob" && (normalised !== true || active === experts)),
    capacity: capacity === undefined || capacity === null || capacity === "unlimited"
  }
  return [...Object.entries(fits).filter(([, fit]) => !fit).map(([key]) => `router.${key} = ${JSON.stringify(given[key]) ?? "missing"}`), ...Object.keys(others).map((key) => `router.${key}`)]
}

const sharedName = (shared: { readonly gate: boolean } | undefined): string => shared === undefined ? "no shared expert" : `a shared expert with${shared.gate ? "" : "out"} a gate`

/** What keeps a family from expressing a model, one phrase each; empty when it can. */
export const obstacles = (family: Family, model: Model.Model): ReadonlyArray<string> => {
  const form = model.feedForward
  if (form.kind !== family.feedForward) return [`a ${form.kind} feed-forward`]
  const body = attentionObstacles(family.attention, model)
  if (form.kind === "dense" || family.router === undefined) return body
  const expected = JSON.stringify({ weight: [form.experts, model.hidden] }), { normalised, shared } = family.router
  return [
    ...body,
    ...form.expert.kind === "full" ? [] : [`experts of kind ${form.expert.kind}`],
    ...JSON.stringify(form.routerTensors) === expected ? [] : [`router tensors ${JSON.stringify(form.routerTensors)} (only ${expected})`],
    ...form.shared?.gate === shared?.gate ? [] : [sharedName(form.shared)],
    ...routerObstacles(normalised, form.router as Plain, form.active, form.experts)
  ]
}
