/**
 * Scaled rotary positions in config.json: `rope_scaling` with transformers 4's names beside the theta, or everything in transformers 5's `rope_parameters`, in
 * some families by kind of layer. Which frequencies follow is gpu's business (`rotaryFrequencies.ts`).
 */
import type { Family } from "./families.ts"
import { type Config, object, type Reading, same } from "./familyFeatures.ts"
import type * as Model from "./Model.ts"
import type { Plain } from "./StrictJson.ts"

/** Our names of a kind's numbers, and config.json's. */
const llama3 = { factor: "factor", lowFrequency: "low_freq_factor", highFrequency: "high_freq_factor", originalContext: "original_max_position_embeddings" } as const
const yarn = { factor: "factor", originalContext: "original_max_position_embeddings", fast: "beta_fast", slow: "beta_slow", whole: "truncate", magnitude: "attention_factor", weight: "mscale", weightAll: "mscale_all_dim" } as const
const longrope = { short: "short_factor", long: "long_factor", originalContext: "original_max_position_embeddings", factor: "factor", magnitude: "attention_factor" } as const
const words = { llama3, yarn, longrope }

/** Positions of all layers, or of those that see everything where the config gives them by kind of layer. */
export const ropeOf = (parameters: Plain | undefined): Config | undefined => {
  const of = object(parameters)
  return of === undefined ? undefined : object(of["full_attention"]) ?? of
}

