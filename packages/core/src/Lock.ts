/**
 * One process at a time changes a store. The lock is a file that names its holder; the lock of a dead process is taken over.
 */
import { Effect, Schema, type Scope } from "effect"
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
    try { await link(written, path); return undefined } catch (error) { if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error } finally { await rm(written, { force: true }) }
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

/** Within one process runs share the lock. */
const held = new Map<string, { users: number; readonly timer: NodeJS.Timeout }>()

/** Holds the lock of `root` until the scope closes. Fails: `StoreLocked`; `FileError` where the folder cannot be written. */
export const acquire = (root: string): Effect.Effect<void, StoreLocked | FileError, Scope.Scope> => {
  const path = join(resolve(root), "lock")
  const lock = Effect.suspend((): Effect.Effect<void, StoreLocked | FileError> => {
    const shared = held.get(path)
    if (shared !== undefined) { shared.users++; return Effect.void }
    const mine: Holder = { pid: process.pid, born: bornAt(process.pid), host: hostname(), since: new Date().toISOString(), nonce: randomBytes(6).toString("hex") }
    return attempt("write", root, async () => { await mkdir(root, { recursive: true }); return take(path, mine) }).pipe(Effect.flatMap((other) => {
      if (other !== undefined) return Effect.fail(new StoreLocked({ root, pid: other.pid, host: other.host, since: other.since }))
      const timer = setInterval(() => { const now = new Date(); utimes(path, now, now).catch(() => undefined) }, beat)
      timer.unref()
      held.set(path, { users: 1, timer })
      return Effect.void
    }))
  })
  const unlock = Effect.promise(async () => {
    const shared = held.get(path)
    if (shared === undefined || --shared.users > 0) return
    clearInterval(shared.timer)
    held.delete(path)
    await rm(path, { force: true }).catch(() => undefined)
  })
  return Effect.acquireRelease(lock, () => unlock)
}
