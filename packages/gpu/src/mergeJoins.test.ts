/** The order in which steps run may change; what each of them reads may not. Programs by chance, walked before and after. */
import { expect, test } from "@jest/globals"
import fc from "fast-check"
import { mergeJoins } from "./mergeJoins.ts"
import type { Step } from "./Recording.ts"

const join = "joinReplicas"
/** Runs steps on words instead of numbers: a slot holds what made it. */
const walk = (steps: ReadonlyArray<Step>): ReadonlyMap<number, string> => {
  const held = new Map<number, string>(), of = (slot: number) => held.get(slot) ?? `s${slot}`
  for (const { kernel, slots } of steps) {
    if (kernel === join) {
      const made = slots.flatMap((slot, at) => at % 2 === 0 ? [[slots[at + 1]!, `join(${of(slot)})`] as const] : [])
      for (const [slot, word] of made) held.set(slot, word)
    } else if (kernel === "add") held.set(slots[2]!, `add(${of(slots[0]!)},${of(slots[1]!)})`)
    else held.set(slots[2]!, `cache(${of(slots[0]!)},${of(slots[1]!)},${of(slots[2]!)})`) // cacheRows updates its last
  }
  return held
}
const step = (kernel: string, ...slots: ReadonlyArray<number>): Step => ({ kernel, slots, params: kernel === join ? [1, 1] : [] })

test("three products of one input meet once, and what follows waits", () => {
  const made = mergeJoins([step("add", 1, 1, 2), step(join, 2, 3), step("add", 3, 3, 4), step("add", 1, 5, 6), step(join, 6, 7), step("add", 7, 4, 8), step(join, 8, 9)], join)
  expect(made.map(({ kernel, slots }) => `${kernel} ${slots.join(" ")}`)).toEqual(["add 1 1 2", "add 1 5 6", `${join} 2 3 6 7`, "add 3 3 4", "add 7 4 8", `${join} 8 9`])
})
test("steps without joins stay as they are", () => {
  const steps = [step("add", 1, 2, 3), step("cacheRows", 3, 1, 4)]
  expect(mergeJoins(steps, join)).toBe(steps)
})
test("every slot holds in the end what it held before, and no join is lost", () => {
  const slot = fc.integer({ min: 0, max: 7 }), distinct = fc.uniqueArray(slot, { minLength: 3, maxLength: 3 })
  const any = fc.oneof(distinct.map(([a, b, c]) => step("add", a!, b!, c!)), distinct.map(([a, b, c]) => step("cacheRows", a!, b!, c!)), distinct.map(([a, b]) => step(join, a!, b!)))
  fc.assert(fc.property(fc.array(any, { maxLength: 30 }), (steps) => {
    const made = mergeJoins(steps, join)
    expect(walk(made)).toEqual(walk(steps))
    expect(made.filter(({ kernel }) => kernel === join).flatMap(({ slots }) => slots).length).toBe(2 * steps.filter(({ kernel }) => kernel === join).length)
  }), { seed: 2, numRuns: 1000 })
})
