import { beforeEach, describe, expect, test } from "@jest/globals"
import { Cause, Deferred, Effect, Exit, Fiber, Schema } from "effect"
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Artifact from "./Artifact.ts"
import { type Event, listening } from "./Event.ts"
import { File, file } from "./File.ts"
import * as Pipeline from "./Pipeline.ts"
import * as Stage from "./Stage.ts"
import * as Store from "./Store.ts"

// stages that count their own work: text is loaded, repeated in steps, joined
const did: Array<string> = []
const Text = Artifact.json("text", Schema.Struct({ kind: Schema.Literal("text"), header: Schema.Struct({ length: Schema.Int }), text: Schema.String }))
const Log = Artifact.json("log", Schema.Struct({ steps: Schema.Array(Schema.Int) }))
const text = (text: string) => ({ kind: "text" as const, header: { length: text.length }, text })
class Broken extends Schema.TaggedError<Broken>()("Broken", { why: Schema.String }) { override get message() { return `broken: ${this.why}` } }
class DeviceLost extends Schema.TaggedError<DeviceLost>()("DeviceLost", {}) {}
let pause: Effect.Effect<void, Broken | DeviceLost> = Effect.void

const load = Stage.make("text/load", {
  version: 1, inputs: [], options: Schema.Struct({ at: File }), output: Text,
  *describe() { return { header: { length: 0 }, cost: {} } },
  *run(_, { at }) { did.push("load"); return text(readFileSync(at.path, "utf8")) }
})
const repeat = Stage.make("text/repeat", {
  version: 1, seeded: true, inputs: [Stage.one("text", Text)], options: Schema.Struct({ times: Schema.Int.pipe(Stage.byDefault(3)) }), output: Stage.same, sides: { log: Log },
  *describe({ text }, { times }) { return { header: { length: text.length * times }, cost: {} } },
  *run({ text: { text: given } }, { times }, context) {
    did.push("repeat")
    const state = context.resume.last === undefined ? { step: 0, text: "" } : JSON.parse(readFileSync(join(context.resume.last, "state.json"), "utf8")) as { step: number; text: string }
    for (let step = state.step; step < times; step++) {
      yield* pause
      did.push(`step ${step}`)
      state.text += given
      state.step = step + 1
      yield* context.resume.save((folder) => Effect.sync(() => writeFileSync(join(folder, "state.json"), JSON.stringify(state))))
      yield* context.progress(step + 1, times, "steps")
    }
    yield* context.actual({ flops: 10, device: "abacus" })
    return { main: text(state.text), log: { steps: [times] } }
  }
})
const join_ = Stage.make("text/join", {
  version: 1, inputs: [Stage.record("texts", Text)], optional: { extra: Log }, options: Schema.Struct({ between: Schema.String.pipe(Stage.byDefault("+")) }), output: Text,
  *describe() { return { header: { length: 0 }, cost: {} } },
  *run({ texts }, { between }) { did.push("join"); return text(Object.values(texts).map((one) => one.text).join(between)) }
})

let root = "", files = ""
beforeEach(() => {
  [root, files] = [mkdtempSync(join(tmpdir(), "switchyard-store-")), mkdtempSync(join(tmpdir(), "switchyard-files-"))]
  for (const name of ["law", "code"]) writeFileSync(join(files, name), name)
  did.length = 0
  pause = Effect.void
})
const at = (name: string) => file(join(files, name))
const build = (times?: number) => Pipeline.make("p", () => {
  const parts = Pipeline.each({ law: at("law"), code: at("code") }, (at) => repeat(load({ at }), times === undefined ? {} : { times }))
  return { all: join_(parts, { extra: parts.law.log }), deep: { log: parts.law.log } }
})
const what = () => did.splice(0)
const go = <A, E>(effect: Effect.Effect<A, E, Store.Store>, store = root) => Effect.runPromise(Effect.provide(effect, Store.layer(store)))
const ends = <A, E>(effect: Effect.Effect<A, E, Store.Store>) => Effect.runPromiseExit(Effect.provide(effect, Store.layer(root)))
const folders = () => readdirSync(join(root, "results")).sort()
const keysOf = async (pipeline: Pipeline.Pipeline<Pipeline.Outputs> = build(), seed = 0) => (await go(Effect.provideService(Pipeline.plan(pipeline), Pipeline.Seed, seed))).map((row) => row.key)
const keyOf = async (stage: string) => (await go(Pipeline.plan(build()))).find((row) => row.stage === stage)!.key

