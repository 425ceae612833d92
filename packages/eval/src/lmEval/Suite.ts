/**
 * A suite of tasks on one model: documents from local files, requests, answers (from the log of finished documents where they are there), figures,
 * and the files that lm-evaluation-harness would write.
 */
import { Checkpoint, Digest, File, Hub, Key, Model } from "@switchyard/core"
import type { Storage } from "@switchyard/gpu"
import { Effect } from "effect"
import { basename, join } from "node:path"
import { type Group, groups as allGroups, tasks as allTasks } from "../tasks.ts"
import { type BosPolicy, encodePair, encoder, type Pair } from "./encodePair.ts"
import { defaultSeed } from "./fewShot.ts"
import * as FinishedLog from "./FinishedLog.ts"
import type { Answer } from "./judgeChoices.ts"
import { Progress } from "./Progress.ts"
import { defaultGenerated, generateTexts } from "./generateTexts.ts"
import * as PythonText from "./PythonText.ts"
import { readRows } from "./readRows.ts"
import { type Recipe, TaskError } from "./Recipe.ts"
import { ask, type Asked, filteredOf, valuesOf } from "./requests.ts"
import * as Results from "./Results.ts"
import * as Scorer from "./Scorer.ts"

export interface Options {
  /** The model: a folder, a `.gguf` file, or `org/name@revision` of the Hub. */
  readonly model: string
  /** Names of tasks and groups; `*` stands for any letters. */
  readonly tasks: ReadonlyArray<string>
  /** Where the documents lie: a folder, the file of one task, or a data set of the Hub, `org/name@revision`. */
  readonly data: string
  /** Worked examples for every task; each task's own number unless given. */
  readonly shots?: number
  /** The first so many documents of each task, or below 1 that share of them. */
  readonly limit?: number
  readonly batch?: number | "auto"
  readonly bosPolicy?: BosPolicy
  readonly maximum?: number
  /** How weights lie on the device, f32 unless given. */
  readonly storage?: Storage.Storage | undefined
  /** Tokens that an answer may have; 256 unless given. */
  readonly maximumGenerated?: number
  readonly seed?: number
  /** Of a bootstrap; 0 gives no standard errors at all. */
  readonly iterations?: number
  /** Where finished documents are logged and results are written; nothing is written without it. */
  readonly out?: string
  readonly logSamples?: boolean
}

/** Tasks and groups of these names. Fails: a name that is none. */
export const select = (names: ReadonlyArray<string>): Effect.Effect<{ readonly tasks: ReadonlyArray<string>; readonly groups: Readonly<Record<string, Group>> }, TaskError> => Effect.gen(function*() {
  const tasks: Array<string> = [], groups: Record<string, Group> = {}, known = [...Object.keys(allGroups), ...Object.keys(allTasks)]
  const take = (name: string): void => {
    const group = allGroups[name]
    if (group === undefined) { if (!tasks.includes(name)) tasks.push(name) }
    else { groups[name] = group; group.members.forEach(take) }
  }
  for (const name of names) {
    const pattern = new RegExp(`^${name.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*")}$`), found = known.filter((each) => pattern.test(each))
    if (found.length === 0) return yield* new TaskError({ task: name, at: "--tasks", problem: "there is no task or group of that name", remedy: `There are ${known.filter((each) => !each.startsWith("mmlu_")).join(", ")}, and mmlu_<subject>.` })
    found.forEach(take)
  }
  return { tasks, groups }
})

/** One task's questions and where they are from. */
interface Prepared { readonly task: string; readonly recipe: Recipe; readonly shots: number; readonly asked: ReadonlyArray<Asked>; readonly original: number; readonly file: string }

const prepare = (task: string, data: Hub.Dataset, { limit, seed = defaultSeed, shots: given }: Options): Effect.Effect<Prepared, TaskError | File.FileError | Hub.HubError> => Effect.gen(function*() {
  const recipe = allTasks[task]!, shots = given ?? recipe.numFewShot ?? 0
  const { file, rows } = yield* readRows(task, recipe, recipe.split, data)
  const pool = shots === 0 || recipe.output === "loglikelihood_rolling" ? [] : recipe.examples.split === recipe.split ? rows : (yield* readRows(task, recipe, recipe.examples.split, data)).rows
  const count = limit === undefined ? rows.length : limit < 1 ? Math.ceil(rows.length * limit) : Math.trunc(limit)
  const asked = yield* Effect.try({
    try: () => ask(recipe, rows, { shots: pool.length === 0 && shots > 0 && recipe.output === "loglikelihood_rolling" ? 0 : shots, pool, seed, limit: count }),
    catch: (error) => new TaskError({ task, at: file, problem: (error as Error).message, remedy: "Give the file in the columns of the Hub's data set." })
  })
  return { task, recipe, shots, asked, original: rows.length, file }
})

