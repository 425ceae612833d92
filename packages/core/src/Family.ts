/**
 * Reading and writing by the rows of `families.ts`: canonical names ↔ the names in files, config.json ↔ Model. No family is known to
 * this code by name. What a row does not understand is carried in `extra` or refused by key, never dropped. Where rows are asked for, a table of
 * one's own may be passed: `[...Family.families, mine]`.
 */
import { Effect, Schema } from "effect"
import * as Model from "./Model.ts"
import { families, type Family, type Field, idle, own, type Packed, type Size } from "./families.ts"
import { type Config, obstacles, readAttention, readBlock, same, writeAttention, writeBlock } from "./familyFeatures.ts"
import { readMixture, writeMixture } from "./familyMixture.ts"
import { readRope, ropeOf, writeRope } from "./familyRope.ts"
import type { Plain } from "./StrictJson.ts"
import { nearest } from "./Weights.ts"

export { families, type Family, own } from "./families.ts"
export { obstacles } from "./familyFeatures.ts"

/** A config.json that misses a key, contradicts itself, or asks for what our decoder does not compute. */
export class ConfigError extends Schema.TaggedError<ConfigError>()("ConfigError", { file: Schema.String, key: Schema.String, problem: Schema.String, remedy: Schema.String }) {
  override get message() { return `${this.file}: ${this.key}: ${this.problem}. Remedy: ${this.remedy}.` }
}

/** A `model_type` without a row in the table. */
export class UnknownFamily extends Schema.TaggedError<UnknownFamily>()("UnknownFamily", { file: Schema.String, family: Schema.String, nearest: Schema.String }) {
  override get message() { return `${this.file}: there is no family ${JSON.stringify(this.family)}. Remedy: the nearest known one is ${this.nearest}; a new family is a row of families.ts, or of a table passed as \`families\`.` }
}

/** A model that a family's files cannot hold. */
export class CannotExpress extends Schema.TaggedError<CannotExpress>()("CannotExpress", { family: Schema.String, what: Schema.Array(Schema.String) }) {
  override get message() { return `family ${this.family} cannot express ${this.what.join("; ")}. Remedy: write family ${own}, or change the model to fit ${this.family}.` }
}

/** The families that are read and written: the table of this package, unless another is passed. */
export type Table = ReadonlyArray<Family>

/** The row of this name. */
export const find = (name: string, table: Table = families): Family | undefined => table.find((family) => family.name === name)

const unknown = (file: string, name: string, table: Table) => new UnknownFamily({ file, family: name, nearest: nearest(name, [...table.map((family) => family.name), own]) })

// ---------------------------------------------------------------- names
const substitute = (pattern: string, numbers: Readonly<Record<string, string>>): string => pattern.replace(/\{([le])\}/g, (_, letter: string) => numbers[letter] ?? "")

const expressions = new Map<string, RegExp>()
/** The numbers that stand for {l} and {e} when the name has the pattern, else undefined. */
const match = (pattern: string, name: string): Readonly<Record<string, string>> | undefined => {
  let expression = expressions.get(pattern)
  if (expression === undefined) {
    const escaped = pattern.replace(/[.*+?^$()|[\]\\]/g, "\\$&").replace(/\{([le])\}/g, "(?<$1>0|[1-9][0-9]*)")
    expressions.set(pattern, expression = new RegExp(`^${escaped}$`))
  }
  const found = expression.exec(name)
  return found === null ? undefined : found.groups ?? {}
}

const abstract = (name: string): readonly [string, Readonly<Record<string, string>>] => {
  const numbers: Record<string, string> = {}
  const pattern = name.replace(/^layers\.(\d+)/, (_, l: string) => { numbers["l"] = l; return "layers.{l}" }).replace(/\.experts\.(\d+)/, (_, e: string) => { numbers["e"] = e; return ".experts.{e}" })
  return [pattern, numbers]
}

/** The name that a family's files give a canonical tensor, or undefined when the family has no such tensor. */
export const toFile = (family: Family, canonical: string): string | undefined => {
  const [pattern, numbers] = abstract(canonical), row = family.names.find(([name]) => name === pattern)
  return row === undefined ? undefined : substitute(row[1], numbers)
}