describe("repeat", () => {
  const several = (seeds: ReadonlyArray<number>) => Pipeline.make("several", () => Pipeline.repeat(seeds, () => repeat(load({ at: at("law") }))))

  test("seeded stages run once for each seed, the others once for all, and every run knows its seed", async () => {
    const plan = await go(Pipeline.plan(several([0, 1, 2])))
    expect(plan.map(({ stage }) => stage).sort()).toEqual(["text/load", "text/repeat", "text/repeat", "text/repeat"])
    await go(Pipeline.run(several([0, 1, 2])))
    expect(what().filter((step) => step === "repeat" || step === "load")).toEqual(["load", "repeat", "repeat", "repeat"])
    const seeds = folders().map((key) => (JSON.parse(readFileSync(join(root, "results", key, "provenance.json"), "utf8")) as { seed: number | null }).seed)
    expect(seeds.sort()).toEqual([0, 1, 2, null])
  })
  test("a repetition is the run under that seed: nothing is computed twice", async () => {
    await go(Effect.provideService(Pipeline.run(several([0])), Pipeline.Seed, 2))
    what()
    await go(Pipeline.run(several([2])))
    expect(what()).toEqual([])
  })
  test("stands in the description as JSON, and only where it matters", async () => {
    const json = Pipeline.toJson(several([0, 5]))
    expect(json.nodes.map(({ stage, seed }) => [stage, seed])).toEqual([["text/load", undefined], ["text/repeat", undefined], ["text/repeat", 5]])
    expect(await keysOf(await go(Pipeline.fromJson([load, repeat], json)))).toEqual(await keysOf(several([0, 5])))
  })
  test("a seed that is no whole number is a mistake", () => {
    expect(() => several([0.5])).toThrow("a seed is a whole number, got 0.5")
  })
  test("a seed below zero, of the run or with a repetition's, is refused before any work, and only where it matters", async () => {
    const refused = async (run: Effect.Effect<unknown, unknown, Store.Store>, seed: number) => Cause.squash((await ends(Effect.provideService(run, Pipeline.Seed, seed)) as Exit.Failure<unknown, unknown>).cause)
    expect(await refused(Pipeline.run(build()), -1)).toMatchObject({ _tag: "DescriptionError", message: "text/repeat: its seed would be -1: the run's (--seed) plus a repetition's is a whole number from 0 to 2^53 - 1" })
    expect(await refused(Pipeline.run(several([-3])), 2)).toMatchObject({ at: "text/repeat" })
    expect(what()).toEqual([])
    expect(await go(Effect.provideService(Pipeline.run(Pipeline.make("p", () => ({ a: load({ at: at("law") }) }))), Pipeline.Seed, -1))).toMatchObject({ a: { text: "law" } })
  })
})

describe("keys", () => {
  test("a default spelled out is the same; equal calls are one; another option is another", async () => {
    expect(await keysOf(build(3))).toEqual(await keysOf())
    expect((await keysOf()).length).toBe(5)
    const changed = await keysOf(build(4)), before = await keysOf()
    expect(changed.map((key, i) => key === before[i])).toEqual([true, false, true, false, false])
  })
  test("files count by content, wherever they lie; folders too", async () => {
    const before = await keysOf()
    writeFileSync(join(files, "law"), "law, changed")
    expect((await keysOf()).map((key, i) => key === before[i])).toEqual([false, false, true, true, false])
    writeFileSync(join(files, "law"), "law")
    expect(await keysOf()).toEqual(before)
    const single = (path: string) => keysOf(Pipeline.make("p", () => ({ a: load({ at: file(path) }) })))
    cpSync(join(files, "law"), join(files, "copy"))
    expect(await single(join(files, "copy"))).toEqual(await single(join(files, "law")))
    mkdirSync(join(files, "folder"))
    writeFileSync(join(files, "folder", "x"), "1")
    const folder = await single(join(files, "folder"))
    writeFileSync(join(files, "folder", "x"), "2")
    expect(await single(join(files, "folder"))).not.toEqual(folder)
  })
  test("the seed counts where a stage is seeded, and after it", async () => {
    const zero = await keysOf(), one = await keysOf(build(), 1)
    expect(one.map((key, i) => key === zero[i])).toEqual([true, false, true, false, false])
  })
  test("a missing file is an error that names it and its stage", async () => {
    const error = await go(Effect.flip(Pipeline.plan(Pipeline.make("p", () => ({ a: load({ at: at("nothing") }) })))))
    expect(error.message).toMatch(/cannot read .*nothing.*an input of text\/load/)
  })
})

