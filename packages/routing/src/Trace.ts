/**
 * Who asked whom: a mixture is run over held-out text, and every routed token leaves one row for each layer and rank in an Arrow table.
 *
 * A row's token is the one that is fed in when the decision is made, and `position` counts the tokens fed before it (the beginning-of-text token
 * stands at 0), so that the decision at `position` p is the one under which the document's p-th token is predicted. Rows stand in the order
 * of domain, document, position, layer, rank; each token of the text is traced once.
 */
import { Checkpoint, Corpus, type Model, Stage, Table, Tables, type Tokenizer } from "@switchyard/core"
import { Device, Op, Recording, Tensor } from "@switchyard/gpu"
import { Effect, Option, Schema } from "effect"
import type { Decision } from "./Decision.ts"
import * as LanguageModel from "./LanguageModel.ts"
import * as Router from "./Router.ts"

const count = Schema.Int.check(Schema.isGreaterThan(0))
const Options = Schema.Struct({
  split: Schema.Literals(["train", "choose", "report"]),
  tokens: count,
  batch: count.pipe(Stage.byDefault(8)),
  window: Schema.optionalKey(count),
  run: Schema.String.pipe(Stage.byDefault("trace"))
})
type Options = typeof Options.Type
type Mixture = Pick<Checkpoint.Checkpoint<"mixture">, "model">

/** The first layer that has experts. */
const firstOf = ({ feedForward }: Model.Model): number => feedForward.kind === "mixture" ? feedForward.dense?.layers ?? 0 : 0
/** How many experts a token visits in all layers together. */
const visitsOf = ({ model, router }: LanguageModel.LanguageModel): number => {
  const { feedForward, layers } = model, first = firstOf(model)
  return feedForward.kind === "mixture" ? sum(Array.from({ length: layers - first }, (_, at) => Router.activeIn(router!, feedForward.experts, first + at))) : 0
}
const windowOf = ({ model }: Mixture, { window }: Options): number => Math.min(window ?? 256, model.contextLength)

/** One batch on one replica, and what is read of it. */
const programOf = (mixture: Mixture, options: Options, replicas: number) => Effect.gen(function*() {
  const tokens = windowOf(mixture, options), batch = Math.ceil(options.batch / replicas)
  const self = yield* LanguageModel.make(mixture.model, { batch, tokens })
  const ids = Tensor.kept([batch * tokens], { dtype: "u32", sharded: true, label: "ids" })
  const program = Recording.record(() => LanguageModel.forward(self, ids).decisions.map(seen), { replicas })
  return { self, ids, program }
})
/** The numbers of a decision that a trace keeps: experts, weights, logits of the chosen, each [rows, active], and what was dropped where something can be. */
const seen = ({ dropped, experts, layer, logits, weights }: Decision) => {
  const kept = (tensor: Tensor.Tensor, name: string) => Op.keep(tensor, `${name} of layer ${layer}`, { sharded: true })
  return { experts: kept(experts, "experts"), weights: kept(weights, "weights"), logits: kept(Op.gatherColumns(logits, experts), "logits"), ...dropped === undefined ? {} : { dropped: kept(dropped, "dropped") } }
}

/** The windows to be run, each with its domain; `tokens` are shared equally among the domains. */
const windowsOf = (texts: Readonly<Record<string, Corpus.Corpus>>, tokenizer: Tokenizer.Tokenizer, options: Options, tokens: number) => Effect.gen(function*() {
  const names = Object.keys(texts).sort(), found: Array<{ readonly domain: number; readonly window: Corpus.Window }> = []
  for (const [domain, name] of names.entries()) {
    const windows = yield* Corpus.windows(texts[name]!, { tokenizer, split: options.split, tokens, maximumTokens: Math.ceil(options.tokens / names.length) })
    for (const window of windows) found.push({ domain, window })
  }
  return { names, found }
})

/**
 * Stage: the trace of a mixture over texts.
 *
 * Options: `split` of each text; `tokens` traced in all, shared equally among the texts; `batch` sequences at once; `window`, tokens of a sequence
 * (256, at most the model's context); `run`, the name in the table's `run` column. Fails: `RouterError` and `LanguageModelError` when the checkpoint's
 * router or tensors do not fit, `CorpusError` when a split is empty, the device's failures.
 */
