import { afterAll, describe, expect, test } from "@jest/globals"
import { Effect, Exit } from "effect"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { brotliCompressSync, constants, gzipSync } from "node:zlib"
import { cases, damaged } from "./damage.fixture.ts"
import * as Parquet from "./Parquet.ts"
import { type Column, encodings, file, type Page, types, u32, varint, zigzag } from "./parquet.fixture.ts"
import * as Random from "./Random.ts"

const folder = mkdtempSync(join(tmpdir(), "pages-"))
afterAll(() => rmSync(folder, { recursive: true }))
const put = (bytes: Uint8Array): string => { const path = join(folder, "x.parquet"); writeFileSync(path, bytes); return path }
const rows = (bytes: Uint8Array) => Effect.runPromise(Parquet.read(put(bytes)))
/** What a file is refused for, soon and within memory. Units: milliseconds of processor time; bytes. */
const refusal = async (bytes: Uint8Array): Promise<string> => {
  const before = process.memoryUsage().rss, begun = process.cpuUsage(), error = await Effect.runPromise(Effect.flip(Parquet.read(put(bytes)))), { system, user } = process.cpuUsage(begun)
  expect(error).toMatchObject({ _tag: "ParquetError", path: join(folder, "x.parquet"), remedy: expect.stringMatching(/^fetch or write the file again/) })
  expect((system + user) / 1000).toBeLessThan(2000)
  expect(process.memoryUsage().rss - before).toBeLessThan(250e6)
  return error.message
}
const most = 2 ** 31 - 1
/** Texts as they lie: each after its length. */
const plain = (...texts: ReadonlyArray<string>) => texts.flatMap((text) => [...u32(text.length), ...Buffer.from(text)])
const one = (page: Page, column: Partial<Column> = {}) => file([{ ...column, pages: [page] }], page.values)
const levels = (...runs: ReadonlyArray<number>) => [...u32(runs.length), ...runs]

describe("files made by hand", () => {
  test("are read where nothing is wrong with them: plain, missing values, a dictionary, differences, both kinds of page", async () => {
    expect(await rows(one({ values: 2, body: plain("a", "bc") }))).toEqual([{ x: "a" }, { x: "bc" }].map(({ x }) => ({ x: Uint8Array.from(Buffer.from(x)) })))
    const text = { converted: 0 }
    expect(await rows(one({ values: 3, body: [...levels(...varint(3 << 1 | 0).slice(0, 0), 3, 0b101), ...plain("a", "b")] }, { ...text, optional: true }))).toEqual([{ x: "a" }, { x: null }, { x: "b" }])
    const dictionary: Page = { kind: "dictionary", values: 2, body: plain("no", "yes") }
    expect(await rows(file([{ ...text, pages: [dictionary, { values: 5, encoding: "RLE_DICTIONARY", body: [1, ...varint(5 << 1), 1] }] }], 5))).toEqual(Array.from({ length: 5 }, () => ({ x: "yes" })))
    expect(await rows(file([{ ...text, pages: [dictionary, { kind: "second", values: 5, encoding: "RLE_DICTIONARY", body: [1, ...varint(5 << 1), 1] }] }], 5))).toEqual(Array.from({ length: 5 }, () => ({ x: "yes" })))
    // 5 numbers from 7 on, each 2 more: one block of 128 in 4 parts, of no bits
    expect(await rows(one({ values: 5, encoding: "DELTA_BINARY_PACKED", body: [...varint(128), 4, 5, ...zigzag(7), ...zigzag(2), 0, 0, 0, 0] }, { type: "INT32" }))).toEqual([7, 9, 11, 13, 15].map((x) => ({ x })))
    const lengths = (count: number, first: number, more: number) => [...varint(128), 4, count, ...zigzag(first), ...zigzag(more), 0, 0, 0, 0]
    expect(await rows(one({ values: 3, encoding: "DELTA_BYTE_ARRAY", body: [...lengths(3, 0, 1), ...lengths(3, 1, 0), ...Buffer.from("abc")] }, text))).toEqual([{ x: "a" }, { x: "ab" }, { x: "abc" }])
  })
  test("what many rows have is made once: a value of JSON in a dictionary", async () => {
    const json = JSON.stringify(Array.from({ length: 20_000 }, (_, at) => at)), count = 50_000
    const found = await rows(file([{ converted: 19, pages: [{ kind: "dictionary", values: 1, body: plain(json) }, { values: count, encoding: "RLE_DICTIONARY", body: [1, ...varint(count << 1), 0] }] }], count))
    expect([found.length, found[0]!["x"], found[7]!["x"] === found[count - 1]!["x"]]).toEqual([count, JSON.parse(json), true])
  })
})

