import { expect, test } from "@jest/globals"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdtempSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs"
import { readdir, rm } from "node:fs/promises"
import { hostname, tmpdir } from "node:os"
import { join } from "node:path"
import * as Lock from "./Lock.ts"

const fresh = () => mkdtempSync(join(tmpdir(), "switchyard-lock-"))
const take = (root: string) => Effect.runPromise(Effect.result(Effect.scoped(Effect.andThen(Lock.acquire(root), Effect.sync(() => JSON.parse(readFileSync(join(root, "lock"), "utf8")) as { pid: number })))))
const hold = (root: string, holder: object | string) => writeFileSync(join(root, "lock"), typeof holder === "string" ? holder : JSON.stringify({ pid: 1, born: "", host: hostname(), since: "2026-01-01", nonce: "", ...holder }))

test("a lock names its holder and goes with the scope; runs of one process share it", async () => {
  const root = fresh()
  expect(await take(root)).toMatchObject({ success: { pid: process.pid } })
  expect(readdirSync(root)).toEqual([])
  await Effect.runPromise(Effect.scoped(Effect.andThen(Lock.acquire(root), Effect.gen(function*() {
    yield* Effect.scoped(Lock.acquire(root))
    expect(existsSync(join(root, "lock"))).toBe(true)
  }))))
  expect(readdirSync(root)).toEqual([])
})

test("a living process keeps its lock, a dead one loses it", async () => {
  const root = fresh(), child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"])
  hold(root, { pid: child.pid })
  expect(await take(root)).toMatchObject({ failure: { _tag: "StoreLocked", pid: child.pid, since: "2026-01-01" } })
  child.kill("SIGKILL")
  await once(child, "exit")
  expect(await take(root)).toMatchObject({ success: { pid: process.pid } })
  expect(readdirSync(root)).toEqual([])
})

test("a number given to another process since, a damaged lock, a silent host: taken over; a host that was heard lately: not", async () => {
  const root = fresh(), path = join(root, "lock")
  if (process.platform === "linux") {
    hold(root, { pid: process.ppid, born: "12345" })
    expect(await take(root)).toMatchObject({ success: { pid: process.pid } })
  }
  hold(root, "{")
  expect(await take(root)).toMatchObject({ success: { pid: process.pid } })
  hold(root, { host: "elsewhere" })
  expect(await take(root)).toMatchObject({ failure: { _tag: "StoreLocked", host: "elsewhere" } })
  const past = new Date(Date.now() - 120_000)
  utimesSync(path, past, past)
  expect(await take(root)).toMatchObject({ success: { pid: process.pid } })
  expect(readdirSync(root)).toEqual([])
})

test("runs of one process that begin at once share the lock; what its taking begins with is done once, before any of them", async () => {
  const root = fresh(), did: Array<string> = []
  const begin = Effect.andThen(Effect.sleep(20), Effect.sync(() => { did.push("begun") }))
  const run = Effect.scoped(Effect.andThen(Lock.acquire(root, begin), Effect.sync(() => { did.push("run") })))
  await Effect.runPromise(Effect.all([run, run, Effect.delay(run, 5)], { concurrency: 3 }))
  expect(did).toEqual(["begun", "run", "run", "run"])
  expect(readdirSync(root)).toEqual([])
  expect(await Effect.runPromise(Effect.result(Effect.scoped(Lock.acquire(root, Effect.fail("broken")))))).toMatchObject({ failure: "broken" })
  expect(readdirSync(root)).toEqual([])
})

test("a lock that another took over meanwhile is not given back in its stead", async () => {
  const root = fresh(), path = join(root, "lock")
  await Effect.runPromise(Effect.scoped(Effect.andThen(Lock.acquire(root), Effect.sync(() => hold(root, { host: "elsewhere" })))))
  expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({ host: "elsewhere" })
})

test("who asks while the holder sweeps is refused by name all the same", async () => {
  const root = fresh(), child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"])
  hold(root, { pid: child.pid })
  const still = { on: true }
  const sweeping = (async () => { while (still.on) for (const name of await readdir(root)) if (name.startsWith(".")) await rm(join(root, name), { force: true }) })()
  const tags = new Set<unknown>()
  for (let time = 0; time < 100; time++) tags.add((await Effect.runPromise(Effect.flip(Effect.scoped(Lock.acquire(root)))))._tag)
  still.on = false
  await sweeping
  child.kill("SIGKILL")
  expect([...tags]).toEqual(["StoreLocked"])
})