export const capture = Stage.make("trace/capture", {
  version: 1,
  inputs: [Stage.one("mixture", Checkpoint.Mixture), Stage.record("texts", Corpus.Artifact)],
  options: Options,
  output: Table.Artifact(Tables.Trace),
  *describe({ mixture, texts }, options) {
    const replicas = Option.match(yield* Effect.serviceOption(Device.Device), { onNone: () => 1, onSome: (device) => device.replicas })
    const { program, self } = yield* programOf(mixture, options, replicas)
    const { deviceBytes, flops, largestBuffer } = yield* Device.planned(program)
    // one more for each text than its share fills: a document's last window is seldom full; short documents end in many such windows
    const share = options.tokens / Object.keys(texts).length, alone = Math.ceil(share / self.tokens) + (share > self.tokens ? 1 : 0)
    const windows = Object.values(texts).reduce((sum, header) => sum + (header.splits === undefined ? alone : Corpus.countWindows(header, { split: options.split, tokens: self.tokens, maximumBytes: share })), 0)
    const rows = options.tokens * visitsOf(self)
    return {
      header: { table: Tables.Trace.name, version: Tables.Trace.version, rows },
      cost: {
        flops: flops * Math.ceil(windows / (self.batch * replicas)), deviceBytes, largestBuffer, bytesWritten: Math.ceil(rows * bytesPerRow)
      }
    }
  },
  *run({ mixture, texts }, options, context) {
    const device = yield* Device.Device
    const { ids, program, self } = yield* programOf(mixture, options, device.replicas)
    const { found, names } = yield* windowsOf(texts, mixture.tokenizer, options, self.tokens)
    const arena = yield* device.arena
    yield* LanguageModel.load(arena, self, mixture.weights)
    const scored = sum(found.map(({ window }) => window.length - window.from))
    const rows = columns(scored * visitsOf(self)), sequences = self.batch * device.replicas
    let done = 0
    for (let at = 0; at < found.length; at += sequences) {
      const batch = found.slice(at, at + sequences), fed = new Uint32Array(sequences * self.tokens) // missing sequences stay zeros and are not read
      batch.forEach(({ window }, row) => fed.set(window.ids, row * self.tokens))
      yield* arena.upload(ids, fed)
      yield* arena.submit(program)
      const read = yield* Effect.forEach(program.outputs, (layer) => Effect.all({ experts: arena.read(layer.experts), weights: arena.read(layer.weights), logits: arena.read(layer.logits), dropped: layer.dropped === undefined ? Effect.succeed(undefined) : arena.read(layer.dropped) }))
      batch.forEach(({ domain, window }, row) => {
        for (let i = window.from; i < window.length; i++) read.forEach(({ dropped, experts, logits, weights }, at) => {
          const layer = firstOf(mixture.model) + at, active = experts.length / sequences / self.tokens
          for (let rank = 0; rank < active; rank++) {
            const slot = (row * self.tokens + i) * active + rank
            rows.push({ domain, document: window.document, position: window.position + i - window.from, token: window.ids[i]!, layer, rank, expert: experts[slot]!, weight: weights[slot]!, logit: logits[slot]!, dropped: dropped?.[slot] ?? 0 })
          }
        })
        done += window.length - window.from
      })
      yield* context.progress(done, scored, "tokens")
    }
    const { flops, peakBytes } = yield* arena.stats
    yield* context.actual({ flops, deviceBytes: peakBytes, device: device.adapter })
    return rows.table(options.run, names)
  }
})

const sum = (lengths: ReadonlyArray<number>): number => lengths.reduce((total, length) => total + length, 0)
/** Bytes of one row in the Arrow file: two dictionary indices, three u32, two u16, one u8, two f32, one bit. */
const bytesPerRow = 2 * 4 + 3 * 4 + 2 * 2 + 1 + 2 * 4 + 1 / 8

interface Row { readonly domain: number; readonly document: number; readonly position: number; readonly token: number; readonly layer: number; readonly rank: number; readonly expert: number; readonly weight: number; readonly logit: number; readonly dropped: number }
/** The table's columns, filled row by row. */
const columns = (length: number) => {
  const domain = new Int32Array(length), document = new Uint32Array(length), position = new Uint32Array(length), token = new Uint32Array(length)
  const layer = new Uint16Array(length), rank = new Uint8Array(length), expert = new Uint16Array(length), weight = new Float32Array(length), logit = new Float32Array(length), dropped = new Uint8Array(length)
  const into = { domain, document, position, token, layer, rank, expert, weight, logit, dropped }
  let at = 0
  return {
    push: (row: Row) => {
      for (const name of Object.keys(into) as Array<keyof Row>) into[name][at] = row[name]
      at++
    },
    table: (run: string, domains: ReadonlyArray<string>) => Table.make(Tables.Trace, {
      domain: { names: domains, indices: domain }, document, position, token, layer, rank, expert, weight, logit, run: { names: [run], indices: new Int32Array(length) }, dropped
    })
  }
}
