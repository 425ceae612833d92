/**
 * The command line of a pipeline. Loaded only when a pipeline file is the program, as is @effect/platform-node.
 */
import { Cause, Console, Effect, Layer, Runtime } from "effect"
import { Command, Flag } from "effect/cli"
import { basename } from "node:path"
import { fileURLToPath } from "node:url"
import { type Event, listening } from "./Event.ts"
import * as File from "./File.ts"
import type { Outputs } from "./Graph.ts"
import type * as Main from "./main.ts"
import * as Pipeline from "./Pipeline.ts"
import { table } from "./Plan.ts"
import { surprises } from "./planTable.ts"
import * as Store from "./Store.ts"
import { printer } from "./Terminal.ts"
import { peakMemory } from "./peakMemory.ts"

/** `Pipeline.main`'s arguments without their types. */
export interface Program {
  readonly pipeline: Pipeline.Pipeline<Outputs> | ((flags: Main.Flags) => Pipeline.Pipeline<Outputs>)
  readonly layer: Layer.Layer<any, unknown, Store.Store> | ((flags: Main.Flags) => Layer.Layer<any, unknown, Store.Store>)
  readonly options: Main.Options<Outputs, Main.Specs, unknown, any>
}
type Work = Effect.Effect<void, unknown, Store.Store>

const specs = (out: string) => ({
  store: Flag.Path("store", { pathType: "directory", mustExist: false }).pipe(Flag.withDefault(".switchyard"), Flag.withDescription("the folder that remembers results")),
  out: Flag.Path("out", { pathType: "directory", mustExist: false }).pipe(Flag.withDefault(out), Flag.withDescription("the folder for exported files")),
  seed: Flag.Int("seed").pipe(Flag.withDefault(0), Flag.withDescription("changes every random choice")),
  device: Flag.Literals("device", ["auto", "gpu", "host", "software"]).pipe(Flag.withDefault("auto"), Flag.withDescription("what computes; auto: a hardware GPU, else the processor")),
  fresh: Flag.Boolean("fresh").pipe(Flag.withDefault(false), Flag.withDescription("compute everything again, whatever is kept")),
  concurrency: Flag.Int("concurrency").pipe(Flag.withDefault(1), Flag.withDescription("how many stages may run at once")),
  keepGoing: Flag.Boolean("keep-going").pipe(Flag.withDefault(false), Flag.withDescription("after a failure, run what does not need the failed stage")),
  json: Flag.Boolean("json").pipe(Flag.withDefault(false), Flag.withDescription("print JSON"))
})
const print = (value: unknown) => Console.log(JSON.stringify(value, null, 2))
const say = (text: string) => Effect.sync(() => { process.stderr.write(`${text}\n`) })

const plan = (pipeline: Pipeline.Pipeline<Outputs>, flags: Main.Flags): Work => Effect.gen(function*() {
  const rows = yield* Pipeline.plan(pipeline, { fresh: flags.fresh, everything: true })
  if (flags.json) return yield* print(rows)
  yield* Console.log(table(rows))
  const count = (status: string) => rows.filter((row) => row.status === status).length
  yield* Console.log(`${count("to do")} to do, ${count("kept")} kept`)
  for (const surprise of surprises(rows)) yield* Console.log(`planned wrongly: ${surprise}`)
}) as Work

const run = (pipeline: Pipeline.Pipeline<Outputs>, flags: Main.Flags, after: Program["options"]["after"]): Work => Effect.gen(function*() {
  const started = Date.now(), screen = printer(process.stderr), counts: Record<string, number> = {}, ran = new Set<string>()
  const listen = (event: Event): void => {
    counts[event._tag] = (counts[event._tag] ?? 0) + 1
    if (event._tag === "Started") ran.add(event.key)
    screen.listen(event)
  }
  const values = yield* listening(Pipeline.run(pipeline, { fresh: flags.fresh, concurrency: flags.concurrency, keepGoing: flags.keepGoing, everything: true }), listen)
    .pipe(Effect.ensuring(Effect.sync(screen.close)))
  const rows = yield* Pipeline.plan(pipeline, { everything: true })
  if (after !== undefined) {
    yield* File.sweep(flags.out)
    yield* after(values as never, { out: flags.out, rows, flags: flags as never })
  }
  for (const surprise of surprises(rows.filter((row) => ran.has(row.key)))) yield* say(`planned wrongly: ${surprise}`)
  const seconds = (Date.now() - started) / 1000, peakBytes = peakMemory()
  const stages = { run: counts["Started"] ?? 0, kept: counts["Cached"] ?? 0 }
  if (flags.json) return yield* print({ pipeline: pipeline.name, stages, seconds, peakBytes, out: flags.out, rows })
  yield* Console.log(`${pipeline.name}: ${stages.run} stages run, ${stages.kept} kept; ${seconds.toFixed(1)} s; peak memory ${(peakBytes / 2 ** 20).toFixed(0)} MiB`)
}) as Work