describe("pages that would take all of the memory, or all of the time", () => {
  const long = varint(2 ** 31 - 2), dictionary: Page = { kind: "dictionary", values: 1, body: plain("a") }
  const deltas = (block: number, parts: number) => [...varint(block), ...varint(parts), 4, 0, 0, 0, 0, 0, 0]
  const indices = (body: ReadonlyArray<number>, kind: "first" | "second" = "first") => file([{ pages: [dictionary, { kind, values: 4, encoding: "RLE_DICTIONARY", body }] }], 4)
  const huge = Buffer.alloc(16 << 20), packed = (codec: Column["codec"], body: Uint8Array, size = 100) => one({ values: 1, body, size }, { codec: codec! })
  test.each<readonly [string, () => Uint8Array, RegExp]>([
    ["a run of a level longer than the page", () => one({ values: 4, body: [...levels(...long, 1), ...plain("a")] }, { optional: true }), /a run of 1073741823 values goes past the page's 4/],
    ["the same in a page of the second kind", () => one({ kind: "second", values: 4, levels: [0, 6], body: [...long, 1, ...plain("a")] }, { optional: true }), /a run of 1073741823 values goes past/],
    ["a run of a dictionary's numbers", () => indices([1, ...long, 0]), /a run of 1073741823 values goes past/],
    ["a run of truth values", () => one({ values: 4, encoding: "RLE", body: levels(...long, 1) }, { type: "BOOLEAN" }), /a run of 1073741823 values goes past/],
    ["packed groups of no bits", () => indices([0, ...varint(2 ** 31 - 1)], "second"), /packed groups of 0 bits go past/],
    ["fewer than no packed groups", () => indices([0, ...varint(2 ** 32 - 1)], "second"), /packed groups of 0 bits go past/],
    ["packed groups beyond the page", () => indices([7, ...varint(2 ** 30 + 1), 1, 2]), /536870912 packed groups of 7 bits go past the page's 2 bytes/],
    ["numbers of 255 bits", () => indices([255, 3, 1, 1, 1]), /have 255 bits/],
    ["more values than the footer says", () => file([{ pages: [{ values: most, body: plain("a") }] }], 1), /a page says it has 2147483647 values, and at most 1 can be/],
    ["fewer values than the footer says", () => file([{ pages: [{ values: 1, body: plain("a") }] }], 2), /its pages have 1 values, where the footer says 2 in 2 rows/],
    ["fewer values than none", () => one({ values: -1, body: [] }, { says: { values: 1 } }), /says it has -1/],
    ["more values than bytes", () => one({ values: 2_000_000, body: plain("a") }), /2000000 values of type BYTE_ARRAY in 5 bytes/],
    ["more numbers than bytes", () => one({ values: 2_000_000, encoding: "BYTE_STREAM_SPLIT", body: [1, 2] }, { type: "FIXED", length: most }), /2000000 values of type FIXED_LEN_BYTE_ARRAY in 2 bytes/],
    ["a dictionary of more than its bytes", () => file([{ pages: [{ ...dictionary, values: 1_000_000_000 }] }], 1), /1000000000 values in its dictionary/],
    ["fewer nulls than none", () => one({ kind: "second", values: 4, nulls: -most, body: [] }), /says it has -2147483647 nulls/],
    ["levels longer than the page", () => one({ kind: "second", values: 4, levels: [0, 1_000], body: [1] }, { optional: true }), /1000 bytes of levels/],
    ["differences in 2^31 parts", () => one({ values: 4, encoding: "DELTA_BINARY_PACKED", body: deltas(most, most) }, { type: "INT64" }), /blocks of 2147483647 differences in 2147483647 parts/],
    ["differences in parts that lead back", () => one({ values: 4, encoding: "DELTA_BINARY_PACKED", body: deltas(128, 2 ** 32 - 8) }, { type: "INT32" }), /blocks of 128 differences in -8 parts/],
    ["differences in no parts", () => one({ values: 4, encoding: "DELTA_BINARY_PACKED", body: deltas(128, 0) }, { type: "INT32" }), /differences in 0 parts/],
    ["texts that share 2^30 bytes with one of none", () => one({ values: 4, encoding: "DELTA_BYTE_ARRAY", body: [...varint(128), 4, 4, ...zigzag(2 ** 30), 0, 0, 0, 0, 0, ...deltas(128, 4)] }), /shares 1073741824 bytes with one of 0/],
    ["texts that grow by what they share", () => {
      // each shares one byte more than the last and adds one: 5,000,050,000 bytes of 100,000
      const count = 100_000, lengths = (first: number, then: number) => [...varint(1 << 20), 4, ...varint(count), ...zigzag(first), ...zigzag(then), 0, 0, 0, 0]
      return one({ values: count, encoding: "DELTA_BYTE_ARRAY", body: [...lengths(0, 1), ...lengths(1, 0), ...Buffer.alloc(count, 97)] })
    }, /its texts are longer than \d+ bytes/],
    ["gzip", () => packed("GZIP", gzipSync(huge)), /Cannot create a Buffer larger than/],
    ["brotli", () => packed("BROTLI", brotliCompressSync(huge, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } })), /Cannot create a Buffer larger than/],
    ["zstd by what its frame says", () => packed("ZSTD", Uint8Array.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, ...u32(most), 3, 0, 0, 0])), /says it has 2147483647 bytes, and its header 100/],
    ["zstd by its window", () => packed("ZSTD", Uint8Array.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0xa0, 3, 0, 0, 0])), /wants a window of 1073741824 bytes/],
    ["zstd by blocks of one byte", () => packed("ZSTD", Uint8Array.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0x58, ...Array.from({ length: 5_000 }, () => [0xfa, 0xff, 0xff, 0]).flat()])), /may unpack to \d+ bytes, and its header says 100|Offset is outside/],
    ["LZ4 that goes backwards for ever", () => packed("LZ4", Uint8Array.from([0, 0, 0, 0, 255, 255, 255, 248, ...Array.from({ length: 32 }, () => 0)])), /is no Parquet file that can be read/],
    ["a size that the column has not", () => one({ values: 1, body: [1], size: most }, { codec: "SNAPPY", says: { unpacked: 100 } }), /a page says it has 2147483647 bytes, and at most 100 can be/],
    ["a page's header with a list of 2^30", () => one({ values: 1, body: plain("a"), more: [0x19, 0xf5, ...varint(2 ** 30)] }), /a list says it has 1073741824 values/],
    ["a text where there are no bytes", () => one({ values: 1, body: [] }, { says: { values: 1 } }), /values of type BYTE_ARRAY in 0 bytes/]
  ])("%s", async (_, bytes, message) => { expect(await refusal(bytes())).toMatch(message) })
})