/** The documents as the harness lists them in its samples: once for each filter. */
const samplesOf = (recipe: Recipe, asked: ReadonlyArray<Asked>): ReadonlyArray<Asked> => recipe.output === "generate_until" ? recipe.filters.flatMap(() => asked) : asked

/** What decides about a model's answers: its weights, configuration and tokenizer, by content. */
const modelKey = (at: string) => at.endsWith(".gguf") ? Effect.map(Digest.file(at), (sha256) => Key.of([["gguf", sha256]]))
  : Effect.map(Digest.folder(at), (files) => Key.of(files.filter(({ path }) => /\.safetensors$|^config\.json$|^tokenizer/.test(path)).map(({ path, sha256 }) => [path, sha256])))

/** A checkpoint's encoder. Fails: no token to stand before a text. */
export const encoderOf = (checkpoint: Checkpoint.Any, folder: string, bosPolicy: BosPolicy): Effect.Effect<ReturnType<typeof encoder>, TaskError> => Effect.try({
  try: () => encoder(checkpoint.tokenizer, bosPolicy),
  catch: (error) => new TaskError({ task: "tokenizer", at: folder, problem: (error as Error).message, remedy: "Name a bos_token or an eos_token in tokenizer_config.json." })
})

/** Runs the tasks. Needs the device; hears of progress through core's events. Fails: TaskError, ScoreError, CheckpointError, FileError, the device's failures. */
export const run = (options: Options) => Effect.scoped(Effect.gen(function*() {
  const maximumGenerated = options.maximumGenerated ?? defaultGenerated
  const started = Date.now(), { batch = "auto", bosPolicy = "tokenizer", iterations = 100_000, seed = defaultSeed } = options
  const { groups, tasks } = yield* select(options.tasks)
  const data = yield* Hub.dataset(options.data), prepared = yield* Effect.forEach(tasks, (task) => prepare(task, data, options))
  const at = yield* Hub.locate(options.model), checkpoint = yield* Checkpoint.open(at), { model } = checkpoint, encode = yield* encoderOf(checkpoint, options.model, bosPolicy)
  const maximum = options.maximum ?? model.contextLength, folder = options.out === undefined ? undefined : join(options.out, Results.sanitize(options.model))
  const log = folder === undefined ? FinishedLog.none : yield* FinishedLog.open(join(folder, "finished.jsonl"))
  const facts = { model: folder === undefined ? "" : yield* modelKey(at), bosPolicy, prefix: encode.prefix, maximum, ...options.storage === undefined ? {} : { storage: options.storage } }

  // what the log does not know, as pairs of tokens; a document is finished when all of its pairs are
  const documents = prepared.flatMap(({ asked, task }) => asked.map((each) => {
    const recipe = allTasks[task]!, generates = recipe.output === "generate_until"
    const key = FinishedLog.keyOf(facts, generates ? [...each.requests, ["generate", String(maximumGenerated), ...recipe.until]] : each.requests)
    return { task, asked: each, key, known: log.find(key), until: generates ? recipe.until : undefined }
  }))
  const pairs: Array<Pair> = [], owners: Array<{ readonly document: number; readonly request: number }> = []
  for (const [document, { asked, known, until }] of documents.entries()) if (known === undefined && until === undefined) {
    for (const [request, texts] of asked.requests.entries()) {
      for (const pair of texts.length === 1 ? Scorer.rollingPairs(encode, texts[0], maximum) : [encodePair(encode, ...texts)]) {
        pairs.push(pair)
        owners.push({ document, request })
      }
    }
  }
  const answers = documents.map(({ asked, known }): Array<Answer> => known === undefined ? asked.requests.map(() => ({ logLikelihood: 0, isGreedy: true })) : [...known])
  const left = new Map<number, number>()
  for (const { document } of owners) left.set(document, (left.get(document) ?? 0) + 1)
  const parts = new Array<Answer>(pairs.length), places = new Map<number, Array<number>>()
  for (const [at, { document }] of owners.entries()) {
    const own = places.get(document)
    if (own === undefined) places.set(document, [at])
    else own.push(at)
  }
  let done = 0
  const { listen } = yield* Progress
  const finish = (found: ReadonlyMap<number, Answer>) => Effect.gen(function*() {
    const complete: Array<number> = []
    for (const [at, answer] of found) {
      parts[at] = answer
      const { document } = owners[at]!, missing = left.get(document)! - 1
      left.set(document, missing)
      if (missing === 0) complete.push(document)
    }
    for (const document of complete) for (const at of places.get(document)!) { // windows are added in their order, whatever the batches'
      const { request } = owners[at]!, sum = answers[document]![request]!
      answers[document]![request] = { logLikelihood: sum.logLikelihood + parts[at]!.logLikelihood, isGreedy: sum.isGreedy && parts[at]!.isGreedy }
    }
    done += found.size
    yield* log.append(complete.map((at) => ({ key: documents[at]!.key, task: documents[at]!.task, document: documents[at]!.asked.document, answers: answers[at]! })))
    yield* Effect.sync(() => listen?.(done, pairs.length))
  })
  const longest = pairs.reduce((most, { context, continuation }) => Math.max(most, context.length + continuation.length - 1), 1)
  const scorer = pairs.length === 0 ? undefined : yield* Scorer.make(checkpoint, { longest: Math.min(longest, maximum), maximum, batch, storage: options.storage })
  if (scorer !== undefined) yield* scorer.score(pairs, finish)

  const unanswered = documents.flatMap(({ asked, known, until }, document) => known === undefined && until !== undefined ? [{ document, prompt: asked.requests[0]![0], until }] : [])
  yield* generateTexts(checkpoint, encode, unanswered, { maximum, maximumGenerated, batch, storage: options.storage }, (document, text) => Effect.gen(function*() {
    const { asked, key, task } = documents[document]!
    answers[document] = [FinishedLog.generated(text)]
    yield* log.append([{ key, task, document: asked.document, answers: answers[document] }])
  }))

  let first = 0
  const byTask = prepared.map((each) => { const own = answers.slice(first, first + each.asked.length); first += each.asked.length; return { ...each, answers: own } })
  const scored = byTask.map(({ answers, asked, file, original, recipe, shots, task }): Results.Scored => ({ task, recipe, shots, original, file, values: asked.map((each, at) => valuesOf(recipe, each, answers[at]!)) }))
  const hashes = (asked: Asked) => ({ doc_hash: PythonText.sha256(PythonText.dump(asked.row)), prompt_hash: PythonText.sha256(asked.requests[0]![0]), target_hash: PythonText.sha256(asked.target) })
  const { tokenizer } = checkpoint, special = (id: number | undefined) => id === undefined ? [null, "None"] : [tokenizer.decode([id]), String(id)]
  const results = {
    ...Results.make(scored, groups, iterations),
    config: {
      model: "switchyard", model_args: `pretrained=${options.model}`, model_num_parameters: Model.parameters(model), model_dtype: "float32", model_revision: "", model_sha: facts.model, batch_size: batch, batch_sizes: [], device: scorer?.device ?? null, use_cache: null,
      limit: options.limit ?? null, bootstrap_iters: iterations, gen_kwargs: null, random_seed: 0, numpy_seed: 1234, torch_seed: 1234, fewshot_seed: seed
    },
    git_hash: null, date: started / 1000, pretty_env_info: `Node ${process.versions.node}, ${process.platform} ${process.arch}`, transformers_version: null, lm_eval_version: `${Results.compatible}-compatible`, upper_git_hash: null,
    tokenizer_pad_token: [null, "None"], tokenizer_eos_token: special(tokenizer.eos), tokenizer_bos_token: special(tokenizer.bos), eot_token_id: tokenizer.eos ?? null, max_length: maximum,
    task_hashes: Object.fromEntries(byTask.map(({ asked, recipe, task }) => [task, PythonText.sha256(samplesOf(recipe, asked).map((each) => Object.values(hashes(each)).join("")).join(""))])),
    model_source: "switchyard", model_name: options.model, model_name_sanitized: Results.sanitize(options.model), system_instruction: null, system_instruction_sha: null, fewshot_as_multiturn: false, chat_template: null, chat_template_sha: null,
    total_evaluation_time_seconds: String((Date.now() - started) / 1000),
    switchyard: { bosPolicy, prefixToken: encode.prefix, device: scorer?.device ?? null, form: checkpoint.header.form, requests: pairs.length, documentsFromLog: documents.filter(({ known }) => known !== undefined).length, documents: documents.length }
  }
  if (folder === undefined) return results
  const time = new Date(started).toISOString().replace("Z", "").replaceAll(":", "-")
  if (options.logSamples === true) for (const { answers, asked, recipe, task } of byTask) {
    const lines = recipe.output === "generate_until" ? recipe.filters.flatMap(({ name }) => asked.map((each, at) => {
      const { answer, value } = filteredOf(recipe, each.row, answers[at]!).find(({ filter }) => filter === name)!
      return JSON.stringify({
        doc_id: each.document, doc: each.row, target: each.target, arguments: { gen_args_0: { arg_0: each.requests[0]![0], arg_1: { until: recipe.until, do_sample: false, temperature: 0, max_gen_toks: maximumGenerated } } },
        resps: [[answers[at]![0]!.text]], filtered_resps: [answer], filter: name, metrics: ["exact_match"], ...hashes(each), exact_match: value
      })
    })) : asked.map((each, at) => {
      const shown = answers[at]!.map(({ isGreedy, logLikelihood }) => recipe.output === "loglikelihood_rolling" ? PythonText.float(logLikelihood) : [PythonText.float(logLikelihood), isGreedy ? "True" : "False"])
      const values = valuesOf(recipe, each, answers[at]!)
      return JSON.stringify({
        doc_id: each.document, doc: each.row, target: each.target, arguments: Object.fromEntries(each.requests.map((texts, index) => [`gen_args_${index}`, Object.fromEntries(texts.map((text, place) => [`arg_${place}`, text]))])),
        resps: shown.map((one) => [one]), filtered_resps: shown, filter: "none", metrics: Object.keys(values), ...hashes(each), ...values
      })
    })
    yield* File.write(join(folder, `samples_${task}_${time}.jsonl`), `${lines.join("\n")}\n`)
  }
  const path = join(folder, `results_${time}.json`)
  yield* File.writeJson(path, results)
  return { ...results, path }
}))

