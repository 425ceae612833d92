/**
 * Every document of a split once, in the windows evaluation needs: each token is scored exactly once, with as much left context as fits
 * (see rollingWindows.ts), documents are never joined, and the first token of a document is predicted from the prefix token.
 */
import { Effect } from "effect"
import type { Corpus, Header, Split } from "./Corpus.ts"
import { edges, type Encoder } from "./corpusBatches.ts"
import { CorpusError } from "./CorpusError.ts"
import { firstBytes } from "./firstBytes.ts"
import { rollingWindows } from "./rollingWindows.ts"

/** One row. Feed `ids`; at index i the model predicts `targets[i]`; only `from` ≤ i < `length` are scored, and what stands beyond `length` is padding. */
export interface Window {
  /** [tokens], padded on the right with the end-of-text token */
  readonly ids: Uint32Array
  /** [tokens] */
  readonly targets: Uint32Array
  readonly from: number
  readonly length: number
  /** Index among the split's documents. */
  readonly document: number
  readonly id: string
  /** Place in the document of the first scored token. */
  readonly position: number
  /** The document's bytes of UTF-8, shared out by tokens: whole numbers that add up to the document's bytes. */
  readonly bytes: number
}

/** The windows of a split's documents, in order. Options: `documentBytes` scores only the beginning of each document, `maximumBytes` stops after so much text (both count text, so different tokenizers see the same), `maximumTokens` stops after so many scored tokens. Fails: `CorpusError` on an empty split. */
export const windows = (corpus: Corpus, options: {
  readonly tokenizer: Encoder
  readonly split: Split
  readonly tokens: number
  readonly documentBytes?: number | undefined
  readonly maximumBytes?: number | undefined
  readonly maximumTokens?: number | undefined
}): Effect.Effect<ReadonlyArray<Window>, CorpusError> => Effect.gen(function*() {
  const { tokenizer, split, tokens, documentBytes = Infinity, maximumBytes = Infinity, maximumTokens = Infinity } = options
  const { bos, eos } = yield* edges(tokenizer, corpus.domain)
  const rows: Array<Window> = []
  let bytesLeft = maximumBytes, tokensLeft = maximumTokens
  for (const [document, { id, text: whole }] of corpus.documents.filter((found) => found.split === split).entries()) {
    if (bytesLeft <= 0 || tokensLeft <= 0) break
    const text = firstBytes(whole, Math.min(documentBytes, bytesLeft))
    const size = Buffer.byteLength(text)
    const encoded = tokenizer.encode(text)
    bytesLeft -= size
    const share = (index: number) => Math.round(size * index / encoded.length)
    for (const { contextFrom, targetFrom, targetTo } of rollingWindows(encoded.length, tokens)) {
      if (tokensLeft <= 0) break
      const to = Math.min(targetTo, targetFrom + tokensLeft)
      tokensLeft -= to - targetFrom
      const ids = new Uint32Array(tokens).fill(eos), targets = new Uint32Array(tokens).fill(eos) // [tokens]
      for (let at = contextFrom; at < to - 1; at++) {
        ids[at - contextFrom] = at < 0 ? bos : encoded[at]!
        targets[at - contextFrom] = encoded[at + 1]!
      }
      rows.push({
        ids, targets, from: targetFrom - 1 - contextFrom, length: to - 1 - contextFrom, document, id,
        position: targetFrom, bytes: share(to) - share(targetFrom)
      })
    }
  }
  if (rows.length === 0) return yield* new CorpusError({ reason: "empty", domain: corpus.domain, problem: `it has no ${split} text`, remedy: "Give more text" })
  return rows
})

/**
 * About how many windows `windows` makes, from what a header tells: each document ends in a window of its own. Options: as `windows`, the limits in bytes; a token is taken to be a byte, as it is
 * to our own tokenizer and at most is to others. Of documents that differ much in size it counts too many; without the split's numbers, those of all the text in documents that are cut.
 */
export const countWindows = ({ bytes = 0, splits }: Header, options: { readonly split: Split; readonly tokens: number; readonly documentBytes?: number | undefined; readonly maximumBytes?: number | undefined }): number => {
  const { documentBytes = Infinity, maximumBytes = Infinity, split, tokens } = options, of = splits?.[split] ?? { documents: Math.max(1, Math.floor(bytes / documentBytes)), bytes }
  if (of.documents === 0) return 0
  const size = Math.min(of.bytes / of.documents, documentBytes), taken = Math.min(of.documents, maximumBytes / size)
  // documents that are cut are of one size; of others the last window is filled in part, by any number of tokens alike
  const each = size === documentBytes || of.documents === 1 ? Math.ceil(size / tokens) : Math.max(1, size / tokens + (tokens - 1) / (2 * tokens))
  return taken <= 1 ? Math.ceil(Math.min(size, maximumBytes) / tokens) : Math.round(taken * each)
}
