import { afterAll, describe, expect, test } from "@jest/globals"
import { Effect, Exit } from "effect"
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { cases, damaged } from "./damage.fixture.ts"
import * as Parquet from "./Parquet.ts"

const fixture = (name: string) => fileURLToPath(new URL(`./fixtures/parquet/${name}`, import.meta.url))
/** What pyarrow 26.0.1 reads of the files that it wrote: tools/fixtures/parquet.py. Bytes stand as `{ bytes }`. */
const expected = JSON.parse(readFileSync(fixture("rows.json"), "utf8")) as Readonly<Record<string, { readonly columns: ReadonlyArray<string>; readonly groups: ReadonlyArray<number>; readonly rows: ReadonlyArray<Readonly<Record<string, unknown>>> }>>
const withBytes = (rows: ReadonlyArray<Parquet.Row>) => rows.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, value instanceof Uint8Array ? { bytes: [...value] } : value])))
const run = <A, E>(effect: Effect.Effect<A, E>) => Effect.runPromise(effect)
const folder = mkdtempSync(join(tmpdir(), "parquet-"))
afterAll(() => rmSync(folder, { recursive: true }))
const put = (bytes: Uint8Array): string => { const path = join(folder, "x.parquet"); writeFileSync(path, bytes); return path }
const failure = async (bytes: Uint8Array) => {
  const error = await run(Effect.flip(Parquet.read(put(bytes))))
  expect(error).toMatchObject({ _tag: "ParquetError", path: join(folder, "x.parquet"), remedy: expect.stringMatching(/^fetch or write the file again/) })
  return error.message
}

describe("pyarrow's rows, key for key", () => {
  test.each(Object.keys(expected))("%s", async (name) => {
    const { columns, groups, rows } = expected[name]!, file = await run(Parquet.open(fixture(`${name}.parquet`)))
    expect([file.columns, file.groups, file.rows]).toEqual([columns, groups, rows.length])
    const found = withBytes(await run(Parquet.read(fixture(`${name}.parquet`))))
    expect(found).toStrictEqual(rows)
    expect(JSON.stringify(found)).toBe(JSON.stringify(rows))
  })
})

describe("no more is read than is asked for", () => {
  test("one group, some columns, in the order asked; the footer tells what that takes of the file", async () => {
    const file = await run(Parquet.open(fixture("documents.parquet"))), rows = expected["documents"]!.rows
    expect(await run(file.read(1, ["text", "id"]))).toEqual(rows.slice(16, 32).map(({ id, text }) => ({ text, id })))
    expect(file.bytesRead(["id"])).toBeLessThan(file.bytesRead(["id", "text"]))
    expect(file.bytesRead(["id", "text"])).toBeLessThan(file.bytesRead())
    const exact = rows.reduce((sum, { text }) => sum + Buffer.byteLength(text as string), 0), bound = file.textBytes("text")!
    expect([bound >= exact, bound < 2 * exact]).toEqual([true, true])
    // a column that is damaged spoils the others' reading in no way
    const bytes = readFileSync(fixture("documents.parquet")), at = bytes.indexOf("https://example.org/")
    expect(at).toBeGreaterThan(0)
    expect((await run(Effect.flatMap(Parquet.open(put(bytes.fill(0, at - 20, at + 20))), (damaged) => damaged.read(0, ["text"])))).length).toBe(16)
  })
  test("a column that is not there: an error with those that are", async () => {
    expect(await run(Effect.flip(Parquet.read(fixture("mmlu-gzip.parquet"), ["text"])))).toMatchObject({ problem: "it has no column text", remedy: "name one of its columns: question, subject, choices, answer" })
  })
  test("a file that is not there is a FileError", async () => {
    expect(await run(Effect.flip(Parquet.open(join(folder, "nothing.parquet"))))).toMatchObject({ _tag: "FileError", code: "ENOENT" })
  })
})