/** The canonical name of a tensor of a family's files, or undefined when the family has no such tensor. */
export const toCanonical = (family: Family, file: string): string | undefined => {
  for (const [canonical, pattern] of family.names) {
    const numbers = match(pattern, file)
    if (numbers !== undefined) return substitute(canonical, numbers)
  }
  return undefined
}

/** Where else a canonical tensor may stand in a file: the file's name, the expert, and which of how many blocks of rows. */
export const alternative = (family: Family, canonical: string): { readonly file: string; readonly expert: number; readonly part?: number; readonly parts?: number } | undefined => {
  const [pattern, numbers] = abstract(canonical), row = family.alternatives.find((one) => one.canonical === pattern)
  return row === undefined ? undefined : { ...row, file: substitute(row.file, numbers), expert: Number(numbers["e"] ?? 0) }
}

/** The pack that a canonical tensor stands in, which of its parts it is, and of which expert; undefined where it stands alone. */
export const packedIn = (family: Family, canonical: string): { readonly file: string; readonly row: Packed; readonly part: number; readonly expert: number | undefined } | undefined => {
  const [pattern, numbers] = abstract(canonical), row = family.packed?.find(({ of }) => of.includes(pattern))
  return row === undefined ? undefined : { file: substitute(row.file, numbers), row, part: row.of.indexOf(pattern), expert: numbers["e"] === undefined ? undefined : Number(numbers["e"]) }
}

/** Whether a file's tensor follows from the config and need not be read. */
export const isRecomputed = (family: Family, file: string): boolean => family.recomputed.some((pattern) => match(pattern, file) !== undefined)

/** How the tensors' names begin of the layers for further tokens that a config announces behind the model's own; none where the family knows none. */
export const further = ({ further: row }: Family, config: Config, { layers }: Model.Model): ReadonlyArray<string> =>
  row === undefined ? [] : Array.from({ length: Number(config[row.key] ?? 0) }, (_, i) => substitute(row.names, { l: String(layers + i) }))

// ---------------------------------------------------------------- what a family can hold
/** The name of the layout to write: the one asked for, else the model's own family, else the first that can express it, else ours. */
export const choose = (model: Model.Model, asked?: string, table: Table = families): Effect.Effect<string, CannotExpress | UnknownFamily> => {
  if (asked === own || (asked === undefined && model.family === own)) return Effect.succeed(own)
  if (asked === undefined) return Effect.succeed([find(model.family, table), ...table].find((family) => family !== undefined && obstacles(family, model).length === 0)?.name ?? own)
  const family = find(asked, table)
  if (family === undefined) return Effect.fail(unknown("write", asked, table))
  const what = obstacles(family, model)
  return what.length === 0 ? Effect.succeed(asked) : Effect.fail(new CannotExpress({ family: asked, what }))
}

// ---------------------------------------------------------------- config.json
const dtypes = { float32: "F32", float16: "F16", bfloat16: "BF16" } as const
const whole: ReadonlySet<Field> = new Set<Field>(["vocabulary", "hidden", "layers", "heads", "keyValueHeads", "headSize", "contextLength", "inner", "experts", "active", "sharedInner", "shared", "dense", "denseInner", "rotated", "still", "valueSize", "queryRank", "keyValueRank"])
/** A list of more tensors than this would be an attack, not a model. */
const mostTensors = 4_000_000

/** The Model of a config.json. Fails: UnknownFamily; ConfigError naming the file and the key. */
export const readConfig = (file: string, config: Config, table: Table = families): Effect.Effect<Model.Model, ConfigError | UnknownFamily> =>
  Effect.suspend(() => {
    try {
      return Effect.succeed(config["model_type"] === own ? readOwn(file, config) : readRow(file, config, table))
    } catch (error) {
      if (error instanceof ConfigError || error instanceof UnknownFamily) return Effect.fail(error)
      throw error
    }
  })

const checked = (file: string, key: string, model: Model.Model): Model.Model => {
  const experts = model.feedForward.kind === "mixture" ? model.feedForward.experts : 1
  if (model.layers * experts > mostTensors) throw new ConfigError({ file, key, problem: `${model.layers} layers of ${experts} experts`, remedy: "no such model exists: fetch the file again" })
  const [first] = Model.contradictions(model)
  if (first !== undefined) throw new ConfigError({ file, key, problem: first, remedy: "correct the numbers that contradict each other" })
  return model
}

