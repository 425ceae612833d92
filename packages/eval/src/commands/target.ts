/**
 * What every evaluation target shares: its flags, its place for results, its progress, and its way of failing. A target is a thin command
 * around a pipeline of existing stages, so that it plans, resumes and remembers as every pipeline does.
 */
import { Event, Pipeline, Store, Terminal } from "@switchyard/core"
import { Device, Storage } from "@switchyard/gpu"
import { Cause, Effect, Option, Runtime, Schema } from "effect"
import { Command, Flag } from "effect/cli"
import { realpathSync } from "node:fs"
import { join, resolve } from "node:path"
import { fileURLToPath } from "node:url"

/** The command line asks for what cannot be: which target, what is wrong and what to do. */
export class TargetError extends Schema.TaggedError<TargetError>()("TargetError", { target: Schema.String, problem: Schema.String, remedy: Schema.String }) {
  override get message() { return `${this.target}: ${this.problem}. ${this.remedy}` }
}

/** Paths are relative to where the user stands, whatever folder nx or npm runs the target in. */
export const place = (path: string): string => resolve(process.env["INIT_CWD"] ?? process.cwd(), path)

const path = (name: string) => Flag.String(name).pipe(Flag.withMetavar("DIR"))
/** `--out --store --seed --device --limit`, with the target's own meaning of `--limit`. */
export const common = (name: string, limit: string) => ({
  out: path("out").pipe(Flag.withDefault(`runs/eval-${name}`), Flag.withDescription("the folder for report.md, report.html, report.json and results.arrow")),
  store: path("store").pipe(Flag.optional, Flag.withDescription("the folder that remembers scores; <out>/.store unless given")),
  seed: Flag.Int("seed").pipe(Flag.filter((value) => value >= 0 && value < 2 ** 32, (value) => `--seed must be from 0 to 2^32 - 1, which is what the table of results holds, got ${value}`), Flag.withDefault(0), Flag.withDescription("stands in the results; changes every random choice")),
  device: Flag.Literals("device", ["auto", "gpu", "host", "software"]).pipe(Flag.withDefault("auto"), Flag.withDescription("what computes; auto: a hardware GPU, else the processor")),
  limit: Flag.Int("limit").pipe(Flag.filter((value) => value > 0, (value) => `--limit must be 1 or more, got ${value}`), Flag.optional, Flag.withDescription(limit))
})
/** `--storage`: how weights lie on the device. */
export const storage = Flag.Literals("storage", ["f32", ...Storage.storages]).pipe(Flag.withDefault("f32"), Flag.withDescription("how weights lie on the device: f32, or smaller; what is computed is f32"))
/** Storage as stages take it. */
export const stored = (given: "f32" | Storage.Storage): { readonly storage?: Storage.Storage } => given === "f32" ? {} : { storage: given }
/** Flags that may be given several times, or once with several values. */
export const several = (name: string, metavar: string, about: string) => Flag.String(name).pipe(Flag.atLeast(1), Flag.withMetavar(metavar), Flag.withDescription(about))

/** Common flags as parsed. */
export interface Common {
  readonly out: string
  readonly store: Option.Option<string>
  readonly seed: number
  readonly device: "auto" | "gpu" | "host" | "software"
  readonly limit: Option.Option<number>
}

/** Runs a target's work on the device, store and seed that its flags name, with progress on standard error. */
export const work = <A, E>(flags: Common, effect: Effect.Effect<A, E, Device.Device | Store.Store>) => Effect.suspend(() => {
  const screen = Terminal.printer(process.stderr)
  return Event.listening(effect, screen.listen).pipe(
    Effect.ensuring(Effect.sync(screen.close)),
    Effect.provide(Device.byName(flags.device)),
    Effect.provide(Store.layer(Option.match(flags.store, { onNone: () => join(place(flags.out), ".store"), onSome: place }))),
    Effect.provideService(Pipeline.Seed, flags.seed)
  )
})

/** `--model A B` is `--model A --model B`: what a shell makes of `--text *.txt`. */
export const spread = (args: ReadonlyArray<string>, lists: ReadonlyArray<string> = ["--model", "--text"]): ReadonlyArray<string> => {
  const found: Array<string> = []
  let list: string | undefined, values = 0
  for (const arg of args) {
    if (arg.startsWith("-")) { list = lists.find((name) => arg === name || arg.startsWith(`${name}=`)); values = list !== undefined && arg !== list ? 1 : 0 }
    else if (list !== undefined && values++ > 0) found.push(list)
    found.push(arg)
  }
  return found
}

/** One line for what was foreseen, the whole trace for what was not. */
const explain = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause) as { readonly _tag?: unknown; readonly message?: unknown } | undefined
  return typeof error?._tag === "string" && typeof error.message === "string" && error.message !== "" ? `error (${error._tag}): ${error.message}` : Cause.pretty(cause)
}

/** Runs the command when its file is the program; importing it runs nothing. Exit codes: 0; 1 after a failure, told in one line; 130 after Ctrl-C. */
export const start = async <Name extends string, I, C, E>(command: Command.Command<Name, I, C, E, never>, meta: { readonly url: string }): Promise<void> => {
  const program = process.argv[1]
  if (program === undefined || realpathSync(program) !== realpathSync(fileURLToPath(meta.url))) return
  for (const stream of [process.stdout, process.stderr]) stream.on("error", (error: NodeJS.ErrnoException) => { if (error.code !== "EPIPE") throw error })
  const [runtime, services] = await Promise.all([import("@effect/platform-node/NodeRuntime"), import("@effect/platform-node/NodeServices")])
  const main = Command.runWith(command, { version: "0.1.0" })(spread(process.argv.slice(2))).pipe(
    Effect.tapCause((cause) => Cause.hasInterruptsOnly(cause) || !Runtime.getErrorReported(Cause.squash(cause)) ? Effect.void : Effect.sync(() => { process.stderr.write(`${explain(cause)}\n`) })),
    Effect.provide(services.layer)
  )
  runtime.runMain(main as Effect.Effect<void, unknown>, { disableErrorReporting: true })
}