describe("hostile files", () => {
  const whole = readFileSync(fixture("arc-zstd.parquet")), footer = whole.readUInt32LE(whole.length - 8)
  test("cut anywhere: an error with file and remedy", async () => {
    for (let length = 0; length < whole.length; length += 97) await failure(whole.subarray(0, length))
    // the footer whole, and data before it missing
    expect(await failure(Buffer.concat([whole.subarray(0, 4), whole.subarray(whole.length - footer - 8)]))).toMatch(/lies outside the file's 4 bytes of data/)
  })
  test("another beginning, another end, a footer longer than the file", async () => {
    expect(await failure(Buffer.concat([Buffer.from("ARROW1"), whole.subarray(6)]))).toMatch(/does not begin as a Parquet file does/)
    expect(await failure(Buffer.concat([whole.subarray(0, -4), Buffer.from("PARE")]))).toMatch(/does not end as a Parquet file does/)
    const long = Buffer.from(whole)
    long.writeUInt32LE(0xffff_fff0, long.length - 8)
    expect(await failure(long)).toMatch(/its footer says it has 4294967280 bytes, and the file has/)
  })
  test("text that is no UTF-8", async () => {
    const bytes = readFileSync(fixture("boolq-plain.parquet"))
    bytes[bytes.indexOf("is it 7")] = 0xff
    expect(await failure(bytes)).toMatch(/not valid/)
  })
  const count = cases(150)
  test(`${count} footers with damage: rows, or an error with a remedy, soon and within memory`, async () => {
    const names = ["hellaswag-snappy", "arc-zstd", "mmlu-gzip", "nested-snappy"], path = join(folder, "damaged.parquet"), before = process.memoryUsage().rss
    let refused = 0, longest = 0
    for (let seed = 0; seed < count; seed++) {
      const original = readFileSync(fixture(`${names[seed % names.length]}.parquet`)), start = original.length - 8 - original.readUInt32LE(original.length - 8)
      const changed = damaged(original.subarray(start, -8), seed), size = Buffer.alloc(4)
      size.writeUInt32LE(changed.length)
      writeFileSync(path, Buffer.concat([original.subarray(0, start), changed, size, Buffer.from("PAR1")]))
      const begun = process.cpuUsage(), exit = await Effect.runPromiseExit(Parquet.read(path)), { system, user } = process.cpuUsage(begun)
      longest = Math.max(longest, (system + user) / 1000)
      if (Exit.isSuccess(exit)) continue
      const error = Exit.findErrorOption(exit)
      if (error._tag === "None") throw new Error(`seed ${seed}: it died: ${JSON.stringify(exit)}`)
      expect(error.value.message).toMatch(/Remedy: /)
      refused++
    }
    if (process.env["SWITCHYARD_FIGURES"] !== undefined) process.stderr.write(`${refused} of ${count} refused, longest ${longest.toFixed(1)} ms, ${((process.memoryUsage().rss - before) / 1e6).toFixed(0)} MB more\n`)
    expect(refused).toBeGreaterThan(count / 4)
    expect(longest).toBeLessThan(2000)
    expect(process.memoryUsage().rss - before).toBeLessThan(500e6)
  }, 600_000)
  test("what it says of its size is checked before anything is allocated", async () => {
    copyFileSync(fixture("arc-zstd.parquet"), join(folder, "y.parquet"))
    // a page's header follows the magic number: its unpacked size, a zigzag number, becomes 2 GB
    const bytes = Buffer.from(whole), page = bytes.subarray(4, 12)
    expect([page[0], page[1], page[2]]).toEqual([0x15, 0x04, 0x15]) // type: dictionary page; then the unpacked size
    expect(await failure(Buffer.concat([bytes.subarray(0, 7), Buffer.from([0xfe, 0xff, 0xff, 0xff, 0x0f]), bytes.subarray(7 + 5)]))).toMatch(/a page says it has \d+ bytes, and its column at most \d+|it is no Parquet file/)
  })
})
