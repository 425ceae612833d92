import { afterAll, beforeAll, describe, expect, test } from "@jest/globals"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Checkpoint, Model, Random, Table, Tables, Tokenizer, Weights } from "@switchyard/core"
import { Device, plainDevice } from "@switchyard/gpu"
import { Router, routers } from "@switchyard/routing"
import { Console, Effect, Exit, Option } from "effect"
import { Command } from "effect/cli"
import { mkdtempSync, readFileSync } from "node:fs"
import { rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { attack, attackNames } from "../isolation.ts"
import * as Isolation from "./isolation.ts"

const modelOf = (router: Router.Router): Model.Model => ({
  family: "switchyard", vocabulary: 260, hidden: 8, layers: 1, heads: 2, keyValueHeads: 2, headSize: 4, contextLength: 24, normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true, extra: {},
  feedForward: { kind: "mixture", inner: 12, experts: 4, active: Router.active(router, 4), expert: { kind: "full" }, router, routerTensors: { weight: [4, 8] } }
})
const dense: Model.Model = { ...modelOf(Router.topK({ active: 1 })), feedForward: { kind: "dense", inner: 12 } }
const weightsOf = (model: Model.Model) => Weights.fromMemory(new Map(Model.tensors(model).map(({ name, shape }) => {
  const data = new Float32Array(shape.reduce((product, axis) => product * axis, 1))
  return [name, { shape, data: name.endsWith("norm") ? data.fill(1) : Random.fillNormal(Random.make(6, name), data, { deviation: 0.6 }) }]
})))
const running = <A, E>(effect: Effect.Effect<A, E, Device.Device>) => Effect.runPromise(Effect.provideService(effect, Device.Device, Device.Device.of(plainDevice())))
const attacked = async (router: Router.Router, steps = 40) => Object.fromEntries((await running(attack(modelOf(router), { weights: weightsOf(modelOf(router)), seed: 1, steps }))).map((each) => [each.name, each]))

let folder: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "switchyard-isolation-"))
  const put = (name: string, model: Model.Model) => Effect.runPromise(Checkpoint.write(Checkpoint.make({ model, tokenizer: Tokenizer.bytes(), weights: weightsOf(model) }), join(folder, name)))
  await put("limited", modelOf(Router.limited(Router.topK({ active: 1, weight: "prob" }), { perExpert: 1, scope: "batch" })))
  await put("dense", dense)
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** Runs the command line; what it prints, and how it failed. */
const printed = async (args: ReadonlyArray<string>) => {
  const said: Array<string> = [], console: Console.Console = Object.assign(Object.create(globalThis.console), { log: (...parts: ReadonlyArray<unknown>) => { said.push(parts.join(" ")) } })
  const exit = await Effect.runPromise(Effect.exit(Command.runWith(Isolation.command, { version: "0.1.0" })(args)).pipe(Effect.provideService(Console.Console, console), Effect.provide(NodeServices.layer)) as Effect.Effect<Exit.Exit<void, { readonly message: string }>>)
  return { text: said.join("\n"), error: Option.getOrUndefined(Exit.findErrorOption(exit))?.message }
}

describe("attacks", () => {
  test("no router of the table that reads a token or its prefix moves beyond 1e-5; a capacity that the batch shares moves far", async () => {
    const { findings, report } = await Effect.runPromise(Effect.provide(Isolation.isolation({ model: Option.none(), limit: Option.some(10), seed: 0 }), Device.host({ workers: 0 })))
    expect(findings.map(({ name }) => name)).toEqual(Object.keys(routers))
    for (const { attacks, name, scope } of findings) {
      const most = Math.max(...attacks.map(({ change }) => change))
      if (scope === "batch") expect(most).toBeGreaterThan(0.1)
      else for (const { change, name: kind } of attacks) if (scope !== "sequence" || kind !== "padded") expect([name, kind, change <= Isolation.tolerance]).toEqual([name, kind, true])
    }
    expect(findings.filter(({ moved }) => moved).map(({ name }) => name)).toEqual(["switchCapacity", "gshardCapacity"])
    expect(report.values.length).toBe(findings.length * attackNames.length * 2)
  }, 120_000) // twenty-six models are opened
  test("the search finds more than chance where room is ample, and nothing once there is room for all", async () => {
    const ample = Router.limited(Router.topK({ active: 1, weight: "prob" }), { perExpert: 2, scope: "batch" })
    const { random, searched } = await attacked(ample, 120)
    expect(searched!.change).toBeGreaterThan(random!.change)
    const all = await attacked(Router.limited(Router.topK({ active: 1, weight: "prob" }), { perExpert: 4, scope: "batch" }))
    expect(attackNames.map((name) => all[name]!.change <= Isolation.tolerance)).toEqual(attackNames.map(() => true))
  })
  test("a leak where the description rules it out is called one", () => {
    const moved = [{ name: "random", batches: 1, change: 0.5, choices: 0 }, { name: "padded", batches: 1, change: 0.1, choices: 0 }] as const
    expect(Isolation.judge("a", Router.topK({ active: 1 }), moved)).toMatchObject({ moved: true, verdict: "a (token): moved by 0.50 (random): LEAKS, although its scope says that it cannot" })
    expect(Isolation.judge("b", Router.prefix({ active: 1 }), [{ ...moved[0], change: 2e-6 }])).toMatchObject({ moved: false, verdict: "b (prefix): moved by 0.0000020: isolated" })
  })
})

describe("eval:isolation", () => {
  test("a mixture's own router, its results as Arrow, Markdown, HTML and JSON, the same each time", async () => {
    const args = ["--model", join(folder, "limited"), "--out", join(folder, "out"), "--limit", "10", "--seed", "3", "--device", "host"]
    const { error, text } = await printed(args)
    expect(error).toBeUndefined()
    expect(text).toMatch(/largestChange \(of the largest logit\)\n +random +identical +permuted +padded +searched\nlimited /)
    expect(text).toMatch(/limited \(batch\): moved by [\d.]+ \(\w+\): leaks; refused where isolation is asked for/)
    const rows = Table.rows(await Effect.runPromise(Table.read(Tables.Results, join(folder, "out", "results.arrow"))))
    expect(rows.map(({ model, seed, task }) => [model, seed, task])).toEqual([...attackNames, ...attackNames].map((name) => ["limited", 3, name]))
    expect(rows.find(({ metric, task }) => metric === "largestChange" && task === "searched")!.value).toBeGreaterThan(1e-3)
    expect(readFileSync(join(folder, "out", "report.html"), "utf8")).toContain("<svg")
    expect(readFileSync(join(folder, "out", "report.md"), "utf8")).toContain("refused where isolation is asked for")
    expect((await printed(args)).text).toBe(text)
  })
  test("a dense model is refused by name", async () => {
    expect((await printed(["--model", join(folder, "dense"), "--out", join(folder, "none"), "--device", "host"])).error).toMatch(/eval:isolation: .*dense holds a dense model/)
  })
  test("--help names every flag", async () => {
    const { text } = await printed(["--help"])
    for (const flag of ["--model", "--out", "--seed", "--device", "--limit"]) expect(text).toContain(flag)
  })
})