/** Something kept is not what it was. */
class Differs extends Error {
  readonly _tag = "Differs"
  constructor(changed: number) { super(`${changed} kept results have changed since they were made; delete their folders, and run again`) }
}
const verify = (pipeline: Pipeline.Pipeline<Outputs>, flags: Main.Flags): Work => Effect.gen(function*() {
  const rows = yield* Pipeline.verify(pipeline)
  if (flags.json) yield* print(rows)
  else for (const row of rows) {
    yield* Console.log(`${row.status.padEnd(8)} ${row.key.slice(0, 8)}  ${row.stage}${row.files > 0 ? `  ${row.files} files` : ""}`)
    for (const { path, problem } of row.differences) yield* Console.log(`         ${problem} ${path}`)
  }
  const changed = rows.filter((row) => row.status === "changed").length
  if (changed > 0) return yield* Effect.fail(new Differs(changed))
}) as Work

/** One line for what was foreseen, the whole trace for what was not. */
const explain = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause) as { readonly _tag?: unknown; readonly message?: unknown } | undefined
  return typeof error?._tag === "string" && typeof error.message === "string" && error.message !== "" ? `error (${error._tag}): ${error.message}` : Cause.pretty(cause)
}

export const start = async (program: Program, meta: { readonly url: string }): Promise<void> => {
  const { options } = program
  // a reader that has gone away (`| head`) is no reason to lose the run
  for (const stream of [process.stdout, process.stderr]) stream.on("error", (error: NodeJS.ErrnoException) => { if (error.code !== "EPIPE") throw error })
  // two modules, not the package: its index loads an HTTP client and more, a third of a second
  const platform = await Promise.all([import("@effect/platform-node/NodeRuntime"), import("@effect/platform-node/NodeServices")]).then(([runtime, services]) => ({ runtime, services }), () => undefined)
  if (platform === undefined) {
    process.stderr.write("error: a pipeline's command line needs @effect/platform-node: npm install @effect/platform-node\n")
    process.exitCode = 1
    return
  }
  const name = options.name ?? (typeof program.pipeline === "function" ? basename(fileURLToPath(meta.url)).replace(/\.\w+$/, "") : program.pipeline.name)
  const given = { ...options.flags, ...specs(`runs/${name}`) }
  const command = (verb: string, about: string, work: (pipeline: Pipeline.Pipeline<Outputs>, flags: Main.Flags) => Work, needsLayer: boolean) =>
    Command.make(verb, given, (parsed) => Effect.suspend(() => {
      const flags = parsed as unknown as Main.Flags
      const done = work(typeof program.pipeline === "function" ? program.pipeline(flags) : program.pipeline, flags)
      const layer = !needsLayer ? Layer.empty : typeof program.layer === "function" ? program.layer(flags) : program.layer
      return done.pipe(Effect.provide(layer), Effect.provide(Store.layer(flags.store)), Effect.provideService(Pipeline.Seed, flags.seed)) as Effect.Effect<void, unknown>
    })).pipe(Command.withDescription(about))
  const all = Command.make(name).pipe(Command.withDescription(options.description ?? `the pipeline ${name}`), Command.withSubcommands([
    command("plan", "what a run would do and cost; runs nothing", plan, true),
    command("run", "compute what is missing and write the results", (pipeline, flags) => run(pipeline, flags, options.after), true),
    command("graph", "the graph as Mermaid text; --json: the description", (pipeline, flags) => flags.json ? print(Pipeline.toJson(pipeline)) : Console.log(Pipeline.graph(pipeline)), false),
    command("verify", "hash every kept file again and compare with its provenance", verify, false)
  ]))
  // `quickstart.ts --small` runs: only a word is a command, and --help and --version alone are the program's own
  const first = process.argv[2]
  if (first === undefined || first.startsWith("-") && !["--help", "-h", "--version", "-v", "--completions", "--wizard"].includes(first)) process.argv.splice(2, 0, "run")
  const main = Command.run(all, { version: options.version ?? "0.1.0" }).pipe(
    Effect.tapCause((cause) => Cause.hasInterruptsOnly(cause) || !Runtime.getErrorReported(Cause.squash(cause)) ? Effect.void : say(explain(cause))),
    Effect.provide(platform.services.layer)
  )
  platform.runtime.runMain(main as Effect.Effect<void, unknown>, { disableErrorReporting: true })
}
