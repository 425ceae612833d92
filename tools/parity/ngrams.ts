/**
 * The n-gram router of the main job against numpy: writes the sequences it counted and the windows it chose experts for, with its choices.
 *
 *     node --import tsx --conditions=@switchyard/source tools/parity/ngrams.ts OUT.json && python3 tools/parity/ngrams.py OUT.json
 */
import { Corpus, file, Pipeline, Store } from "@switchyard/core"
import { ngramBucket } from "@switchyard/gpu"
import { Ngram } from "@switchyard/routing"
import { Effect } from "effect"
import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { texts as textFiles } from "../../pipelines/texts.ts"

const folder = mkdtempSync(join(tmpdir(), "switchyard-ngrams-")), window = 256, tokens = 16_384, orders = 3, buckets = 16_384, strength = 20, vocabulary = 257
const loaded = Pipeline.make("texts", () => Pipeline.each(textFiles(join(folder, "texts")), (path, domain) => Corpus.load({ at: file(path), domain })))
const bytes = { encode: (text: string) => Uint32Array.from(Buffer.from(text)), vocabulary, bos: 256, eos: 256 } as never

const result = await Effect.runPromise(Effect.gen(function*() {
  const texts = yield* Pipeline.run(loaded), names = Object.keys(texts).sort() as ReadonlyArray<keyof typeof texts>
  const train = yield* Effect.forEach(names, (name) => Effect.map(Corpus.batches({ [name]: texts[name] }, { tokenizer: bytes, split: "train", batch: 1, tokens: window, seed: 0 }),
    (batches) => Array.from({ length: tokens / window }, (_, step) => batches.at(step).ids)))
  const table = Ngram.table(train, { orders, buckets, vocabulary, strength }), width = orders * buckets // [experts, orders · buckets]
  const tests = yield* Effect.forEach(names, (name) => Effect.map(Corpus.windows(texts[name], { tokenizer: bytes, split: "report", tokens: window, documentBytes: 1024, maximumBytes: 24_576 }),
    (windows) => windows.filter(({ from }) => from === 0).map(({ ids, length }) => {
      const sums = names.map(() => 0), chosen: Array<number> = []
      for (let at = 0; at < length; at++) {
        names.forEach((_, expert) => { for (let order = 1; order <= Math.min(orders, at + 1); order++) sums[expert]! += table[expert * width + ngramBucket(ids, at, order, buckets)]! })
        chosen.push(sums.indexOf(Math.max(...sums)))
      }
      return { ids: [...ids.subarray(0, length)], chosen }
    })))
  return { names, orders, strength, vocabulary, train: train.map((sequences) => sequences.map((ids) => [...ids])), tests }
}).pipe(Effect.provide(Store.layer(join(folder, "store")))))
writeFileSync(process.argv[2]!, JSON.stringify(result))
