/**
 * `eval:theory`: a published experiment that says when routing can work at all, run again on this library's own ops, router and devices: single
 * networks against mixtures, linear against cubic experts, two gates, over several seeds.
 */
import { Pipeline } from "@switchyard/core"
import { Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import * as Theory from "../Theory.ts"
import { settings } from "../theory/clusters.ts"
import { present } from "./present.ts"
import { common, place, start, work } from "./target.ts"

/** Seeds where no limit is given. */
const usual = 5
export interface Flags { readonly setting: keyof typeof settings; readonly examples: number; readonly limit: Option.Option<number>; readonly seed: number; /** Names of networks; all where empty or left out. */ readonly network?: ReadonlyArray<string>; /** Of every training at most; as published where left out. */ readonly steps?: number }

/** The report of `eval:theory` and its verdicts: a stage for each network and seed. Fails: the device's and the store's failures. */
export const theory = (flags: Flags) => Effect.gen(function*() {
  const { examples, seed: base, setting } = flags, seeds = Array.from({ length: Option.getOrElse(flags.limit, () => usual) }, (_, at) => base + at)
  const chosen = Object.fromEntries(Object.entries(Theory.models).filter(([name]) => (flags.network ?? []).length === 0 || flags.network!.includes(name)))
  const pipeline = Pipeline.make("eval:theory", () => Pipeline.each(chosen, ({ network, steps }) =>
    Object.fromEntries(seeds.map((seed) => [String(seed), Theory.train({ ...network, setting, seed, examples, steps: Math.min(steps, flags.steps ?? steps) })]))))
  const found = yield* Pipeline.run(pipeline), runs = Pipeline.each(found, (bySeed) => seeds.map((seed) => bySeed[String(seed)]!))
  return { report: Theory.report(runs, { base, setting, examples }), verdicts: Object.entries(runs).map(([name, each]) => Theory.verdict(name, each)) }
})

export const command = Command.make("eval:theory", {
  setting: Flag.Literals("setting", Object.keys(settings) as ReadonlyArray<keyof typeof settings>).pipe(Flag.withDefault("S1"), Flag.withDescription("the published setting of noise; figures are expected of S1")),
  examples: Flag.Int("examples").pipe(Flag.withDefault(16_000), Flag.withDescription("examples to train with, and as many to test with")),
  network: Flag.Literals("network", Object.keys(Theory.models)).pipe(Flag.atLeast(0), Flag.withDescription("only these networks; may be given several times")),
  ...common("theory", `seeds, counted from --seed (default ${usual})`)
}, (flags) => Effect.flatMap(work(flags, theory(flags)), ({ report, verdicts }) => present(report, place(flags.out), [...verdicts.map(({ text }) => text), ""]))).pipe(
  Command.withDescription("a published experiment on when routing works: single networks and mixtures, linear and cubic, on clustered data"))

await start(command, import.meta)
