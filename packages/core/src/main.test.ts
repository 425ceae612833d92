import { afterAll, beforeAll, describe, expect, test } from "@jest/globals"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

// real processes, really killed: the program is fixtures/counting.ts
const program = fileURLToPath(new URL("../fixtures/counting.ts", import.meta.url)), folder = fileURLToPath(new URL("..", import.meta.url))
const place = mkdtempSync(join(tmpdir(), "switchyard-main-")), text = join(place, "text"), counted = join(place, "count")
const children = new Set<ChildProcess>()
beforeAll(() => { chmodSync(place, 0o755); writeFileSync(text, "text") })
afterAll(() => { for (const child of children) child.kill("SIGKILL"); rmSync(place, { recursive: true, force: true }) })

interface Ended { readonly code: number | null; readonly out: string; readonly err: string }
const start = (verb: string, options: ReadonlyArray<string>, hang = "", user?: number): { readonly child: ChildProcess; readonly ended: Promise<Ended> } => {
  const child = spawn(process.execPath, ["--import", "tsx", "--conditions=@switchyard/source", program, verb, "--text", text, ...options],
    { cwd: folder, env: { ...process.env, COUNT: counted, HANG: hang, NO_COLOR: "1", FORCE_COLOR: undefined }, stdio: ["ignore", "pipe", "pipe"], ...user === undefined ? {} : { uid: user, gid: user } })
  children.add(child)
  let out = "", err = ""
  child.stdout!.on("data", (chunk: Buffer) => { out += chunk.toString() })
  child.stderr!.on("data", (chunk: Buffer) => { err += chunk.toString() })
  return { child, ended: new Promise((resolve) => child.on("close", (code) => { children.delete(child); resolve({ code, out, err }) })) }
}
const run = (store: string, more: ReadonlyArray<string> = [], hang = "") => start("run", ["--store", join(place, store), "--out", join(place, store, "out"), ...more], hang)
const lines = () => existsSync(counted) ? readFileSync(counted, "utf8").trim().split("\n").filter((line) => line !== "") : []
const forget = () => rmSync(counted, { force: true })
const until = async (line: string) => {
  for (let waited = 0; !lines().includes(line); waited += 20) {
    if (waited > 60_000) throw new Error(`waited in vain for ${line}`)
    await new Promise((done) => setTimeout(done, 20))
  }
}
const steps = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `step ${from + i}`)
const result = (store: string) => readFileSync(join(place, store, "out", "values"))
const leftovers = (store: string) => readdirSync(join(place, store), { recursive: true }).map(String).filter((name) => name.endsWith(".tmp") || name === "lock" || name.startsWith("resume/"))

let whole: Buffer
beforeAll(async () => {
  const ended = await run("whole").ended
  expect(ended.code).toBe(0)
  expect(lines()).toEqual(steps(0, 12))
  whole = result("whole")
}, 120_000)

test("run says what it did, line by line, and exports; the second run starts nothing; verify is content", async () => {
  forget()
  const again = await run("whole", ["--json"]).ended
  expect(lines()).toEqual([])
  expect(JSON.parse(again.out)).toMatchObject({ pipeline: "counting", stages: { run: 0, kept: 1 }, rows: [{ stage: "test/train", status: "kept" }] })
  expect(again.err).toMatch(/^test\/train [0-9a-f]{8} kept from an earlier run\n$/)
  expect(JSON.parse(readFileSync(join(place, "whole", "out", "about.json"), "utf8"))).toEqual({ steps: 12, status: ["kept"] })
  const verified = await start("verify", ["--store", join(place, "whole")]).ended
  expect([verified.code, verified.out]).toEqual([0, expect.stringMatching(/^intact .*test\/train {2}1 files\n$/)])
}, 120_000)

describe("killed with SIGKILL", () => {
  test.each([["inside a step", "step:5", 5, 0], ["inside the writing of its state", "state:5", 6, 1], ["inside the writing of its result", "result", 12, 0]])(
    "%s, it goes on with exactly the steps that were not saved, to the same bits", async (_, where, did, lost) => {
      forget()
      const store = where.replace(":", "-")
      const first = run(store, [], where)
      await until(`hangs at ${where}`)
      first.child.kill("SIGKILL")
      await first.ended
      expect(lines().filter((line) => line.startsWith("step"))).toEqual(steps(0, did))
      forget()
      const second = await run(store).ended
      expect([second.code, lines()]).toEqual([0, steps(did - lost, 12)])
      expect(result(store).equals(whole)).toBe(true)
      expect(leftovers(store)).toEqual([])
    }, 120_000)
})

test("without a command word it runs", async () => {
  const { code, out } = await start("--json", ["--store", join(place, "wordless"), "--out", join(place, "wordless", "out")]).ended
  expect(code).toBe(0)
  expect(JSON.parse(out)).toMatchObject({ pipeline: "counting", stages: { run: 1, kept: 0 } })
}, 120_000)

test("a store in use is refused, Ctrl-C gives it back, and the stage goes on next time", async () => {
  forget()
  const first = run("shared", [], "step:4")
  await until("hangs at step:4")
  const second = await run("shared").ended
  expect(second.code).toBe(1)
  expect(second.err).toContain(`is in use by process ${first.child.pid} on `)
  expect(second.err).toContain("choose another store with --store DIR")
  expect(second.err).not.toMatch(/^\s+at /m)
  first.child.kill("SIGINT")
  const stopped = await first.ended
  expect([stopped.code, stopped.err.split("\n").at(-2)]).toEqual([130, expect.stringMatching(/^test\/train [0-9a-f]{8} stopped$/)])
  expect(leftovers("shared").filter((name) => !name.startsWith("resume/"))).toEqual([])
  forget()
  expect((await run("shared").ended).code).toBe(0)
  expect(lines()).toEqual(steps(4, 12))
  expect(result("shared").equals(whole)).toBe(true)
}, 120_000)

// root may write anywhere, so there the program runs as nobody, who must be able to read this checkout
const nobody = process.getuid?.() === 0 ? 65_534 : undefined
const readable = nobody === undefined || spawnSync(process.execPath, ["-e", `require("node:fs").readFileSync(${JSON.stringify(program)})`], { uid: nobody, gid: nobody }).status === 0
;(readable ? test : test.skip)("a read-only store folder is an error that says what to do, and nothing is written", async () => {
  const store = join(place, "readonly")
  mkdirSync(store)
  chmodSync(store, 0o555)
  const ended = await start("run", ["--store", store, "--out", join(store, "out")], "", nobody).ended
  expect(ended.code).toBe(1)
  expect(ended.err).toMatch(/^error \(StoreError\): store .*readonly: cannot write .*EACCES.*; change its permissions, or choose another place \(another store: --store DIR\)\n$/)
  expect(readdirSync(store)).toEqual([])
}, 120_000)

test("a missing input is one readable line; plan shows the table", async () => {
  const missing = await start("plan", ["--text", join(place, "nothing")]).ended
  expect(missing.code).toBe(1)
  const planned = await start("plan", ["--store", join(place, "whole"), "--steps", "5"]).ended
  expect(planned.out).toMatch(/to do {2}[0-9a-f]{8} {2}test\/train[^]*1 to do, 0 kept/)
}, 120_000)
