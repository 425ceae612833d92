/**
 * `eval:patches`: a published experiment on what routing by patches is worth in training samples, run again on this library's own ops and devices:
 * a convolution against experts that choose patches, trained jointly or routers first, over several seeds.
 */
import { Pipeline } from "@switchyard/core"
import { Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import * as Patches from "../Patches.ts"
import { methods } from "../patches/network.ts"
import { climb } from "../patches/search.ts"
import { over } from "../theory/over.ts"
import { present } from "./present.ts"
import { common, place, start, work } from "./target.ts"

/** Seeds where no limit is given, and numbers of patches. */
const usual = 10, sizes = [16, 64]
export interface Flags { readonly most: number; readonly limit: Option.Option<number>; readonly seed: number; /** Numbers of patches; 16 and 64 where left out. */ readonly sizes?: ReadonlyArray<number> }

/** The report of `eval:patches` and its verdicts: a stage for each method, number of patches and of samples. Fails: the device's and the store's failures. */
export const patches = (flags: Flags) => Effect.gen(function*() {
  const { most, seed } = flags, seeds = Option.getOrElse(flags.limit, () => usual)
  const wanted = (flags.sizes ?? sizes).flatMap((size) => methods.map((method) => ({ method, patches: size })))
  const found = yield* Effect.forEach(wanted, (each) => Effect.map(climb((samples) => Effect.gen(function*() {
    const { result } = yield* Pipeline.run(Pipeline.make("eval:patches", () => ({ result: Patches.train({ ...each, samples, seed, seeds }) })))
    return { accuracy: over(result.accuracies).value, measured: result }
  }), { from: 10, most, target: Patches.target }), (curve): Patches.Measurement => ({ ...each, curve })))
  return { report: Patches.report(found, { seed, seeds }), verdicts: Patches.verdicts(found) }
})

export const command = Command.make("eval:patches", {
  most: Flag.Int("most").pipe(Flag.filter((value) => value >= 10, (value) => `--most must be 10 or more, got ${value}`), Flag.withDefault(1280), Flag.withDescription("training samples at most: 10, 20, 40 … are tried")),
  ...common("patches", `seeds, counted from --seed (default ${usual})`)
}, (flags) => Effect.flatMap(work(flags, patches(flags)), ({ report, verdicts }) => present(report, place(flags.out), [...verdicts.map(({ text }) => text), ""]))).pipe(
  Command.withDescription("a published experiment on routing by patches: the training samples that a convolution and experts need"))

await start(command, import.meta)
