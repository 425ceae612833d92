/**
 * Whether a GGUF file gives transformers' greedy continuations and logits with us: gguf_greedy.py recorded them from the same file.
 *
 *     python3 tools/parity/gguf_greedy.py FILE.gguf EXPECTED.json
 *     node --import tsx --conditions=@switchyard/source tools/parity/gguf_greedy.ts FILE.gguf EXPECTED.json
 *
 * A continuation is greedy when every token of it is the likeliest after those before it, so that one pass over each text shows it.
 */
import { Checkpoint } from "@switchyard/core"
import { Device, Op, Recording, Tensor } from "@switchyard/gpu"
import { LanguageModel } from "@switchyard/routing"
import { Effect } from "effect"
import { readFileSync } from "node:fs"

interface Case { readonly text: string; readonly prompt: number; readonly ids: ReadonlyArray<number>; readonly last: ReadonlyArray<number> }
const [path, expected] = process.argv.slice(2)
if (path === undefined || expected === undefined) throw new Error("usage: gguf_greedy.ts FILE.gguf EXPECTED.json")
const { cases } = JSON.parse(readFileSync(expected, "utf8")) as { readonly cases: ReadonlyArray<Case> }

await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const { model, tokenizer, weights } = yield* Checkpoint.open(path), tokens = Math.max(...cases.map(({ ids }) => ids.length)), { vocabulary } = model
  const self = yield* LanguageModel.make(model, { batch: 1, tokens }), arena = yield* (yield* Device.Device).arena, given = Tensor.kept([tokens], { dtype: "u32" })
  yield* LanguageModel.load(arena, self, weights)
  const program = Recording.record(() => Op.keep(LanguageModel.forward(self, given).logits))
  let other = 0, checked = 0, worst = 0, misread = 0
  for (const { ids, last, prompt, text } of cases) {
    if (tokenizer.encode(text).join() !== ids.slice(0, prompt).join()) misread++
    yield* arena.upload(given, Uint32Array.from({ length: tokens }, (_, at) => ids[at] ?? 0)) // what comes after a text changes nothing before it
    yield* arena.submit(program)
    const logits = yield* arena.read(program.outputs) // [tokens, vocabulary]
    for (let at = prompt; at < ids.length; at++, checked++) {
      const row = logits.subarray((at - 1) * vocabulary, at * vocabulary)
      let best = 0
      for (let id = 1; id < vocabulary; id++) if (row[id]! > row[best]!) best = id
      if (best !== ids[at]) other++
    }
    const row = logits.subarray((ids.length - 1) * vocabulary, ids.length * vocabulary)
    worst = last.reduce((most, value, id) => Math.max(most, Math.abs(value - row[id]!)), worst)
  }
  console.log(`${cases.length} prompts, ${misread} tokenized otherwise; ${checked} tokens, ${other} not the likeliest with us; logits differ by at most ${worst.toExponential(1)}`)
  if (misread + other > 0) process.exitCode = 1
})).pipe(Effect.provide(Device.host({ workers: 0 }))))