const readOwn = (file: string, config: Config): Model.Model => {
  const decoded = Schema.decodeUnknownExit(Model.Model)(config["model"], { onExcessProperty: "error" })
  if (decoded._tag === "Success") return checked(file, "model", decoded.value)
  const reason = decoded.cause.reasons[0]
  throw new ConfigError({ file, key: "model", problem: reason?._tag === "Fail" ? reason.error.message.replaceAll("\n", " ") : "not a model", remedy: "write the folder again" })
}

const readRow = (file: string, config: Config, table: Table): Model.Model => {
  const fail = (key: string, problem: string, remedy: string): never => { throw new ConfigError({ file, key, problem, remedy }) }
  const type = config["model_type"]
  if (typeof type !== "string") return fail("model_type", "it is missing", "a config.json names its family, as in \"model_type\": \"llama\"")
  const family = find(type, table)
  if (family === undefined) throw unknown(file, type, table)
  const used = new Set(["model_type", "architectures", "tie_word_embeddings", "layer_types", "dtype", "torch_dtype"])

  const architectures = config["architectures"]
  if (Array.isArray(architectures) && architectures.length > 0 && !architectures.includes(family.architecture)) {
    fail("architectures", `${JSON.stringify(architectures)} contradicts model_type ${JSON.stringify(type)}`, `a ${type} with a language head is a ${family.architecture}`)
  }
  const rope = ropeOf(config["rope_parameters"])
  const numbers = new Map<Field, number>()
  const read = ({ field, keys, missing, zero }: Size): number => {
    const given = [...keys.map((key) => [key, config[key]] as const), ...field === "ropeTheta" ? [["rope_parameters.rope_theta", rope?.["rope_theta"]] as const] : []].filter(([, value]) => value !== undefined && value !== null)
    for (const key of keys) used.add(key)
    if (zero === "none" && keys.some((key) => config[key] === null)) return 0
    for (const [key, value] of given) {
      if (typeof value !== "number" || !(value > 0 || (zero === "zero" && value === 0)) || (whole.has(field) && !Number.isSafeInteger(value))) fail(key, `${JSON.stringify(value)} is not a positive ${whole.has(field) ? "integer" : "number"}`, "correct the value")
      if (value !== given[0]![1]) fail(key, `${JSON.stringify(value)} contradicts ${given[0]![0]} = ${JSON.stringify(given[0]![1])}`, "keep one of the two")
    }
    if (given.length > 0) return given[0]![1] as number
    if (missing === undefined) return fail(keys[0]!, "it is missing", `add the key; a ${type} cannot be read without it`)
    if (typeof missing === "number") return missing
    if (typeof missing === "string") return numbers.get(missing)!
    if ("sum" in missing) return numbers.get(missing.sum[0])! + numbers.get(missing.sum[1])!
    if ("product" in missing) return numbers.get(missing.product[0])! * numbers.get(missing.product[1])!
    const quotient = numbers.get(missing[0])! / numbers.get(missing[1])!
    return Number.isInteger(quotient) ? quotient : fail(keys[0]!, `it is missing, and ${missing[0]} ${numbers.get(missing[0])} is no multiple of ${missing[1]} ${numbers.get(missing[1])}`, "add the key")
  }
  for (const size of [...family.sizes.filter(({ keys }) => keys.length > 0), ...family.sizes.filter(({ keys }) => keys.length === 0)]) numbers.set(size.field, read(size))
  const number = (field: Field): number => numbers.get(field)!

  if (number("layers") > mostTensors) fail(family.sizes.find(({ field }) => field === "layers")!.keys[0]!, `${number("layers")} layers`, "no such model exists: fetch the file again")

  for (const [key, only] of Object.entries(family.fixed)) {
    used.add(key)
    const value = config[key]
    if (value !== undefined && value !== null && !same(value, only)) fail(key, `${JSON.stringify(value)} is not computed by our decoder, only ${JSON.stringify(only)} is`, "use a model without it")
  }
  if (family.further !== undefined) {
    const { key } = family.further, count = config[key] ?? 0
    used.add(key)
    if (!Number.isSafeInteger(count) || Number(count) < 0 || Number(count) > number("layers")) fail(key, `${JSON.stringify(count)} layers for further tokens behind ${number("layers")}`, "correct the value")
  }
  const reading = { config, used, number, fail }
  const attention = readAttention(reading, family), ropeScaling = readRope(reading, family), block = readBlock(reading, family)
  const tied = config["tie_word_embeddings"] ?? family.tied ?? false
  if (typeof tied !== "boolean") return fail("tie_word_embeddings", `${JSON.stringify(tied)} is not true or false`, "correct the value")
  if (config["dtype"] !== undefined && config["torch_dtype"] !== undefined && config["dtype"] !== config["torch_dtype"]) fail("dtype", `it contradicts torch_dtype ${JSON.stringify(config["torch_dtype"])}`, "keep one of the two")

  return checked(file, "num_attention_heads, num_key_value_heads, head_dim, num_experts_per_tok", {
    family: family.name,
    vocabulary: number("vocabulary"), hidden: number("hidden"), layers: number("layers"), heads: number("heads"), keyValueHeads: number("keyValueHeads"),
    headSize: number("headSize"), contextLength: number("contextLength"), normEpsilon: number("normEpsilon"), ropeTheta: number("ropeTheta"), tiedEmbeddings: tied,
    ...attention === undefined ? {} : { attention }, ...ropeScaling === undefined ? {} : { ropeScaling }, ...block,
    feedForward: family.router === undefined ? { kind: "dense", inner: number("inner") } : readMixture(reading, family.router),
    extra: Object.fromEntries(Object.entries(config).filter(([key]) => !used.has(key))) as Model.Model["extra"]
  })
}