describe("footers that would", () => {
  const page: Page = { values: 1, body: plain("a") }, column: Column = { pages: [page] }
  test.each<readonly [string, () => Uint8Array, RegExp]>([
    ["rows of nothing, 2^25 of them", () => file([{ optional: true, pages: [{ values: 2 ** 25, body: levels(...varint(2 ** 26), 0) }] }], 2 ** 25), /a row group of \d+ bytes says that it has 33554432 rows and 33554432 values; at most 209\d+ are read at once/],
    ["a hundred columns of nothing", () => file(Array.from({ length: 100 }, (_, at) => ({ name: `x${at}`, optional: true, pages: [{ values: 2 ** 20, body: levels(...varint(2 ** 21), 0) }] })), 2 ** 20), /104857600 values; at most/],
    ["a gigabyte in a few bytes", () => file([{ ...column, says: { unpacked: 2 ** 30 } }], 1), /unpacks to 1073741824; at most 67\d+ are read/],
    ["JSON of more values than texts are made of", () => {
      const json = Buffer.from(`[${"[],".repeat(1_500_000)}0]`), body = Buffer.concat([Buffer.from(u32(json.length)), json])
      return file([{ codec: "GZIP", converted: 19, pages: [{ values: 1, size: body.length, body: gzipSync(body, { level: 1 }) }] }], 1)
    }, /its JSON has more than \d+ values/],
    ["columns that lie over each other", () => file([{ ...column, pages: [{ values: 1, body: Buffer.alloc(500) }] }, ...Array.from({ length: 9 }, (_, at) => ({ name: `y${at}`, pages: [], says: { at: 4, packed: 500 } }))], 1), /its columns take 50\d\d bytes and the file has 5\d\d of data: some lie over each other/],
    ["a list of 2^31", () => file([column], 1, { footer: [0x5c, 0x19, 0xfc, ...varint(2 ** 31 - 1), 0] }), /a list says it has 2147483647 values/],
    ["lists in lists, each as long as what is left", () => file([column], 1, { footer: [0x59, ...Array.from({ length: 40 }, () => 0x19), 0x05] }), /nested deeper than 24/],
    ["a number without an end", () => file([column], 1, { footer: [0x56, ...Array.from({ length: 5_000 }, () => 0x80), 0] }), /more than ten bytes/],
    ["a schema of 100 floors", () => file([column], 1, { depth: 100 }), /nested deeper than 32/],
    ["the type VARIANT", () => file([{ ...column, logical: [[16, { fields: [[1, { i: 1 }]] }]] }], 1), /of the type VARIANT, which is not read/]
  ])("%s", async (_, bytes, message) => { expect(await refusal(bytes())).toMatch(message) })
})

