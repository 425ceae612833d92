import { afterAll, beforeEach, expect, test } from "@jest/globals"
import { Effect } from "effect"
import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Checkpoint from "./Checkpoint.ts"
import * as ggufPieces from "./ggufPieces.ts"
import * as Pipeline from "./Pipeline.ts"
import * as Store from "./Store.ts"

/** Written with PyPI's gguf: a Llama in three pieces (tools/fixtures/gguf_models.py). */
const fixtures = fileURLToPath(new URL("../../routing/src/fixtures/gguf", import.meta.url))
const name = (piece: number) => `split-0000${piece}-of-00003.gguf`
const folder = mkdtempSync(join(tmpdir(), "pieces-")), at = (piece: number) => join(folder, name(piece))
beforeEach(() => { for (const piece of [1, 2, 3]) cpSync(join(fixtures, name(piece)), at(piece)) })
afterAll(() => rmSync(folder, { recursive: true }))
const problem = (path: string) => Effect.runPromise(Effect.match(Checkpoint.open(path), { onSuccess: () => "opened", onFailure: (error) => error.message }))

test("names of the pieces from the name of one; other names are one file", () => {
  expect(ggufPieces.pathsOf("a/b-00002-of-00003.gguf")).toEqual(["a/b-00001-of-00003.gguf", "a/b-00002-of-00003.gguf", "a/b-00003-of-00003.gguf"])
  for (const path of ["a/b.gguf", "b-1-of-3.gguf", "b-00001-of-00001.gguf", "b-00001-of-99999.gguf"]) expect(ggufPieces.pathsOf(path)).toEqual([path])
})

test("what is missing, misplaced or twice is named", async () => {
  expect(await problem(at(1))).toBe("opened")
  expect(await problem(at(2))).toMatch(/split\.no: it is not the first piece: open .*split-00001-of-00003\.gguf/)
  cpSync(at(3), at(2))
  expect(await problem(at(1))).toMatch(/split-00002-of-00003\.gguf: split\.no: it is 2 instead of 1/)
  rmSync(at(2))
  expect(await problem(at(1))).toMatch(/split-00002-of-00003\.gguf: \(file\): there is no such file: piece 2 of 3/)
  renameSync(at(1), join(folder, "alone.gguf"))
  expect(await problem(join(folder, "alone.gguf"))).toMatch(/split\.count: it is a piece of 3, and its name does not end in/)
})

test("a pipeline's key counts every piece", async () => {
  const plan = () => Effect.runPromise(Effect.provide(Effect.map(Pipeline.plan(Pipeline.make("split", () => ({ model: Checkpoint.load({ at: at(1) }) }))), ([step]) => step!.key), Store.temporary))
  const before = await plan(), bytes = readFileSync(at(3))
  expect(await plan()).toBe(before)
  bytes[bytes.length - 1]! ^= 1
  writeFileSync(at(3), bytes)
  expect(await plan()).not.toBe(before)
})
