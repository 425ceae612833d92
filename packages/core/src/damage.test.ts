import { afterAll, beforeAll, expect, test } from "@jest/globals"
import { Effect, Exit } from "effect"
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Checkpoint from "./Checkpoint.ts"
import { cases, damaged } from "./damage.fixture.ts"
import type * as Model from "./Model.ts"
import { tensors } from "./Model.ts"
import * as Tokenizer from "./Tokenizer.ts"
import * as Weights from "./Weights.ts"

const model: Model.Model = {
  family: "mixtral", vocabulary: 260, hidden: 8, layers: 2, heads: 2, keyValueHeads: 1, headSize: 4, contextLength: 64, normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: false, extra: { x: { y: [1] } },
  feedForward: { kind: "mixture", inner: 12, experts: 3, active: 2, expert: { kind: "full" }, router: { unit: { of: "token" }, score: { by: "linear" }, select: { keep: "top", active: 2 }, weight: "renorm" }, routerTensors: { weight: [3, 8] } }
}
const folder = mkdtempSync(join(tmpdir(), "damage-")), original = join(folder, "original"), copy = join(folder, "copy")
const tokenizer = Tokenizer.bytes()
beforeAll(async () => {
  const weights = Weights.fromMemory(new Map(tensors(model).map(({ name, shape }) => [name, { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(0.5) }])))
  const made = Checkpoint.make({ model, tokenizer, weights, lineage: [{ stage: "given", key: "k", inputs: { a: "b" }, facts: { c: 1 } }] })
  await Effect.runPromise(Checkpoint.write(made, original, { shardBytes: 8192 }))
  cpSync(original, copy, { recursive: true })
})
afterAll(() => rmSync(folder, { recursive: true }))

const count = cases(300)
test(`${count} folders with damage in one file (config, index, shard's header, lineage): opened, or refused with a remedy, soon and within the file's memory`, async () => {
  const names = readdirSync(original).filter((name) => /^(config|lineage|model.*index)\.json$|00001-of.*safetensors$/.test(name)).sort()
  expect(names.length).toBe(4)
  let refused = 0, longest = 0
  const before = process.memoryUsage().rss
  for (let seed = 0; seed < count; seed++) {
    const name = names[seed % names.length]!, whole = readFileSync(join(original, name)), header = name.endsWith(".safetensors") ? 8 + Number(whole.readBigUInt64LE()) : whole.length
    writeFileSync(join(copy, name), Buffer.concat([damaged(whole.subarray(0, header), seed), whole.subarray(header)]))
    const begun = process.cpuUsage(), exit = await Effect.runPromiseExit(Effect.flatMap(Checkpoint.open(copy, { tokenizer }), ({ weights }) => Effect.forEach(weights.infos.keys(), (tensor) => weights.read(tensor), { discard: true })))
    const { system, user } = process.cpuUsage(begun) // of this process alone, whatever else the machine does
    longest = Math.max(longest, (system + user) / 1000)
    const error = Exit.isFailure(exit) ? Exit.findErrorOption(exit) : undefined
    if (error !== undefined) {
      if (error._tag === "None") throw new Error(`seed ${seed}, ${name}: it died: ${JSON.stringify(exit)}`)
      refused++
      expect([seed, name, (error.value as Error).message]).toEqual([seed, name, expect.stringMatching(/Remedy: |cannot read /)])
    }
    writeFileSync(join(copy, name), whole)
  }
  if (process.env["SWITCHYARD_FIGURES"] !== undefined) process.stderr.write(`${refused} of ${count} refused, longest ${longest.toFixed(1)} ms, ${((process.memoryUsage().rss - before) / 1e6).toFixed(0)} MB more\n`)
  expect(refused).toBeGreaterThan(count / 2)
  expect(longest).toBeLessThan(2000)
  expect(process.memoryUsage().rss - before).toBeLessThan(500e6)
}, 3_600_000)
