/**
 * What the journeys' tests share: a tiny seed model, the quickstart as a process of its own, and what it left in its folders.
 */
import { Checkpoint, Tokenizer } from "@switchyard/core"
import { Newborn } from "@switchyard/routing"
import { Effect } from "effect"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const program = fileURLToPath(new URL("./quickstart.ts", import.meta.url)), root = fileURLToPath(new URL("..", import.meta.url))

/** A dense byte-level model that has learned nothing: 26 thousand weights. */
export const tiny = { family: "llama", vocabulary: Tokenizer.bytes().vocabulary, hidden: 32, layers: 2, heads: 4, keyValueHeads: 2, headSize: 8, contextLength: 64, normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true, feedForward: { kind: "dense" as const, inner: 48 }, extra: {} }

/** Writes it in bf16, as the committed seed is. */
export const writeTiny = (folder: string): Promise<void> => Effect.runPromise(Checkpoint.write(Checkpoint.make({ model: tiny, weights: Newborn.weights(tiny, 0), tokenizer: Tokenizer.bytes() }), folder, { dtype: "BF16" }))

/** Root may write anywhere: there a program that must not runs as nobody. Undefined for everybody else. */
export const nobody = process.getuid?.() === 0 ? 65_534 : undefined
/** Whether nobody can read this checkout at all. */
export const readable = nobody === undefined || spawnSync(process.execPath, ["-e", `require("node:fs").readFileSync(${JSON.stringify(program)})`], { uid: nobody, gid: nobody }).status === 0

export interface Ended { readonly code: number | null; readonly out: string; readonly err: string }
export interface Started { readonly child: ChildProcess; readonly ended: Promise<Ended>; readonly err: () => string }

/** The quickstart, small, as a user starts it. */
export const start = (verb: string, options: ReadonlyArray<string>, user?: number): Started => {
  const child = spawn(process.execPath, ["--import", "tsx", "--conditions=@switchyard/source", program, verb, "--small", ...options],
    { cwd: root, env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: undefined }, stdio: ["ignore", "pipe", "pipe"], ...user === undefined ? {} : { uid: user, gid: user } })
  let out = "", err = ""
  child.stdout!.on("data", (chunk: Buffer) => { out += chunk.toString() })
  child.stderr!.on("data", (chunk: Buffer) => { err += chunk.toString() })
  const kill = () => child.kill("SIGKILL") // no orphan outlives its test
  process.once("exit", kill)
  return { child, err: () => err, ended: new Promise((resolve) => child.on("close", (code) => { process.off("exit", kill); resolve({ code, out, err }) })) }
}

/** Every file of a folder with the hash of its bytes, by path. */
export const hashes = (folder: string, wanted: (path: string) => boolean = () => true): Readonly<Record<string, string>> => Object.fromEntries(
  readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => wanted(path.slice(folder.length + 1))).sort()
    .map((path) => [path.slice(folder.length + 1), createHash("sha256").update(readFileSync(path)).digest("hex")]))

/** What a run leaves only when it has gone wrong: half-written folders, a lock, saved states. */
export const leftovers = (folder: string): ReadonlyArray<string> =>
  readdirSync(folder, { recursive: true }).map(String).filter((name) => name.endsWith(".tmp") || name.endsWith("lock") || name.startsWith("resume/"))