describe("remembering", () => {
  test("the second run starts no stage and gives the same", async () => {
    const first = await go(Pipeline.run(build()))
    expect(first.all.text).toBe("lawlawlaw+codecodecode")
    expect(first.deep.log.steps).toEqual([3])
    expect(what().filter((x) => !x.startsWith("step"))).toEqual(["load", "repeat", "load", "repeat", "join"])
    const events: Array<Event> = []
    expect(await go(listening(Pipeline.run(build()), (event) => { events.push(event) }))).toEqual(first)
    expect(what()).toEqual([])
    expect(new Set(events.map((event) => event._tag))).toEqual(new Set(["Cached"]))
  })
  test("one artefact deleted, in whole or in part: exactly its stage runs again", async () => {
    await go(Pipeline.run(build()))
    what()
    const key = await keyOf("text/join"), folder = join(root, "results", key)
    for (const harm of [() => rmSync(folder, { recursive: true }), () => rmSync(join(folder, "main"), { recursive: true }), () => rmSync(join(folder, "provenance.json")), () => truncateSync(join(folder, "main", "value.json"), 3), () => writeFileSync(join(folder, "provenance.json"), "{")]) {
      harm()
      expect((await go(Pipeline.run(build()))).all.text).toBe("lawlawlaw+codecodecode")
      expect(what()).toEqual(["join"])
    }
  })
  test("behind a kept result nothing is looked for, unless everything is asked for", async () => {
    await go(Pipeline.run(build()))
    what()
    rmSync(join(root, "results", await keyOf("text/load")), { recursive: true })
    expect((await go(Pipeline.plan(build()))).map((row) => row.status)).toEqual(["not needed", "kept", "kept", "kept", "kept"])
    await go(Pipeline.run(build()))
    expect(what()).toEqual([])
    await go(Pipeline.run(build(), { everything: true }))
    expect(what()).toEqual(["load"])
  })
  test("fresh computes all again; equal content at two paths is computed once", async () => {
    await go(Pipeline.run(build(1)))
    what()
    await go(Pipeline.run(build(1), { fresh: true }))
    expect(what()).toEqual(["load", "repeat", "step 0", "load", "repeat", "step 0", "join"])
    cpSync(join(files, "law"), join(files, "copy"))
    await go(Pipeline.run(Pipeline.make("p", () => ({ a: load({ at: at("law") }), b: load({ at: at("copy") }) })), { fresh: true }))
    expect(what()).toEqual(["load"])
  })
  test("a store in which all is kept needs no writing: no lock is taken", async () => {
    await go(Pipeline.run(build()))
    writeFileSync(join(root, "lock"), JSON.stringify({ pid: process.ppid, born: "", host: (await import("node:os")).hostname(), since: "", nonce: "" }))
    expect((await go(Pipeline.run(build()))).all.text).toBe("lawlawlaw+codecodecode")
  })
})

