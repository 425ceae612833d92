/**
 * `eval:suite` and `switchyard-eval`: tasks on a model with lm-evaluation-harness's numbers, flags, table and result file; or, with `--text`, one
 * text file by rolling log-likelihood.
 */
import { File } from "@switchyard/core"
import { Device } from "@switchyard/gpu"
import { Console, Effect, Option, References } from "effect"
import { Command, Flag } from "effect/cli"
import { existsSync } from "node:fs"
import type { BosPolicy } from "../lmEval/encodePair.ts"
import { Progress } from "../lmEval/Progress.ts"
import { resultTable } from "../lmEval/resultTable.ts"
import * as Suite from "../lmEval/Suite.ts"
import { modelName } from "./inputs.ts"
import { place, start, storage, stored, TargetError } from "./target.ts"

const name = "switchyard-eval"
const refuse = (problem: string, remedy: string) => Effect.fail(new TargetError({ target: name, problem, remedy }))

/** `pretrained=org/name,revision=v1,dtype=float32` → org/name@v1. */
export const pretrained = (args: string): string | undefined => {
  const name = /(?:^|,)(?:pretrained|path)=([^,]+)/.exec(args)?.[1], revision = /(?:^|,)revision=([^,]+)/.exec(args)?.[1]
  return name === undefined || revision === undefined || name.includes("@") || existsSync(place(name)) ? name : `${name}@${revision}`
}
/** The harness's names of devices beside ours. */
const deviceOf = (given: string): string => given === "cpu" ? "host" : /^(cuda|mps)(:\d+)?$/.test(given) ? "gpu" : given

const isPolicy = (name: string | undefined): name is BosPolicy | undefined => name === undefined || ["tokenizer", "never", "always"].includes(name)

const optional = (flag: string, alias: string | undefined, metavar: string, about: string) => {
  const made = Flag.String(flag).pipe(Flag.withMetavar(metavar), Flag.withDescription(about))
  return Flag.optional(alias === undefined ? made : made.pipe(Flag.withAlias(alias)))
}
const number = (flag: string, given: Option.Option<string>, least: number, whole = false): Effect.Effect<number | undefined, TargetError> => Option.match(given, {
  onNone: () => Effect.succeed(undefined),
  onSome: (text) => text.trim() !== "" && (whole ? Number.isSafeInteger(Number(text)) : Number.isFinite(Number(text))) && Number(text) >= least ? Effect.succeed(Number(text))
    : refuse(`--${flag} must be a ${whole ? "whole " : ""}number${least === -Infinity ? "" : ` of ${least} or more`}, got ${text}`, "Correct it")
})

/** What `--gen_kwargs` says of max_gen_toks; anything but greedy is refused. */
const generationOf = (given: Option.Option<string>): Effect.Effect<Option.Option<string>, TargetError> => Effect.gen(function*() {
  const said = new Map(Option.getOrElse(given, () => "").split(",").filter((part) => part !== "").map((part) => part.split("=", 2) as [string, string]))
  const other = [...said].find(([name, value]) => name !== "max_gen_toks" && !(name === "do_sample" && /^false$/i.test(value)) && !(name === "temperature" && Number(value) === 0))
  if (other !== undefined) return yield* refuse(`--gen_kwargs ${other.join("=")}: answers are generated greedily`, "Say max_gen_toks=N only")
  return Option.fromUndefinedOr(said.get("max_gen_toks"))
})

const flags = {
  model: optional("model", "M", "NAME", "the model, dense or mixture: its folder, a .gguf file, or org/name@revision of the Hub; or hf, with --model_args"),
  modelArgs: optional("model_args", "a", "ARGS", "pretrained=NAME,revision=REVISION, as lm-eval takes them; nothing else in it counts"),
  tasks: optional("tasks", "t", "NAMES", "tasks and groups, with commas between; * stands for any letters"),
  data: optional("data", undefined, "DIR", "where the tasks' documents lie: a folder with <task>/<split>.jsonl, one task's file, or a data set of the Hub, org/name@revision"),
  shots: optional("num_fewshot", "f", "N", "worked examples before each question; the task's own number unless given"),
  limit: optional("limit", "L", "N", "the first so many documents of each task, or below 1 that share of them"),
  batch: Flag.String("batch_size").pipe(Flag.withAlias("b"), Flag.withDefault("auto"), Flag.withMetavar("N"), Flag.withDescription("sequences at a time, or auto")),
  device: Flag.String("device").pipe(Flag.withDefault("auto"), Flag.withMetavar("NAME"), Flag.withDescription("auto, gpu, host or software; also cpu, cuda, mps")),
  out: optional("output_path", "o", "DIR", "where results, and a log of finished documents that a rerun reads, are written"),
  samples: Flag.Boolean("log_samples").pipe(Flag.withAlias("s"), Flag.withDefault(false), Flag.withDescription("write every document with its answers too")),
  seed: optional("seed", undefined, "N", "of the examples' choice: one number, or the harness's four of which the last counts; 1234"),
  iterations: optional("bootstrap_iters", undefined, "N", "of standard errors of perplexities; 100000"),
  generation: optional("gen_kwargs", undefined, "ARGS", "max_gen_toks=N: tokens that a generated answer may have (256)"),
  bos: optional("bos_policy", undefined, "POLICY", "special tokens around texts: tokenizer (as its files say), never, always"),
  maximum: optional("max_length", undefined, "N", "tokens fed at once; the model's context"),
  storage,
  text: optional("text", undefined, "FILE", "score this text instead of tasks"),
  json: optional("json", undefined, "OUT", "where the text's score is written; printed unless given")
} as const

