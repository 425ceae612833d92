/** A loss over a whole vocabulary keeps its digits: one logit far above 49,151 others, whose exponentials together still count. */
import { Random } from "@switchyard/core"
import { expect, jest, test } from "@jest/globals"
import { Effect, type Scope } from "effect"
import type { Failure, Service } from "../Device.ts"
import { hostDevice } from "../host/host.ts"
import * as Op from "../Op.ts"
import * as Recording from "../Recording.ts"
import { kept } from "../Tensor.ts"
import { openSoftware } from "../webgpu/software.ts"

jest.setTimeout(60_000) // kernels compile on the processor, and processors are shared

const rows = 8, columns = 49_152
const logits = Random.fillNormal(Random.make(1, "logits"), new Float32Array(rows * columns), { deviation: 4 }) // [rows, columns]
const row = (at: number) => logits.subarray(at * columns, (at + 1) * columns)
const targets = Uint32Array.from({ length: rows }, (_, at) => row(at).reduce((best, x, column, all) => x > all[best]! ? column : best, 0)) // [rows]
const expected = Array.from(targets, (target, at) => Math.log(row(at).reduce((sum, x) => sum + Math.exp(x), 0)) - row(at)[target]!)

test.each<[string, Effect.Effect<Service, Failure, Scope.Scope>, number]>([["host", hostDevice({ workers: 0 }), 1e-6], ["software", Effect.map(openSoftware(), ({ service }) => service), 2e-6]])("on the %s device, no loss is biased by its small terms", (_, device, bound) => Effect.runPromise(Effect.scoped(Effect.gen(function*() {
  const arena = yield* (yield* device).arena, given = kept([rows, columns]), aim = kept([rows], { dtype: "u32" })
  const program = Recording.record(() => Op.keep(Op.crossEntropy(given, aim)))
  yield* arena.upload(given, logits)
  yield* arena.upload(aim, targets)
  yield* arena.submit(program)
  const errors = Array.from(yield* arena.read(program.outputs), (loss, at) => loss - expected[at]!)
  if (process.env["SWITCHYARD_FIGURES"] !== undefined) process.stdout.write(`${errors.map((error) => error.toExponential(1)).join(" ")}\n`)
  for (const error of errors) expect(Math.abs(error)).toBeLessThan(bound)
}))))