describe("going wrong", () => {
  const failing = Stage.make("fails", {
    version: 1, inputs: [Stage.one("text", Text)], options: Schema.Struct({ how: Schema.Literals(["fail", "throw", "lost", "resume"]) }), output: Text,
    *describe() { return { header: { length: 0 }, cost: {} } },
    *run(_, { how }, context) {
      did.push("fails")
      writeFileSync(join(context.directory, "half"), "x")
      if (how === "fail") return yield* new Broken({ why: "on purpose" })
      if (how === "throw") throw new Error("axis hidden: 3 is not 4")
      if (how === "lost") yield* pause
      if (how === "resume") yield* context.resume.save((folder) => Effect.sync(() => { rmSync(folder, { recursive: true }); writeFileSync(folder, "") }))
      return text("fine")
    }
  })
  const pipeline = (how: "fail" | "throw" | "lost" | "resume") => Pipeline.make("p", () => {
    const law = load({ at: at("law") }), bad = failing(law, { how })
    return { bad, after: join_({ bad }), other: repeat(law, { times: 1 }) }
  })
  test("a typed error arrives typed; finished work is kept, nothing half-written stays", async () => {
    const caught = await go(Pipeline.run(pipeline("fail")).pipe(Effect.as("no"), Effect.catchTag("Broken", (error) => Effect.succeed(error.why))))
    expect(caught).toBe("on purpose")
    expect(folders()).toEqual([await keyOf("text/load")])
    expect(readdirSync(root).filter((name) => name === "lock")).toEqual([])
  })
  test("a stage that throws dies with what it threw", async () => {
    const exit = await ends(Pipeline.run(pipeline("throw")))
    expect(Exit.isFailure(exit) && (Cause.squash(exit.cause) as Error).message).toBe("axis hidden: 3 is not 4")
    expect(folders()).toEqual([await keyOf("text/load")])
  })
  test("keepGoing runs what does not need the failed stage, then fails", async () => {
    const events: Array<string> = []
    const error = await go(Effect.flip(listening(Pipeline.run(pipeline("fail"), { keepGoing: true }), (event) => { if (event._tag !== "Progress") events.push(`${event.stage} ${event._tag}`) })))
    expect(error).toMatchObject({ _tag: "Broken" })
    expect(what()).toEqual(["load", "fails", "repeat", "step 0"])
    expect(events).toEqual(["text/load Started", "text/load Finished", "fails Started", "fails Failed", "text/join Skipped", "text/repeat Started", "text/repeat Finished"])
  })
  test("a kept result whose file is damaged is a store error that says what to delete", async () => {
    const one = Pipeline.make("p", () => ({ a: load({ at: at("law") }) }))
    await go(Pipeline.run(one))
    const file = join(root, "results", folders()[0]!, "main", "value.json")
    writeFileSync(file, "#".repeat(readFileSync(file).length))
    expect(await go(Effect.flip(Pipeline.run(one)))).toMatchObject({ _tag: "StoreError", problem: expect.stringMatching(/^cannot read the result of text\/load \(results\/[0-9a-f]{32}\/main\): .* delete that folder/s) })
  })
  test("a file that changes while the pipeline runs: nothing is kept under the key of what it was", async () => {
    const path = join(files, "law"), stage = Stage.make("text/late", {
      version: 1, inputs: [Stage.one("before", Text)], options: Schema.Struct({ at: File }), output: Text,
      *describe() { return { header: { length: 0 }, cost: {} } },
      *run(_, { at }) { yield* pause; return text(readFileSync(at.path, "utf8")) }
    })
    const one = Pipeline.make("p", () => ({ a: stage(load({ at: at("code") }), { at: at("law") }) })), kept = async () => (await go(Pipeline.plan(one))).map((row) => row.status)
    pause = Effect.sync(() => writeFileSync(path, "new law"))
    const error = await go(Effect.flip(Pipeline.run(one)))
    expect(error).toMatchObject({ _tag: "FileError", path, message: `cannot read ${path}: it changed while the pipeline ran (an input of text/late); leave it as it is meanwhile (a store or an export inside a folder changes that too), and run again` })
    pause = Effect.void
    writeFileSync(path, "law")
    expect(await kept()).toEqual(["kept", "to do"])
    expect((await go(Pipeline.run(one))).a.text).toBe("law")
  })
  test("a full disk is a typed error, and nothing half-written stays", async () => {
    const Full = Artifact.make<string>("full", { save: (_, directory) => Effect.sync(() => { symlinkSync("/dev/full", join(directory, "x")); writeFileSync(join(directory, "x"), "0") }).pipe(Effect.catchDefect((error) => Effect.fail(error))), load: () => Effect.succeed("") })
    const fill = Stage.make("fill", { version: 1, inputs: [], options: Schema.Struct({}), output: Full, *describe() { return { header: {}, cost: {} } }, *run() { return "x" } })
    const error = await go(Effect.flip(Pipeline.run(Pipeline.make("p", () => ({ full: fill() })))))
    expect(error).toMatchObject({ _tag: "StoreError" })
    expect(error.message).toMatch(/cannot keep main of fill: ENOSPC/)
    expect(folders()).toEqual([])
  })
  test("a state that cannot be saved fails the run as a store error", async () => {
    expect(await go(Effect.flip(Pipeline.run(pipeline("resume"))))).toMatchObject({ _tag: "StoreError" })
    expect(folders()).toEqual([await keyOf("text/load")])
  })
  test("a lost device is tried once more, from the saved state; twice lost is an error", async () => {
    let lost = 0
    pause = Effect.suspend(() => what().includes("step 0") && lost++ === 0 ? Effect.fail(new DeviceLost({})) : Effect.void)
    const one = Pipeline.make("p", () => ({ a: repeat(load({ at: at("law") })) }))
    const events: Array<Event> = []
    expect((await go(listening(Pipeline.run(one), (event) => { events.push(event) }))).a.text).toBe("lawlawlaw")
    expect(events.map((event) => event._tag).filter((tag) => tag !== "Progress")).toEqual(["Started", "Finished", "Started", "Retried", "Finished"])
    expect(events.flatMap((event) => event._tag === "Progress" ? [event.done] : [])).toEqual([1, 2, 3])
    pause = Effect.fail(new DeviceLost({}))
    expect(await go(Effect.flip(Pipeline.run(pipeline("lost"))))).toMatchObject({ _tag: "DeviceLost" })
  })
  test("interrupted, a stage goes on from its last saved step; its state is gone afterwards", async () => {
    const reached = Deferred.makeUnsafe<void>()
    pause = Effect.suspend(() => did.includes("step 1") ? Effect.andThen(Deferred.succeed(reached, undefined), Effect.never) : Effect.void)
    const one = Pipeline.make("p", () => ({ a: repeat(load({ at: at("law") })) }))
    const events: Array<Event> = []
    const fiber = Effect.runFork(Effect.provide(listening(Pipeline.run(one), (event) => { events.push(event) }), Store.layer(root)))
    await Effect.runPromise(Deferred.await(reached))
    await Effect.runPromise(Fiber.interrupt(fiber))
    expect(what()).toEqual(["load", "repeat", "step 0", "step 1"])
    expect(events.at(-1)).toMatchObject({ _tag: "Failed", interrupted: true })
    expect(existsSync(join(root, "lock"))).toBe(false)
    pause = Effect.void
    expect((await go(Pipeline.run(one))).a.text).toBe("lawlawlaw")
    expect(what()).toEqual(["repeat", "step 2"])
    expect(readdirSync(join(root, "resume"))).toEqual([])
  })
})

