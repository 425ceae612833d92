import { expect, test } from "@jest/globals"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdtempSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs"
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
