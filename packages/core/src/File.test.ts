import { describe, expect, test } from "@jest/globals"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Digest from "./Digest.ts"
import * as File from "./File.ts"

const fresh = () => mkdtempSync(join(tmpdir(), "switchyard-file-"))
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex")
const { runPromise } = Effect

describe("writing", () => {
  test("a file appears whole, folders above it are made, nothing else stays", async () => {
    const at = join(fresh(), "a", "b.json")
    await runPromise(File.writeJson(at, { x: 1 }))
    await runPromise(File.writeJson(at, { x: 2 }))
    expect(JSON.parse(readFileSync(at, "utf8"))).toEqual({ x: 2 })
    expect(readdirSync(join(at, ".."))).toEqual(["b.json"])
  })
  test("a folder that fails to fill leaves what was there before", async () => {
    const at = join(fresh(), "kept")
    await runPromise(File.writeFolder(at, (folder) => File.write(join(folder, "x"), "old")))
    const full = File.writeFolder(at, (folder) => Effect.andThen(File.write(join(folder, "x"), "new"), File.attempt("write", join(folder, "y"), async () => { symlinkSync("/dev/full", join(folder, "y")); writeFileSync(join(folder, "y"), "0") })))
    const error = await runPromise(Effect.flip(full)) // the system's own ENOSPC
    expect(error).toMatchObject({ _tag: "FileError", code: "ENOSPC" })
    expect(error.message).toContain("the disk is full: free some space")
    expect(readFileSync(join(at, "x"), "utf8")).toBe("old")
    expect(readdirSync(join(at, ".."))).toEqual(["kept"])
    await runPromise(File.writeFolder(at, (folder) => File.write(join(folder, "z"), "new")))
    expect(readdirSync(at)).toEqual(["z"])
  })
  test("what a killed process left half-written is swept, what a living one is writing is not, nor what others named", async () => {
    const folder = fresh(), dead = spawnSync(process.execPath, ["-e", ""]).pid
    const names = [`.seed.${dead}-0123456789ab.tmp`, `experts/.law.${dead}-0123456789ab.tmp`, `.seed.${process.pid}-0123456789ab.tmp`, ".mine.tmp", "seed"]
    for (const name of names) mkdirSync(join(folder, name), { recursive: true })
    await runPromise(File.sweep(folder))
    expect(readdirSync(folder, { recursive: true }).map(String).sort()).toEqual([".mine.tmp", `.seed.${process.pid}-0123456789ab.tmp`, "experts", "seed"])
    await runPromise(File.sweep(join(folder, "not there")))
  })
  test("a file in a folder's place, and a folder in a file's, are told with what to do", async () => {
    const at = fresh()
    writeFileSync(join(at, "model.safetensors"), "")
    expect((await runPromise(Effect.flip(File.read(join(at, "model.safetensors", "config.json"))))).message).toMatch(/ENOTDIR.*; a file stands where the path needs a folder: name the folder that holds it$/)
    expect((await runPromise(Effect.flip(File.read(at)))).message).toMatch(/EISDIR.*; a folder stands where the path needs a file: name a file in it$/)
  })
  test("a missing file is named with what to do", async () => {
    expect((await runPromise(Effect.flip(File.read("/nowhere/x")))).message).toMatch(/^cannot read \/nowhere\/x: .*check the path, which is relative to the working directory$/)
    expect(await runPromise(File.readJson("/nowhere/x"))).toBeUndefined()
  })
})

describe("hashes", () => {
  test("a folder's files, deep ones too, sorted, against node's own hash", async () => {
    const root = fresh()
    mkdirSync(join(root, "b"))
    writeFileSync(join(root, "b", "two"), "2")
    writeFileSync(join(root, "a"), "1")
    expect(await runPromise(Digest.folder(root))).toEqual([{ path: "a", bytes: 1, sha256: sha256("1") }, { path: "b/two", bytes: 1, sha256: sha256("2") }])
  })
  test("are remembered while size and times stand still, and taken again when they move", async () => {
    const root = fresh(), at = join(root, "hashes.json"), path = join(root, "x")
    writeFileSync(path, "first")
    const hash = Effect.gen(function*() {
      const cache = yield* Digest.cache(at)
      const result = yield* cache.of(path)
      yield* cache.save
      return result
    })
    expect(await runPromise(hash)).toBe(sha256("first"))
    expect(existsSync(at)).toBe(false) // too young: its time might not move at the next change
    await new Promise((done) => setTimeout(done, 2100))
    expect(await runPromise(hash)).toBe(sha256("first"))
    // a planted hash shows that the file is not read again
    writeFileSync(at, readFileSync(at, "utf8").replace(sha256("first"), sha256("planted")))
    expect(await runPromise(hash)).toBe(sha256("planted"))
    appendFileSync(path, "!")
    expect(await runPromise(hash)).toBe(sha256("first!"))
    const past = new Date(2020, 1)
    writeFileSync(path, "secon!")
    utimesSync(path, past, past) // a time set back does not deceive it
    expect(await runPromise(hash)).toBe(sha256("secon!"))
  })
})