test("killed while a result that lost a file is made again, a stage goes on from its last saved step", async () => {
  const one = Pipeline.make("p", () => ({ a: repeat(load({ at: at("law") })) })), key = (await keysOf(one))[1]!
  await go(Pipeline.run(one))
  rmSync(join(root, "results", key, "main", "value.json"))
  what()
  pause = Effect.suspend(() => did.includes("step 1") ? Effect.fail(new Broken({ why: "stopped" })) : Effect.void)
  await go(Effect.flip(Pipeline.run(one)))
  expect(what()).toEqual(["repeat", "step 0", "step 1"])
  pause = Effect.void
  expect((await go(Pipeline.run(one))).a.text).toBe("lawlawlaw")
  expect(what()).toEqual(["repeat", "step 2"])
})

test("what killed processes left behind goes with the next run that changes the store", async () => {
  const one = Pipeline.make("p", () => ({ a: load({ at: at("law") }) }))
  await go(Pipeline.run(one))
  const [key] = folders()
  mkdirSync(join(root, "resume", key!, "7"), { recursive: true }) // killed after its result was kept
  mkdirSync(join(root, "resume", "other", ".8.1-ab.tmp"), { recursive: true })
  mkdirSync(join(root, "resume", "other", "7"))
  mkdirSync(join(root, "results", ".x.1-ab.tmp"))
  await go(Pipeline.run(Pipeline.make("p", () => ({ a: load({ at: at("code") }) }))))
  expect(readdirSync(join(root, "resume"), { recursive: true }).sort()).toEqual(["other", join("other", "7")])
  expect(folders()).toHaveLength(2)
})

