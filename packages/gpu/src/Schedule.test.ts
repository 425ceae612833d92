/** Learning rates: the corners of each curve, and PyTorch's cosine. */
import { Schema } from "effect"
import { expect, test } from "@jest/globals"
import * as Schedule from "./Schedule.ts"
const at = (schedule: Schedule.Schedule) => [1, 5, 10, 35, 60, 100].map((step) => Number(Schedule.at(schedule, step).toFixed(6)))

test("warm-up rises linearly to the peak, then each kind goes its way", () => {
  expect(at(Schedule.constant(2, { warmup: 10 }))).toEqual([0.2, 1, 2, 2, 2, 2])
  expect(at(Schedule.linear(2, { steps: 60, warmup: 10, final: 1 }))).toEqual([0.2, 1, 2, 1.5, 1, 1])
  expect(at(Schedule.cosine(2, { steps: 60, warmup: 10 }))).toEqual([0.2, 1, 2, 1, 0, 0])
  expect(Schedule.at(Schedule.cosine(0.3, { steps: 100, final: 0.03 }), 25)).toBeCloseTo(0.2604594, 6) // torch.optim.lr_scheduler.CosineAnnealingLR(T_max=100, eta_min=0.03) after 25 steps
  expect(Schedule.at(Schedule.linear(1, { steps: 5, warmup: 5 }), 6)).toBe(0)
})

test("a schedule is data: it decodes from JSON, and nonsense is refused", () => {
  const schedule = Schedule.cosine(1e-3, { steps: 40, warmup: 4 })
  expect(Schema.decodeUnknownSync(Schedule.Schedule)(JSON.parse(JSON.stringify(schedule)))).toEqual(schedule)
  expect(() => Schema.decodeUnknownSync(Schedule.Schedule)({ kind: "cosine", rate: -1, steps: 3 })).toThrow()
})