export const command = Command.make(name, flags, (given) => Effect.gen(function*() {
  const folder = Option.getOrUndefined(Option.orElse(Option.flatMap(given.modelArgs, (args) => Option.fromUndefinedOr(pretrained(args))), () => given.model))
  if (folder === undefined) return yield* refuse("no model is given", "Say --model NAME")
  if (Option.isNone(given.text) === Option.isNone(given.tasks)) return yield* refuse("give either tasks or a text", "Say --tasks NAMES --data DIR, or --text FILE")
  const policy = Option.getOrUndefined(given.bos)
  if (!isPolicy(policy)) return yield* refuse(`--bos_policy ${policy} is none`, "Say tokenizer, never or always")
  const batch = given.batch === "auto" || given.batch.startsWith("auto:") ? "auto" : Number(given.batch)
  if (batch !== "auto" && !(Number.isInteger(batch) && batch > 0)) return yield* refuse(`--batch_size must be auto or a whole number, got ${given.batch}`, "Correct it")
  const maximum = yield* number("max_length", given.maximum, 1, true), maximumGenerated = yield* number("gen_kwargs max_gen_toks", yield* generationOf(given.generation), 1)
  const shared = { model: modelName(folder), batch, ...stored(given.storage), ...policy === undefined ? {} : { bosPolicy: policy }, ...maximum === undefined ? {} : { maximum }, ...maximumGenerated === undefined ? {} : { maximumGenerated: Math.trunc(maximumGenerated) } } as const
  const listen = (done: number, total: number) => { if (process.stderr.isTTY) process.stderr.write(`\r${done} of ${total} requests${done === total ? "\n" : ""}`) }
  const on = <A, E, R>(work: Effect.Effect<A, E, R>) => work.pipe(Effect.provide(Device.byName(deviceOf(given.device))), Effect.provideService(Progress, { listen }), Effect.provideService(References.LogToStderr, true))

  if (Option.isSome(given.text)) {
    const found = yield* on(Suite.text({ ...shared, file: place(given.text.value) }))
    return yield* Option.match(given.json, { onNone: () => Console.log(JSON.stringify(found, null, 2)), onSome: (path) => File.writeJson(place(path), found) })
  }
  const shots = yield* number("num_fewshot", given.shots, 0, true), limit = yield* number("limit", given.limit, 0), iterations = yield* number("bootstrap_iters", given.iterations, 0, true)
  const seed = yield* number("seed", Option.map(given.seed, (seeds) => seeds.split(",").at(-1)!), -Infinity, true)
  if (Option.isNone(given.data)) return yield* refuse("no data are given", "Say --data DIR")
  const results = yield* on(Suite.run({
    ...shared, tasks: Option.getOrThrow(given.tasks).split(",").map((task) => task.trim()).filter((task) => task !== ""), data: modelName(given.data.value), logSamples: given.samples,
    ...shots === undefined ? {} : { shots }, ...limit === undefined || limit === 0 ? {} : { limit }, ...seed === undefined ? {} : { seed }, ...iterations === undefined ? {} : { iterations },
    ...Option.match(given.out, { onNone: () => ({}), onSome: (out) => ({ out: place(out) }) })
  }))
  yield* Console.log(Suite.line(results, shots))
  yield* Console.log(resultTable(results))
  if (results.groups !== undefined) yield* Console.log(resultTable(results, "groups"))
  if ("path" in results) yield* Console.log(`results: ${results.path}`)
})).pipe(Command.withDescription("tasks on a model with lm-evaluation-harness's numbers, or one text's log-likelihood"))

await start(command, import.meta)