test("two runs of one process on one store: neither sweeps what the other is writing, and a stage of both runs once", async () => {
  const reached = Deferred.makeUnsafe<void>(), leave = Deferred.makeUnsafe<void>()
  const stream = Stage.make("text/stream", {
    version: 1, inputs: [], options: Schema.Struct({}), output: Text,
    *describe() { return { header: { length: 0 }, cost: {} } },
    *run(_, __, { directory }) {
      writeFileSync(join(directory, "large.bin"), "streamed")
      yield* Deferred.succeed(reached, undefined)
      yield* Deferred.await(leave)
      return text("")
    }
  })
  const both = Effect.gen(function*() {
    const first = yield* Effect.forkChild(Pipeline.run(Pipeline.make("first", () => ({ a: stream({}) }))))
    yield* Deferred.await(reached)
    yield* Effect.all([Pipeline.run(build()), Pipeline.run(build())], { concurrency: 2 })
    yield* Deferred.succeed(leave, undefined)
    yield* Fiber.join(first)
  })
  await go(both)
  expect(what().sort()).toEqual(["join", "load", "load", "repeat", "repeat", ...[0, 1, 2].flatMap((step) => [`step ${step}`, `step ${step}`])].sort())
  expect(folders().filter((key) => existsSync(join(root, "results", key, "main", "large.bin")))).toHaveLength(1)
  expect([...readdirSync(root), ...folders()].filter((name) => name === "lock" || name.startsWith("."))).toEqual([])
})

test("stages run one at a time; more when asked, and never more than memory allows", async () => {
  const most = async (options: { concurrency?: number }, deviceBytes: number) => {
    let now = 0, peak = 0
    const busy = Stage.make("busy", {
      version: 1, inputs: [], options: Schema.Struct({ n: Schema.Int }), output: Log,
      *describe() { return { header: {}, cost: { deviceBytes: 60 } } },
      *run() {
        yield* Effect.acquireRelease(Effect.sync(() => { peak = Math.max(peak, ++now) }), () => Effect.sync(() => { now-- }))
        yield* Effect.sleep(20)
        return { steps: [] }
      }
    })
    const three = Pipeline.make("p", () => ({ a: busy({ n: 1 }), b: busy({ n: 2 }), c: busy({ n: 3 }) }))
    await go(Effect.provideService(Pipeline.run(three, { ...options, fresh: true }), Pipeline.Limits, { hostBytes: Infinity, deviceBytes, largestBuffer: Infinity }))
    return [peak, now]
  }
  expect(await most({}, Infinity)).toEqual([1, 0])
  expect(await most({ concurrency: 3 }, Infinity)).toEqual([3, 0])
  expect(await most({ concurrency: 3 }, 100)).toEqual([1, 0])
})

describe("provenance", () => {
  test("says what made a result, from what and where", async () => {
    await go(Effect.provideService(Pipeline.run(build()), Pipeline.Seed, 7))
    const key = (await keysOf(build(), 7))[1]!, record = JSON.parse(readFileSync(join(root, "results", key, "provenance.json"), "utf8"))
    expect(record).toMatchObject({ key, pipeline: "p", stage: "text/repeat", version: 1, options: { times: 3 }, seed: 7, device: "abacus", node: process.version, inputs: { text: { key: (await keysOf(build(), 7))[0] } } })
    expect(Object.keys(record.outputs)).toEqual(["log", "main"])
    expect(record.actual).toMatchObject({ flops: 10 })
  })
  test("verify finds a flipped byte, a missing file and one too many", async () => {
    await go(Pipeline.run(build()))
    expect((await go(Pipeline.verify(build()))).map((row) => row.status)).toEqual(["intact", "intact", "intact", "intact", "intact"])
    const folder = join(root, "results", await keyOf("text/repeat")), path = join(folder, "main", "value.json")
    const bytes = readFileSync(path)
    bytes[20]! ^= 1
    writeFileSync(path, bytes)
    rmSync(join(folder, "log", "value.json"))
    writeFileSync(join(folder, "log", "other"), "")
    const changed = (await go(Pipeline.verify(build()))).filter((row) => row.status !== "intact")
    expect(changed).toHaveLength(1)
    expect(changed[0]).toMatchObject({ stage: "text/repeat", status: "changed", differences: [{ path: "log/value.json", problem: "missing" }, { path: "log/other", problem: "unexpected" }, { path: "main/value.json", problem: "changed" }] })
    rmSync(folder, { recursive: true })
    expect((await go(Pipeline.verify(build()))).map((row) => row.status)).toEqual(["intact", "absent", "intact", "intact", "intact"])
  })
})