/** The keys of a config.json that are carried though nobody knows what they say, each with the nearest key that the family reads: a misspelt one would otherwise leave its value to a default unseen. */
export const carried = (family: Family, { extra }: Model.Model): ReadonlyArray<{ readonly key: string; readonly nearest: string }> => {
  const known = [...family.sizes.flatMap(({ keys }) => keys), ...Object.keys(family.fixed), "rope_scaling", "tie_word_embeddings"]
  return Object.keys(extra).filter((key) => !idle.has(key)).map((key) => ({ key, nearest: nearest(key, known) }))
}

/** The config.json of a model in the layout of this name (see `choose`), for tensors stored in this dtype. */
export const writeConfig = (layout: string, model: Model.Model, dtype: "F32" | "F16" | "BF16", table: Table = families): Config => {
  const torch = Object.entries(dtypes).find(([, name]) => name === dtype)![0]
  const family = find(layout, table)
  if (family === undefined) return { model_type: own, torch_dtype: torch, model: Schema.encodeSync(Model.Model)(model) as Plain }
  const form = model.feedForward
  const mixture = form.kind === "mixture" ? form : undefined, { latent, rotated = model.headSize } = model.attention ?? {}
  const values: Readonly<Record<Field, number | null>> = {
    shared: (mixture?.shared?.inner ?? 0) / form.inner, dense: mixture?.dense?.layers ?? 0, denseInner: mixture?.dense?.inner ?? form.inner,
    rotated, still: model.headSize - rotated, valueSize: latent?.value ?? model.headSize, queryRank: latent?.query ?? null, keyValueRank: latent?.keyValue ?? 0,
    ...model, inner: form.inner, experts: form.kind === "mixture" ? form.experts : 0, active: form.kind === "mixture" ? form.active : 0, sharedInner: form.kind === "mixture" ? form.shared?.inner ?? 0 : 0
  }
  return {
    ...model.extra as Config,
    architectures: [family.architecture],
    model_type: family.name,
    ...Object.fromEntries(family.sizes.flatMap(({ field, keys }) => keys[0] === undefined ? [] : [[keys[0], values[field]]])),
    ...Object.fromEntries(Object.entries(family.fixed).filter(([key]) => key !== "partial_rotary_factor")),
    ...writeAttention(family.attention ?? {}, model),
    ...writeBlock(family, model),
    ...writeRope(family, model),
    ...family.router === undefined || form.kind === "dense" ? {} : writeMixture(family.router, form),
    ...family.further === undefined ? {} : { [family.further.key]: 0 },
    tie_word_embeddings: model.tiedEmbeddings,
    torch_dtype: torch
  }
}
