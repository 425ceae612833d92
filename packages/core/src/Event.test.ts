import { expect, test } from "@jest/globals"
import { Effect, Fiber } from "effect"
import { Writable } from "node:stream"
import { emit, type Event, line, listening } from "./Event.ts"
import { printer } from "./Terminal.ts"

const at = { stage: "finetune/lora", key: "0123456789abcdef" }
const story: ReadonlyArray<Event> = [
  { _tag: "Started", ...at }, { _tag: "Progress", ...at, done: 1, total: 1000, unit: "steps" }, { _tag: "Metric", ...at, name: "loss", value: 2.123456 },
  { _tag: "Progress", ...at, done: 1000, total: 1000, unit: "steps" }, { _tag: "Finished", ...at, seconds: 1.25 }, { _tag: "Cached", stage: "evaluate/compare", key: "fedcba9876543210" }
]
const stream = (isTTY: boolean) => {
  let text = ""
  const writable = Object.assign(new Writable({ write: (chunk: Buffer, _encoding, done) => { text += chunk.toString(); done() } }), { isTTY, columns: 120, rows: 40 })
  return { writable: writable as unknown as NodeJS.WriteStream, text: () => text }
}

test("every event is heard, the last before the run returns, whether it succeeds, fails or is interrupted", async () => {
  const tell = Effect.forEach(story, emit, { discard: true })
  for (const end of [Effect.void, Effect.fail("no"), Effect.never]) {
    const heard: Array<Event> = []
    const fiber = Effect.runFork(listening(Effect.andThen(tell, end), (event) => { heard.push(event) }))
    if (end === Effect.never) { await new Promise((done) => setTimeout(done, 20)); await Effect.runPromise(Fiber.interrupt(fiber)) }
    await Effect.runPromiseExit(Fiber.join(fiber))
    expect(heard).toEqual(story)
  }
})

test("listeners nest: each hears all", async () => {
  const inner: Array<string> = [], outer: Array<string> = []
  await Effect.runPromise(listening(listening(emit(story[0]!), (event) => { inner.push(event._tag) }), (event) => { outer.push(event._tag) }))
  expect([inner, outer]).toEqual([["Started"], ["Started"]])
})

test("elsewhere than in a terminal: one plain line per event", () => {
  const { writable, text } = stream(false), { listen, close } = printer(writable)
  for (const event of story) listen(event)
  close()
  expect(text().split("\n")).toEqual([
    "finetune/lora 01234567 started", "finetune/lora 01234567 1 of 1,000 steps", "finetune/lora 01234567 loss 2.1235", "finetune/lora 01234567 1,000 of 1,000 steps",
    "finetune/lora 01234567 finished in 1.3 s", "evaluate/compare fedcba98 kept from an earlier run", ""
  ])
})

test("in a terminal: a bar while it runs, a line when it is done, and the cursor comes back", async () => {
  const { writable, text } = stream(true), { listen, close } = printer(writable)
  for (const event of story.slice(0, 4)) listen(event)
  await new Promise((done) => setTimeout(done, 200))
  expect(text()).toContain("1000 of 1000 steps")
  expect(text()).toContain("loss 2.123")
  for (const event of story.slice(4)) listen(event)
  close()
  expect(text()).toContain(`${line(story[4]!)}\n`)
  expect(text().endsWith(`${line(story[5]!)}\n`)).toBe(true)
  expect(text().lastIndexOf("\u001b[?25h")).toBeGreaterThan(text().lastIndexOf("\u001b[?25l"))
})