describe("JSON", () => {
  const stages = [load, repeat, join_] as const
  test("a round trip keeps every node, and runs to the same result", async () => {
    const pipeline = build(), json: unknown = JSON.parse(JSON.stringify(Pipeline.toJson(pipeline)))
    const back = await go(Pipeline.fromJson(stages, json))
    expect(Pipeline.toJson(back)).toEqual(json)
    expect((back.outputs["all"] as Stage.Node<unknown>).id).toBe(pipeline.outputs.all.id)
    expect(await go(Pipeline.run(back))).toEqual(await go(Pipeline.run(pipeline)))
  })
  test("mistakes say where they are", async () => {
    type Loose = { nodes: Array<{ stage: string; version: number; options: Record<string, unknown>; inputs: Record<string, unknown> }>; outputs: Record<string, unknown>; format: number }
    const broken = async (change: (json: Loose) => void) => {
      const json = JSON.parse(JSON.stringify(Pipeline.toJson(build()))) as Loose
      change(json)
      return (await go(Effect.flip(Pipeline.fromJson(stages, json)))).message
    }
    expect(await broken((json) => { json.nodes[1]!.options["times"] = "3" })).toMatch(/^nodes\[1\] \(text\/repeat\)\.options: .*\n {2}at \["times"\]/)
    expect(await broken((json) => { json.nodes[1]!.options["tmes"] = 3 })).toBe("nodes[1] (text/repeat).options: there is no option tmes; the nearest is times (it takes times)")
    expect(await broken((json) => { json.nodes[1]!.inputs["text"] = "n0#log" })).toBe('nodes[1] (text/repeat).inputs.text: text/load has no side output "log" (it has none)')
    expect(await broken((json) => { json.nodes[4]!.inputs["extra"] = "n0" })).toBe("nodes[4] (text/join).inputs.extra: expected log, got text (from text/load)")
    expect(await broken((json) => { json.nodes[4]!.inputs["texts"] = "n0" })).toBe("nodes[4] (text/join).inputs.texts: expected record, got one")
    expect(await broken((json) => { json.nodes[1]!.inputs["text"] = "n9" })).toBe('nodes[1] (text/repeat).inputs.text: "n9" is not an earlier node')
    expect(await broken((json) => { json.nodes[1]!.inputs["txt"] = "n0" })).toBe("nodes[1] (text/repeat).inputs.txt: no such input; it takes text")
    expect(await broken((json) => { delete json.nodes[1]!.inputs["text"] })).toBe("nodes[1] (text/repeat).inputs.text: missing: give a node of text")
    expect(await broken((json) => { json.nodes[0]!.stage = "text/lod" })).toBe("nodes[0] (text/lod): unknown stage; known: text/load, text/repeat, text/join")
    expect(await broken((json) => { json.nodes[0]!.version = 7 })).toBe("nodes[0] (text/load): written for version 7, this program has 1")
    expect(await broken((json) => { json.outputs["all"] = "n9" })).toBe('outputs.all: "n9" is not an earlier node')
    expect(await broken((json) => { json.format = 2 })).toMatch(/^pipeline: .*/)
  })
  test("the graph names every stage, input and output", () => {
    expect(Pipeline.graph(build()).split("\n")).toEqual([
      "flowchart TD", '  n0["text/load"]', '  n1["text/repeat"]', '  n0 -->|"text"| n1', '  n2["text/load"]', '  n3["text/repeat"]', '  n2 -->|"text"| n3', '  n4["text/join"]',
      '  n1 -->|"texts.law"| n4', '  n3 -->|"texts.code"| n4', '  n1 -->|"extra (log)"| n4', '  o0(["all"])', "  n4 --> o0", '  o1(["deep.log"])', '  n1 -->|"log"| o1'
    ])
  })
})