/** The line over the table. */
export const line = (results: { readonly config: { readonly model: string; readonly model_args: string; readonly limit: number | null; readonly batch_size: number | string } }, shots: number | undefined): string =>
  `${results.config.model} (${results.config.model_args}), gen_kwargs: (None), limit: ${results.config.limit ?? "None"}, num_fewshot: ${shots ?? "None"}, batch_size: ${results.config.batch_size}`

/** A whole text, scored by rolling log-likelihood. Units: nats, bits. */
export interface TextScore { readonly tokens: number; readonly logLikelihood: number; readonly tokenPerplexity: number; readonly bytePerplexity: number; readonly bitsPerByte: number; readonly bosPolicy: BosPolicy }

/** Scores one text file. Special tokens are added only if the policy says so; the first token is predicted from the prefix token. Fails: an empty text; as `run`. */
export const text = (options: { readonly model: string; readonly file: string; readonly bosPolicy?: BosPolicy; readonly maximum?: number; readonly batch?: number | "auto"; readonly storage?: Storage.Storage | undefined }) => Effect.scoped(Effect.gen(function*() {
  const { batch = "auto", bosPolicy = "never" } = options
  const source = yield* File.read(options.file), checkpoint = yield* Hub.open(options.model), maximum = options.maximum ?? checkpoint.model.contextLength
  if (source === "") return yield* new TaskError({ task: basename(options.file), at: options.file, problem: "the file is empty", remedy: "Give a text." })
  const encode = yield* encoderOf(checkpoint, options.model, bosPolicy), pairs = Scorer.rollingPairs(encode, source, maximum), { listen } = yield* Progress
  const longest = pairs.reduce((most, { context, continuation }) => Math.max(most, context.length + continuation.length - 1), 1)
  let done = 0
  const scorer = yield* Scorer.make(checkpoint, { longest, maximum, batch, storage: options.storage })
  const answers = yield* scorer.score(pairs, (found) => Effect.sync(() => { done += found.size; listen?.(done, pairs.length) }))
  const logLikelihood = answers.reduce((sum, answer) => sum + answer.logLikelihood, 0), tokens = pairs.reduce((sum, { continuation }) => sum + continuation.length, 0), bytes = PythonText.byteLength(source)
  return { tokens, logLikelihood, tokenPerplexity: Math.exp(-logLikelihood / tokens), bytePerplexity: Math.exp(-logLikelihood / bytes), bitsPerByte: -logLikelihood / bytes / Math.LN2, bosPolicy } satisfies TextScore as TextScore
}))
