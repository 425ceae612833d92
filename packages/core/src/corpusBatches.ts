/**
 * Training batches by step number: what step s sees is a function of the seed and s, so a resumed run needs no state but its step.
 *
 * Each row belongs to one document of one domain. Rows take turns over the domains (in a seeded order, anew each round), so every batch is
 * balanced whatever the domains' sizes. A row is fed the beginning-of-text token and then a stretch of its document from a random place, every
 * place equally likely; it stays inside the document when that is long enough, else it starts at the document's beginning and continues, after an end-of-text token,
 * with the split's next documents. Documents are drawn in proportion to their length.
 */
import { Effect } from "effect"
import type { Corpus, Split } from "./Corpus.ts"
import { CorpusError } from "./CorpusError.ts"
import * as Random from "./Random.ts"

/** What a corpus needs of a tokenizer. */
export interface Encoder {
  readonly encode: (text: string) => ArrayLike<number>
  readonly bos?: number | undefined
  readonly eos?: number | undefined
}
/** One step's rows. Shapes: ids and targets [batch · tokens] (`targets` are `ids` one later); domains and documents [batch]. */
export interface Batch {
  readonly ids: Uint32Array
  readonly targets: Uint32Array
  /** Index of the row's corpus in the order given. */
  readonly domains: Uint16Array
  /** Index of the row's (first) document among its corpus's documents of the split. */
  readonly documents: Uint32Array
}
export interface Batches {
  readonly domains: ReadonlyArray<string>
  /** Tokens in each corpus's split. */
  readonly tokens: ReadonlyArray<number>
  readonly at: (step: number) => Batch
}

/** One corpus, a list, or a record of them. */
export type Corpora = Corpus | ReadonlyArray<Corpus> | Readonly<Record<string, Corpus>>
export const corporaOf = (corpora: Corpora): ReadonlyArray<Corpus> =>
  "kind" in corpora && corpora.kind === "corpus" ? [corpora as Corpus] : Object.values(corpora as Readonly<Record<string, Corpus>>)

/** A token for where a text begins or ends, from whichever the tokenizer has. */
export const edges = (tokenizer: Encoder, domain: string): Effect.Effect<{ readonly bos: number; readonly eos: number }, CorpusError> => {
  const bos = tokenizer.bos ?? tokenizer.eos, eos = tokenizer.eos ?? tokenizer.bos
  return bos === undefined || eos === undefined
    ? Effect.fail(new CorpusError({ reason: "tokenizer", domain, problem: "the tokenizer has neither a beginning- nor an end-of-text token", remedy: "Use a tokenizer with one of them" }))
    : Effect.succeed({ bos, eos })
}

/** The batches of a split. Fails: `CorpusError` when a split has fewer tokens than one row. */
export const batches = (corpora: Corpora, options: {
  readonly tokenizer: Encoder
  readonly split: Split
  readonly batch: number
  readonly tokens: number
  readonly seed: number
}): Effect.Effect<Batches, CorpusError> => Effect.gen(function*() {
  const { split, batch, tokens, seed } = options
  const list = corporaOf(corpora)
  if (list.length === 0) throw new Error("Corpus.batches: no corpus given")
  if (!Number.isInteger(batch) || batch < 1 || !Number.isInteger(tokens) || tokens < 1) throw new Error(`Corpus.batches: batch ${batch} and tokens ${tokens} must be positive integers`)
  const streams = yield* Effect.forEach(list, (corpus) => stream(corpus, options))
  const sources = list.map((corpus, index) => Random.make(seed, `batches/${index}/${corpus.domain}/${split}`))
  const turns = Random.make(seed, `batches/turns/${split}`)
  const at = (step: number): Batch => {
    const ids = new Uint32Array(batch * tokens), targets = new Uint32Array(batch * tokens) // [batch · tokens]
    const domains = new Uint16Array(batch), documents = new Uint32Array(batch) // [batch]
    for (let row = 0; row < batch; row++) {
      const drawn = step * batch + row
      const round = Math.floor(drawn / list.length)
      const domain = turn(turns, round, drawn % list.length, list.length)
      domains[row] = domain
      documents[row] = streams[domain]!.fill(Random.uniform64(sources[domain]!, round), ids.subarray(row * tokens, (row + 1) * tokens), targets.subarray(row * tokens, (row + 1) * tokens))
    }
    return { ids, targets, domains, documents }
  }
  return { domains: list.map(({ domain }) => domain), tokens: streams.map((found) => found.length), at }
})

/** Place `place` of round `round`'s order of the domains. */
const turn = (source: Random.Source, round: number, place: number, count: number): number => {
  const order = Array.from({ length: count }, (_, index) => index)
  for (let index = count - 1; index > 0; index--) {
    const other = Random.below(source, round * count + index, index + 1)
    ;[order[index], order[other]] = [order[other]!, order[index]!]
  }
  return order[place]!
}

/** The split's documents as one run of tokens, each closed by the end-of-text token. */
const stream = (corpus: Corpus, { tokenizer, split, tokens }: { readonly tokenizer: Encoder; readonly split: Split; readonly tokens: number }) => Effect.gen(function*() {
  const { bos, eos } = yield* edges(tokenizer, corpus.domain)
  const encoded = corpus.documents.filter((document) => document.split === split).map(({ text }) => tokenizer.encode(text))
  const starts = new Float64Array(encoded.length + 1) // document d is starts[d] … starts[d + 1], its end-of-text token last
  encoded.forEach((document, index) => { starts[index + 1] = starts[index]! + document.length + 1 })
  const length = starts[encoded.length]!
  if (encoded.length === 0) {
    return yield* new CorpusError({ reason: "empty", domain: corpus.domain, problem: `it has no ${split} documents`, remedy: "Give more text" })
  }
  if (length < tokens) {
    return yield* new CorpusError({
      reason: "short", domain: corpus.domain, problem: `its ${split} text has ${length} tokens, one row needs ${tokens}`,
      remedy: "Give more text, or shorter rows"
    })
  }
  const all = new Uint32Array(length).fill(eos)
  encoded.forEach((document, index) => all.set(document, starts[index]!))
  /** Fills one row from the place that `where` (0 … 1) chooses; gives the document it starts in. */
  const fill = (where: number, ids: Uint32Array, targets: Uint32Array): number => {
    const chosen = Math.floor(where * length)
    let low = 0, high = encoded.length - 1
    while (low < high) { const middle = (low + high + 1) >> 1; if (starts[middle]! <= chosen) low = middle; else high = middle - 1 }
    const size = starts[low + 1]! - starts[low]!
    const from = starts[low]! + Math.floor((chosen - starts[low]!) / size * Math.max(1, size + 1 - tokens))
    const first = Math.min(tokens, length - from)
    targets.set(all.subarray(from, from + first))
    if (first < tokens) targets.set(all.subarray(0, tokens - first), first) // after the last document comes the first
    ids[0] = bos
    ids.set(targets.subarray(0, tokens - 1), 1)
    return low
  }
  return { length, fill }
})
