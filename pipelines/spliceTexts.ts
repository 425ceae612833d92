/**
 * The switch test's texts: documents that begin in one domain and go on in another, inside one context. What a router does at the border shows how much it trusts the past.
 */
import { Corpus, Stage } from "@switchyard/core"
import { Effect, Schema } from "effect"

/** The first bytes of a text that end with a whole character. */
const beginning = (text: string, bytes: number): string => {
  let end = Math.min(text.length, bytes)
  // a half of a pair of surrogates is no character
  while (Buffer.byteLength(text.slice(0, end)) > bytes || /[\uD800-\uDBFF]/.test(text.charAt(end - 1)) && end < text.length) end--
  return text.slice(0, end)
}

/** Stage: document number i of each split is the beginning of the first text's, then that of the second's. Options: `bytes` of each; `domain`, the name of the result. Fails: CorpusError. */
export const splice = Stage.make("corpus/splice", {
  version: 1,
  inputs: [Stage.one("first", Corpus.Artifact), Stage.one("second", Corpus.Artifact)],
  options: Schema.Struct({ bytes: Schema.Int.check(Schema.isGreaterThan(0)), domain: Schema.String }),
  output: Corpus.Artifact,
  *describe({ first, second }, { bytes, domain }) {
    // a document too short for its half makes no pair
    const pairs = (split: Corpus.Split) => { const documents = Math.min(first.splits?.[split].documents ?? 0, second.splits?.[split].documents ?? 0); return { documents, bytes: 2 * bytes * documents } }
    const known = first.splits === undefined || second.splits === undefined ? {} : { splits: { train: pairs("train"), choose: pairs("choose"), report: pairs("report") } }
    return { header: { domain, ...first.bytes === undefined ? {} : { bytes: 2 * first.bytes }, ...known }, cost: {} }
  },
  *run({ first, second }, { bytes, domain }) {
    yield* Effect.void
    const documents = (["train", "choose", "report"] as const).flatMap((split) => {
      const long = (corpus: Corpus.Corpus) => corpus.documents.filter((document) => document.split === split && Buffer.byteLength(document.text) >= bytes)
      const [from, to] = [long(first), long(second)]
      return from.slice(0, to.length).map((document, at) => ({ id: `${document.id} → ${to[at]!.id}`, split, text: beginning(document.text, bytes) + beginning(to[at]!.text, bytes) }))
    })
    const count = (split: Corpus.Split) => {
      const mine = documents.filter((document) => document.split === split)
      return { documents: mine.length, bytes: mine.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0) }
    }
    const counted = { train: count("train"), choose: count("choose"), report: count("report") }
    return { kind: "corpus" as const, domain, documents, header: { domain, documents: documents.length, bytes: Object.values(counted).reduce((sum, each) => sum + each.bytes, 0), splits: counted } }
  }
})