/** How rotary positions are scaled; the newer key `rope_parameters` and the older `rope_scaling` must not contradict each other. */
export const readRope = (reading: Reading, { attention, rope = {} }: Family): Model.RopeScaling | undefined => {
  const { config, fail, number, used } = reading
  const found = (["rope_scaling", "rope_parameters"] as const).flatMap((key): ReadonlyArray<{ readonly key: string; readonly scaling: Model.RopeScaling }> => {
    used.add(key)
    const given = object(config[key])
    if (given === undefined) return []
    const byLayer = Object.values(given).some((value) => object(value) !== undefined)
    if (byLayer && (attention?.localTheta === undefined || Object.keys(given).some((name) => name !== "full_attention" && name !== "sliding_attention"))) fail(key, "rotary positions that differ between layers are not computed by our decoder", "use a model whose layers are alike")
    const local = byLayer ? object(given["sliding_attention"]) : undefined
    if ((local?.["rope_type"] ?? "default") !== "default") fail(`${key}.sliding_attention`, "scaled rotary positions of the layers with a window are not computed by our decoder", "use a model that scales only the layers that see everything")
    const of = ropeOf(given)!
    const share = of["partial_rotary_factor"]
    if (attention?.share === undefined && share !== undefined && share !== null && share !== 1) fail(`${key}.partial_rotary_factor`, `${JSON.stringify(share)} is not computed by our decoder, only 1 is`, "use a model that rotates whole heads")
    const word = of["rope_type"] ?? of["type"] ?? "default", kind = typeof word === "string" ? rope.words?.[word] ?? word : word
    if (kind === "default") return []
    const wrong = (name: string, what: string): never => fail(key, `rotary positions of type ${JSON.stringify(kind)} need ${name}, which is ${of[name] === undefined ? "missing" : JSON.stringify(of[name]).slice(0, 80)}`, `add ${what}`)
    const maybe = (name: string): number | undefined => {
      const value = of[name] ?? undefined
      return value === undefined || (typeof value === "number" && value > 0) ? value : wrong(name, "a positive number")
    }
    const at = (name: string, missing?: number): number => maybe(name) ?? missing ?? wrong(name, "a positive number")
    const list = (name: string): ReadonlyArray<number> => {
      const value = of[name]
      return Array.isArray(value) && value.every((one) => typeof one === "number" && one > 0) ? value as ReadonlyArray<number> : wrong(name, "a list of positive numbers")
    }
    const those = <K extends string>(names: Readonly<Record<K, string>>) => Object.fromEntries(Object.entries<string>(names).map(([ours, theirs]) => [ours, maybe(theirs)] as const).filter(([, value]) => value !== undefined)) as { readonly [P in K]?: number }
    const context = (): number => {
      const beside = rope.context === undefined ? undefined : config[rope.context] ?? undefined
      if (rope.context !== undefined) used.add(rope.context)
      if (beside !== undefined && !(typeof beside === "number" && Number.isSafeInteger(beside) && beside > 0)) fail(rope.context!, `${JSON.stringify(beside)} is not a positive integer`, "correct the value")
      const within = maybe(longrope.originalContext)
      if (beside !== undefined && within !== undefined && beside !== within) fail(rope.context!, `${JSON.stringify(beside)} contradicts ${key}.${longrope.originalContext} = ${within}`, "keep one of the two")
      return (beside as number | undefined) ?? within ?? number("contextLength")
    }
    if (rope.kinds !== undefined && !rope.kinds.some((one) => one === kind)) fail(key, `rotary positions of type ${JSON.stringify(kind)} are not known in this family`, `use a model with plain rotary positions, or scaled ones of type ${rope.kinds.join(" or ")}`)
    switch (kind) {
      case "linear": return [{ key, scaling: { kind, factor: at("factor") } }]
      case "llama3": return [{ key, scaling: { kind, factor: at(llama3.factor), lowFrequency: at(llama3.lowFrequency), highFrequency: at(llama3.highFrequency), originalContext: context() } }]
      case "yarn": {
        const whole = of[yarn.whole] ?? true
        if (typeof whole !== "boolean") return wrong(yarn.whole, "true or false")
        const originalContext = context()
        return [{ key, scaling: { kind, factor: at(yarn.factor, number("contextLength") / originalContext), originalContext, fast: at(yarn.fast, 32), slow: at(yarn.slow, 1), whole, ...those({ magnitude: yarn.magnitude, weight: yarn.weight, weightAll: yarn.weightAll }) } }]
      }
      case "longrope": return [{ key, scaling: { kind, short: list(longrope.short), long: list(longrope.long), originalContext: context(), ...those({ factor: longrope.factor, magnitude: longrope.magnitude }) } }]
      default: return fail(key, `rotary positions of type ${JSON.stringify(kind)} are not computed by our decoder`, "use a model with plain rotary positions, or scaled ones of type linear, llama3, yarn or longrope")
    }
  })
  if (rope.missing !== undefined && !["rope_scaling", "rope_parameters"].some((key) => object(config[key]) !== undefined)) return rope.missing
  if (found.length === 2 && !same(found[0]!.scaling, found[1]!.scaling)) fail(found[1]!.key, `it contradicts ${found[0]!.key}`, "keep one of the two")
  return found[0]?.scaling
}

/** The keys of config.json that say it, as transformers 4 and 5 both read them. */
export const writeRope = ({ rope = {} }: Family, { ropeScaling: scaling }: Model.Model): Config => {
  if (scaling === undefined) return rope.missing === undefined ? {} : { rope_scaling: { rope_type: "default" } }
  if (scaling.kind === "linear") return { rope_scaling: { rope_type: "linear", type: "linear", factor: scaling.factor } }
  const numbers = Object.fromEntries(Object.entries(words[scaling.kind]).map(([ours, theirs]) => [theirs, (scaling as unknown as Config)[ours]] as const).filter(([, value]) => value !== undefined)) as Config
  if (rope.context === undefined) return { rope_scaling: { rope_type: scaling.kind, ...scaling.kind === "llama3" ? {} : { type: scaling.kind }, ...numbers } }
  const { [rope.context]: context = null, ...others } = numbers // beside: transformers 4 takes no other key within
  return { rope_scaling: { type: scaling.kind, ...others }, [rope.context]: context }
}

/** What keeps a family from scaling positions so. */
export const ropeObstacles = ({ rope = {} }: Family, { ropeScaling: scaling }: Model.Model): ReadonlyArray<string> =>
  scaling === undefined || rope.kinds === undefined || rope.kinds.includes(scaling.kind) ? [] : [`rotary positions of type ${scaling.kind}`]
