/**
 * What a family's mixtures are, read from config.json and written to it: the router, the shared expert, the first layers that have a dense feed-forward. The
 * router is data of routing's (`Router.ts` there); this module knows the forms of it that files can say.
 */
import type { Quantity, RouterRow } from "./families.ts"
import { type Config, isOn, object, quantity, type Reading, same, whole } from "./familyFeatures.ts"
import type * as Model from "./Model.ts"
import type { Plain } from "./StrictJson.ts"

const scoreOf = (bias: true | undefined): Config => bias === true ? { by: "linear", bias } : { by: "linear" }
const tensorsOf = ({ bias, sigmoid }: RouterRow, experts: number, hidden: number): Readonly<Record<string, ReadonlyArray<number>>> =>
  ({ ...sigmoid === true ? { correction: [experts] } : {}, weight: [experts, hidden], ...bias === true ? { bias: [experts] } : {} })

/** The groups of experts that a token chooses within; undefined where it may choose any. */
const groups = (reading: Reading, { by, count, keep, method }: NonNullable<RouterRow["groups"]>, experts: number): Config | undefined => {
  const { config, fail, used } = reading
  for (const key of [count, keep]) used.add(key)
  if (method !== undefined) {
    used.add(method.key)
    const said = config[method.key] ?? method.without
    if (said === method.without) return undefined
    if (said !== method.within) fail(method.key, `${JSON.stringify(said)} is not computed by our decoder, only ${JSON.stringify(method.without)} and ${JSON.stringify(method.within)} are`, "use a model with one of them")
  }
  const of = whole(reading, count, null, 1) ?? 1, kept = whole(reading, keep, null, 1) ?? of
  if (of === 1) return undefined
  if (experts % of !== 0 || kept > of || (by === "top2sum" && experts / of < 2)) fail(count, `${kept} of ${of} groups of ${experts} experts`, "correct the numbers that contradict each other")
  return { count: of, keep: kept, by }
}

/** The mixture that a family's files hold, in this config. */
export const readMixture = (reading: Reading, row: RouterRow): Model.Mixture => {
  const { number } = reading, experts = number("experts"), active = number("active"), { expertBias, normalised, shared, sigmoid } = row
  const weight = normalised === true ? "softmaxKept" : normalised !== false && isOn(reading, normalised) ? "renorm" : "prob"
  const within = row.groups === undefined ? undefined : groups(reading, row.groups, experts), scale = row.scale === undefined ? 1 : quantity(reading, row.scale) ?? 1
  const router: Config = {
    unit: { of: "token" }, score: scoreOf(row.bias), ...sigmoid === true ? { activation: "sigmoid", correction: true } : {}, ...within === undefined ? {} : { groups: within },
    select: { keep: "top", active }, weight, ...scale === 1 ? {} : { scale }
  }
  const dense = number("dense") ?? 0
  return {
    kind: "mixture", inner: number("inner"), experts, active, expert: { kind: "full", ...expertBias === true ? { bias: true } : {} },
    router: router as Model.Mixture["router"], routerTensors: tensorsOf(row, experts, number("hidden")),
    ...shared === undefined ? {} : { shared: { inner: number("sharedInner"), gate: shared.gate } }, ...dense === 0 ? {} : { dense: { layers: dense, inner: number("denseInner") } }
  }
}

/** The keys of config.json that say it. */
export const writeMixture = ({ groups: row, normalised, scale }: RouterRow, form: Model.Mixture): Config => {
  const router = form.router as Config, within = object(router["groups"])
  return {
    ...typeof normalised === "boolean" ? {} : { [normalised.key]: router["weight"] !== "prob" },
    ...row === undefined ? {} : { [row.count]: within?.["count"] ?? 1, [row.keep]: within?.["keep"] ?? 1, ...row.method === undefined ? {} : { [row.method.key]: within === undefined ? row.method.without : row.method.within } },
    ...scale === undefined ? {} : { [scale.key]: router["scale"] ?? 1 }
  }
}

const fitsGroups = (row: RouterRow["groups"], given: Plain | undefined): boolean => given === undefined || (row !== undefined && object(given)?.["by"] === row.by)
const fitsScale = (row: Quantity | undefined, given: Plain | undefined): boolean => given === undefined || given === 1 || row !== undefined
/** Keeping all experts is the best k of k, whose probabilities sum to one. */
const fitsWeight = ({ normalised, sigmoid }: RouterRow, weight: Plain | undefined, all: boolean): boolean =>
  sigmoid === true ? weight === "renorm" || weight === "prob" : weight === "prob" ? normalised !== true || all : (weight === "softmaxKept" || weight === "renorm") && (normalised !== false || all)

/** What keeps a family's layer from computing a router. `losses` matter in training only. */
const routerObstacles = (row: RouterRow, router: Plain, active: number, experts: number): ReadonlyArray<string> => {
  const given = object(router)
  if (given === undefined) return ["a router that is not an object"]
  const { unit, score, activation, correction, groups, select, weight, scale, capacity, losses: _, ...others } = given
  const all = active === experts
  const fits = {
    unit: unit === undefined || same(unit, { of: "token" }),
    score: same(score, scoreOf(row.bias)),
    activation: (activation === "sigmoid") === (row.sigmoid === true),
    correction: (correction === true) === (row.sigmoid === true),
    groups: fitsGroups(row.groups, groups),
    select: (all && same(select, { keep: "all" })) || same(select, { keep: "top", active }),
    weight: fitsWeight(row, weight, all),
    scale: fitsScale(row.scale, scale),
    capacity: capacity === undefined || capacity === null || capacity === "unlimited"
  }
  return [...Object.entries(fits).filter(([, fit]) => !fit).map(([key]) => `router.${key} = ${JSON.stringify(given[key]) ?? "missing"}`), ...Object.keys(others).map((key) => `router.${key}`)]
}

const sharedName = (shared: { readonly gate: boolean } | undefined): string => shared === undefined ? "no shared expert" : `a shared expert with${shared.gate ? "" : "out"} a gate`

/** What keeps a family from expressing a mixture. `counted`: its files say how many experts wide the shared one is; `first`: how many layers are dense. */
export const mixtureObstacles = (row: RouterRow, form: Model.Mixture, { hidden }: Model.Model, { counted, first }: { readonly counted: boolean; readonly first: boolean }): ReadonlyArray<string> => {
  const { expertBias, shared } = row, expected = tensorsOf(row, form.experts, hidden)
  return [
    ...form.expert.kind !== "full" ? [`experts of kind ${form.expert.kind}`] : (form.expert.bias === true) === (expertBias === true) ? [] : [`experts with${expertBias === true ? "out" : ""} biases`],
    ...same(form.routerTensors as unknown as Plain, expected as unknown as Plain) ? [] : [`router tensors ${JSON.stringify(form.routerTensors)} (only ${JSON.stringify(expected)})`],
    ...form.shared?.gate === shared?.gate ? [] : [sharedName(form.shared)],
    ...!counted || form.shared === undefined || form.shared.inner % form.inner === 0 ? [] : [`a shared expert ${form.shared.inner} wide, no multiple of ${form.inner}`],
    ...form.dense === undefined || first ? [] : [`${form.dense.layers} dense layers before the mixtures`],
    ...routerObstacles(row, form.router as Plain, form.active, form.experts)
  ]
}
