/**
 * One process at a time changes a store. The lock is a file that names its holder; the lock of a dead process is taken over.
 */
import { Effect, Schema, type Scope, Semaphore } from "effect"
import { randomBytes } from "node:crypto"
import { readFileSync } from "node:fs"
import { link, mkdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises"
import { hostname } from "node:os"
import { join, resolve } from "node:path"
import { attempt, type FileError, temporaryName } from "./File.ts"

/** Another living process holds the store. */
export class StoreLocked extends Schema.TaggedError<StoreLocked>()("StoreLocked", { root: Schema.String, pid: Schema.Int, host: Schema.String, since: Schema.String }) {
  override get message(): string {
    return `store ${this.root} is in use by process ${this.pid} on ${this.host} since ${this.since}; wait until it has finished, or choose another store with --store DIR`
  }
}

interface Holder { readonly pid: number; readonly born: string; readonly host: string; readonly since: string; readonly nonce: string }

/** When a process was born, where the system tells: a process number may have been given to another since. */
const bornAt = (pid: number): string => {
  try { return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!.split(" ")[19] ?? "" } catch { return "" }
}
const lives = (pid: number): boolean => {
  try { process.kill(pid, 0); return true } catch (error) { return (error as NodeJS.ErrnoException).code === "EPERM" }
}
const beat = 10_000
const parse = (text: string): Holder | undefined => {
  try { const holder = JSON.parse(text) as Holder; return typeof holder.pid === "number" ? holder : undefined } catch { return undefined }
}
const isStale = async (path: string, holder: Holder | undefined): Promise<boolean> => {
  if (holder === undefined) return true
  if (holder.host === hostname()) return !lives(holder.pid) || (holder.born !== "" && bornAt(holder.pid) !== holder.born)
  // of a process elsewhere (another container, a shared disk) only the heartbeat tells
  return Date.now() - (await stat(path)).mtimeMs > 6 * beat
}

const take = async (path: string, mine: Holder): Promise<Holder | undefined> => {
  for (;;) {
    const written = temporaryName(path)
    await writeFile(written, JSON.stringify(mine))
    try { await link(written, path); return undefined } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === "ENOENT") continue // the holder has swept what it took for a leftover
      if (code !== "EEXIST") throw error
    } finally { await rm(written, { force: true }) }
    const text = await readFile(path, "utf8").catch(() => undefined)
    if (text === undefined) continue
    const holder = parse(text)
    if (!(await isStale(path, holder).catch(() => false))) { if (holder !== undefined) return holder; continue }
    // take the dead lock away under a name of our own; should it be a live one by now, give it back
    const dead = temporaryName(path)
    if (!(await rename(path, dead).then(() => true, () => false))) continue
    if (await readFile(dead, "utf8") !== text) await link(dead, path).catch(() => undefined)
    await rm(dead, { force: true })
  }
}

/** Within one process runs share the lock: what it holds, by the lock's path. */
const held = new Map<string, { users: number; readonly text: string; readonly timer: NodeJS.Timeout }>()
const turns = new Map<string, Semaphore.Semaphore>()
/** Within one process, what is done to `path` one after the other. */
export const inTurn = (path: string): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> => {
  const turn = turns.get(resolve(path)) ?? Semaphore.makeUnsafe(1)
  turns.set(resolve(path), turn)
  return turn.withPermits(1)
}

const giveBack = (path: string): Effect.Effect<void> => Effect.promise(async () => {
  const mine = held.get(path)
  if (mine === undefined || --mine.users > 0) return
  clearInterval(mine.timer)
  held.delete(path)
  // another may have taken it over meanwhile, if this process was stopped for long
  if (await readFile(path, "utf8").catch(() => undefined) === mine.text) await rm(path, { force: true }).catch(() => undefined)
})

/**
 * Holds the lock of `root` until the scope closes. Options: `begin`, what its taking begins with: done before anyone in this process shares it, and not
 * again until it has been given back. Fails: `StoreLocked`; `FileError` where the folder cannot be written; what `begin` fails with.
 */
export const acquire = <E = never, R = never>(root: string, begin: Effect.Effect<void, E, R> = Effect.void): Effect.Effect<void, StoreLocked | FileError | E, Scope.Scope | R> => {
  const path = join(resolve(root), "lock"), turn = inTurn(path) // so that two runs that begin at once share it too
  const lock = Effect.suspend((): Effect.Effect<void, StoreLocked | FileError | E, R> => {
    const shared = held.get(path)
    if (shared !== undefined) { shared.users++; return Effect.void }
    const mine: Holder = { pid: process.pid, born: bornAt(process.pid), host: hostname(), since: new Date().toISOString(), nonce: randomBytes(6).toString("hex") }
    return attempt("write", root, async () => { await mkdir(root, { recursive: true }); return take(path, mine) }).pipe(Effect.flatMap((other): Effect.Effect<void, StoreLocked | E, R> => {
      if (other !== undefined) return Effect.fail(new StoreLocked({ root, pid: other.pid, host: other.host, since: other.since }))
      const timer = setInterval(() => { const now = new Date(); utimes(path, now, now).catch(() => undefined) }, beat)
      timer.unref()
      held.set(path, { users: 1, text: JSON.stringify(mine), timer })
      return Effect.onError(begin, () => giveBack(path))
    }))
  })
  return Effect.acquireRelease(turn(lock), () => turn(giveBack(path)))
}