test("what may be read of a small file stays within a gigabyte: two million texts of nothing, of 9 kB", async () => {
  const count = 2 ** 21, before = process.memoryUsage().rss, bytes = one({ values: count, size: 4 * count, body: gzipSync(Buffer.alloc(4 * count)) }, { codec: "GZIP" })
  expect([bytes.length < 9_000, (await rows(bytes)).length]).toEqual([true, count])
  const more = process.memoryUsage().rss - before
  if (process.env["SWITCHYARD_FIGURES"] !== undefined) process.stderr.write(`${count} rows of ${bytes.length} bytes: ${(more / 1e6).toFixed(0)} MB more\n`)
  expect(more).toBeLessThan(1e9)
}, 60_000)

describe("at random", () => {
  const within = async (count: number, make: (seed: number) => Uint8Array): Promise<number> => {
    const path = join(folder, "fuzzed.parquet"), before = process.memoryUsage().rss
    let refused = 0, longest = 0, slowest = -1, peak = before
    for (let seed = 0; seed < count; seed++) {
      writeFileSync(path, make(seed))
      const begun = process.cpuUsage(), exit = await Effect.runPromiseExit(Parquet.read(path)), { system, user } = process.cpuUsage(begun), took = (system + user) / 1000
      if (took > longest) [longest, slowest] = [took, seed]
      peak = Math.max(peak, process.memoryUsage().rss)
      if (Exit.isSuccess(exit)) continue
      const error = Exit.findErrorOption(exit)
      if (error._tag === "None") throw new Error(`seed ${seed}: it died: ${JSON.stringify(exit)}`)
      expect(error.value.message).toMatch(/Remedy: /)
      refused++
    }
    if (process.env["SWITCHYARD_FIGURES"] !== undefined) process.stderr.write(`${refused} of ${count} refused, longest ${longest.toFixed(1)} ms (seed ${slowest}), ${((peak - before) / 1e6).toFixed(0)} MB more\n`)
    expect([longest < 2000, peak - before < 500e6]).toEqual([true, true])
    return refused
  }
  const names = ["hellaswag-snappy", "arc-zstd", "mmlu-gzip", "boolq-plain", "boolq-brotli", "nested-lz4", "nested-snappy", "documents"], count = cases(60)
  const fixtures = names.map((name) => readFileSync(new URL(`./fixtures/parquet/${name}.parquet`, import.meta.url)))
  test(`${count} files with damage in their pages, under the footer that they had: rows, or an error with a remedy, soon and within memory`, async () => {
    const refused = await within(count, (seed) => {
      const original = fixtures[seed % fixtures.length]!, start = original.length - 8 - original.readUInt32LE(original.length - 8), changed = damaged(original.subarray(4, start), seed).subarray(0, start - 4)
      return Buffer.concat([original.subarray(0, 4), changed, Buffer.alloc(start - 4 - changed.length), original.subarray(start)])
    })
    expect(refused).toBeGreaterThan(count / 3)
  }, 3_600_000)
  test(`${2 * count} pages of chance: every encoding and type, both kinds, numbers of any size in them`, async () => {
    const refused = await within(2 * count, (seed) => {
      const chance = Random.make(seed, "page")
      let at = 0
      const below = (limit: number): number => Random.unsigned(chance, at++) % limit, of = <A>(all: ReadonlyArray<A>): A => all[below(all.length)]!
      const number = () => of([[0], [1], [2], [3], [4], [8], varint(below(64)), varint(128), varint(below(2 ** 16)), varint(2 ** 31 - 1 - below(3)), varint(2 ** 32 - 1 - below(9)), [below(256)], u32(below(40)), u32(Random.unsigned(chance, at++))])
      const body = () => Array.from({ length: below(24) }, number).flat(), values = of([1, 4, 9, 100, 100_000])
      const kind = of(["first", "second"] as const), optional = below(2) === 0, defined = kind === "second" && optional ? [...varint(values << 1), 1] : [], first = kind === "first" && optional ? levels(...varint(values << 1), 1) : []
      const inner = of([body(), [below(9), ...varint(values << 1), ...body()], [...varint(128), 4, ...varint(values), ...body()], plain(...Array.from({ length: Math.min(values, 9) }, () => "text"))])
      const page: Page = { kind, encoding: of(Object.keys(encodings) as Array<keyof typeof encodings>), values: below(9) === 0 ? 1 + below(9) : values, nulls: 0, levels: [0, defined.length], plain: below(2) === 0, body: [...defined, ...first, ...inner, ...Array.from({ length: below(3) * 40 }, () => below(256))] }
      const dictionary: Page = { kind: "dictionary", values: of([1, 2, below(9), below(2 ** 31)]), body: plain("a", "bc") }
      return file([{ type: of(Object.keys(types) as Array<keyof typeof types>), length: of([1, 4, 16, 2 ** 31 - 1]), optional, ...below(2) === 0 ? { converted: 0 } : {}, pages: below(2) === 0 ? [page] : [dictionary, page] }], values)
    })
    expect(refused).toBeGreaterThan(count / 2)
  }, 3_600_000)
})
