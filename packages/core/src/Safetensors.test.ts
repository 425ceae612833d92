import { afterAll, beforeAll, describe, expect, test } from "@jest/globals"
import { Effect, Exit } from "effect"
import fc from "fast-check"
import { execFile } from "node:child_process"
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { cases } from "./damage.fixture.ts"
import * as Safetensors from "./Safetensors.ts"
import { headerLength, parse } from "./SafetensorsHeader.ts"
import * as Weights from "./Weights.ts"

let folder: string
beforeAll(async () => { folder = await mkdtemp(join(tmpdir(), "safetensors-")) })
afterAll(() => rm(folder, { recursive: true, force: true }))

const run = <A, E>(effect: Effect.Effect<A, E>) => Effect.runPromise(effect)
const reasonOf = async <A>(effect: Effect.Effect<A, Safetensors.SafetensorsError>): Promise<string> => {
  const exit = await Effect.runPromiseExit(effect)
  const error = Exit.findErrorOption(exit)
  if (error._tag === "None") return Exit.isSuccess(exit) ? "ok" : "defect"
  expect(error.value.message).toMatch(/Remedy: /)
  return error.value.reason
}

/** A file of this header text and this many zero bytes. */
const made = async (name: string, header: string | Uint8Array, data = 0, length?: bigint) => {
  const json = typeof header === "string" ? new TextEncoder().encode(header) : header
  const bytes = new Uint8Array(8 + json.length + data)
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(json.length), true)
  bytes.set(json, 8)
  const path = join(folder, name)
  await writeFile(path, bytes)
  return path
}

describe("the reference implementation's cases", () => {
  const at = new URL("./fixtures/safetensors/", import.meta.url).pathname
  const verdicts: Record<string, string> = {
    HeaderTooLarge: "HeaderTooLarge", HeaderTooSmall: "TooSmall", InvalidHeaderLength: "HeaderLength", InvalidHeaderDeserialization: "HeaderSyntax",
    TensorInvalidInfo: "TensorSize", ValidationOverflow: "Overflow", InvalidOffset: "Offsets"
  }
  test("all 15 get the verdict of the reference", async () => {
    const cases = JSON.parse(await readFile(join(at, "cases.json"), "utf8")) as ReadonlyArray<{ file: string; expect: string }>
    expect(cases.length).toBe(15)
    for (const { file, expect: expected } of cases) {
      const reason = await reasonOf(Safetensors.open(join(at, file)))
      const verdict = expected.startsWith("ok") ? "ok" : expected.startsWith("undetermined") ? "Duplicate" : file.includes("unknown_dtype") ? "UnknownDtype" : verdicts[expected]
      expect([file, reason]).toEqual([file, verdict])
    }
  })
  test("an integer tensor is read as bytes, and refused as numbers", async () => {
    const file = await run(Safetensors.open(join(at, "ok_2x2_i32.safetensors")))
    expect([...file.header.tensors.values()][0]).toMatchObject({ dtype: "I32", shape: [2, 2] })
    expect((await run(file.bytes([...file.infos.keys()][0]!))).length).toBe(16)
    expect(await reasonOf(file.read([...file.infos.keys()][0]!))).toBe("UnknownDtype")
  })
})

describe("attacks", () => {
  const entry = (begin: number | string, end: number | string, shape = "[2]", dtype = "\"F32\"") => `{"dtype":${dtype},"shape":${shape},"data_offsets":[${begin},${end}]}`
  const attacks: ReadonlyArray<readonly [string, string | Uint8Array, number, string]> = [
    ["not UTF-8", Uint8Array.of(0x7b, 0xff, 0x7d), 0, "HeaderSyntax"],
    ["a byte order mark", Uint8Array.of(0xef, 0xbb, 0xbf, 0x7b, 0x7d), 0, "HeaderSyntax"],
    ["an array", "[]", 0, "HeaderSyntax"],
    ["padded with NUL", "{}\0\0", 0, "HeaderSyntax"],
    ["two equal names", `{"a":${entry(0, 8)},"a":${entry(0, 8)}}`, 8, "Duplicate"],
    ["two equal names, one escaped", `{"a":${entry(0, 8)},"\\u0061":${entry(8, 16)}}`, 16, "Duplicate"],
    ["two equal keys inside", "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "Duplicate"],
    ["NUL in a name", `{"a\\u0000b":${entry(0, 8)}}`, 8, "HeaderSyntax"],
    ["half a surrogate pair in a name", `{"\\ud800":${entry(0, 8)}}`, 8, "HeaderSyntax"],
    ["a fraction", `{"a":${entry("0.0", 8)}}`, 8, "HeaderSyntax"],
    ["an exponent", `{"a":${entry(0, "8e0")}}`, 8, "HeaderSyntax"],
    ["a negative offset", `{"a":${entry(-8, 0)}}`, 8, "HeaderSyntax"],
    ["a leading zero", `{"a":${entry("00", 8)}}`, 8, "HeaderSyntax"],
    ["an offset above 2^53", `{"a":${entry(0, "9007199254740993")}}`, 8, "Overflow"],
    ["an offset of 400 digits", `{"a":${entry(0, "9".repeat(400))}}`, 8, "Overflow"],
    ["end before begin", `{"a":${entry(8, 0)}}`, 8, "Offsets"],
    ["overlap", `{"a":${entry(0, 8)},"b":${entry(4, 12)}}`, 12, "Offsets"],
    ["the same bytes twice", `{"a":${entry(0, 8)},"b":${entry(0, 8)}}`, 8, "Offsets"],
    ["a hole", `{"a":${entry(0, 8)},"b":${entry(16, 24)}}`, 24, "Offsets"],
    ["a hole at the start", `{"a":${entry(8, 16)}}`, 16, "Offsets"],
    ["trailing bytes", `{"a":${entry(0, 8)}}`, 9, "Offsets"],
    ["data cut off", `{"a":${entry(0, 8)}}`, 7, "Offsets"],
    ["data without tensors", "{}", 1, "Offsets"],
    ["a product that overflows", `{"a":${entry(0, 0, "[4294967296,4294967296,4294967296]")}}`, 0, "Overflow"],
    ["an overflow hidden by a zero", `{"a":${entry(0, 0, "[9007199254740991,9007199254740991,0]")}}`, 0, "Overflow"],
    ["half a byte", `{"a":${entry(0, 1, "[3]", "\"F4\"")}}`, 1, "Overflow"],
    ["a dtype of Object.prototype", `{"a":${entry(0, 8, "[2]", "\"constructor\"")}}`, 8, "UnknownDtype"],
    ["a dtype that is a number", `{"a":${entry(0, 8, "[2]", "1")}}`, 8, "UnknownDtype"],
    ["metadata that is not a string", "{\"__metadata__\":{\"a\":1}}", 0, "HeaderSyntax"],
    ["an unknown key", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"stride\":[1]}}", 8, "HeaderSyntax"],
    ["a missing key", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "HeaderSyntax"],
    ["deep nesting", `{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`, 0, "HeaderSyntax"],
    ["something after the object", "{}{}", 0, "HeaderSyntax"]
  ]
  test.each(attacks)("%s", async (name, header, data, reason) => {
    expect(await reasonOf(Safetensors.open(await made(`${name}.safetensors`, header, data)))).toBe(reason)
  })
  test("a header length of 2^64 - 1, above the cap, past the end", async () => {
    expect(await reasonOf(Safetensors.open(await made("huge", "{}", 0, 2n ** 64n - 1n)))).toBe("HeaderTooLarge")
    expect(await reasonOf(Safetensors.open(await made("cap", "{}", 0, 100_000_001n)))).toBe("HeaderTooLarge")
    expect(await reasonOf(Safetensors.open(await made("past", "{}", 0, 3n)))).toBe("HeaderLength")
  })
  test("__proto__ and constructor are names like any other", async () => {
    const file = await run(Safetensors.open(await made("proto", `{"__proto__":${entry(0, 8)},"constructor":${entry(8, 16)}}`, 16)))
    expect([...file.infos.keys()]).toEqual(["__proto__", "constructor"])
    expect(file.infos.get("toString")).toBeUndefined()
    expect((await run(file.read("__proto__"))).length).toBe(2)
  })
  test("scalars, empty tensors and a gigabyte of nothing are legal", async () => {
    const file = await run(Safetensors.open(await made("legal", `{"s":${entry(0, 4, "[]")},"e":${entry(4, 4, "[0,1000000000]")}}   `, 4)))
    expect([...await run(file.read("s"))]).toEqual([0])
    expect((await run(file.read("e"))).length).toBe(0)
  })
  test("a missing file, a folder, and a file that changed after it was opened", async () => {
    expect(await reasonOf(Safetensors.open(join(folder, "nowhere")))).toBe("Unreadable")
    expect(await reasonOf(Safetensors.open(folder))).toBe("Unreadable")
    const path = await made("changed", `{"a":${entry(0, 8)}}`, 8), file = await run(Safetensors.open(path))
    await truncate(path, 20)
    expect(await reasonOf(file.read("a"))).toBe("Unreadable")
  })

  const check = (bytes: Uint8Array) => {
    try {
      const length = headerLength("fuzz", bytes, bytes.length)
      const { tensors } = parse("fuzz", bytes.subarray(8, 8 + length), bytes.length - 8 - length)
      return { accepted: [...tensors.values()].reduce((sum, { begin, end }) => sum + end - begin, 0) === bytes.length - 8 - length }
    } catch (error) {
      return { refused: error instanceof Safetensors.SafetensorsError }
    }
  }
  test("fuzz: any damage to a header is refused by name or leaves a header whose tensors tile the data", () => {
    const header = `{"__metadata__":{"format":"pt"},"a":${entry(0, 8)},"b":${entry(8, 16, "[2,2]", "\"BF16\"")},"c":${entry(16, 16, "[0]")}}`
    const whole = new Uint8Array(8 + header.length + 16)
    new DataView(whole.buffer).setBigUint64(0, BigInt(header.length), true)
    whole.set(new TextEncoder().encode(header), 8)
    expect(check(whole)).toEqual({ accepted: true })
    const edit = fc.record({ at: fc.nat(whole.length - 1), byte: fc.oneof(fc.nat(255), fc.constantFrom(...Buffer.from("0123456789[]{},:\"\\-e"))), remove: fc.boolean() })
    fc.assert(fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
      let bytes = whole.slice()
      for (const { at, byte, remove } of edits) {
        if (at >= bytes.length) continue
        if (remove) bytes = Uint8Array.from([...bytes.subarray(0, at), ...bytes.subarray(at + 1)])
        else bytes[at] = byte
      }
      const verdict = check(bytes)
      return verdict.accepted === true || verdict.refused === true
    }), { seed: 3, numRuns: cases(5000) })
  })
  test("fuzz: arbitrary JSON as a header never gets past the checks as anything else than an error by name", () => {
    fc.assert(fc.property(fc.json(), (json) => {
      const text = new TextEncoder().encode(json), bytes = new Uint8Array(8 + text.length)
      new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true)
      bytes.set(text, 8)
      const verdict = check(bytes)
      return verdict.accepted === true || verdict.refused === true
    }), { seed: 4, numRuns: cases(1000) })
  })
})

describe("writing", () => {
  const values = new Map<string, Float32Array | Uint8Array>([
    ["z", Float32Array.of(1, -2, 3, 4, 5, 6)], ["a", Float32Array.of(0.1, -0.1)], ["ids", Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0)], ["half", Float32Array.of(65504, 2 ** -24)]
  ])
  const planned: ReadonlyArray<Safetensors.Planned> = [
    { name: "z", dtype: "F32", shape: [3, 2] }, { name: "half", dtype: "F16", shape: [2] }, { name: "a", dtype: "BF16", shape: [2, 1] }, { name: "ids", dtype: "I64", shape: [1] }
  ]
  const produce = (name: string) => Effect.succeed(values.get(name)!)

  test("what is written is read back, whole and by rows; wide dtypes first, then names; aligned; marked as PyTorch's", async () => {
    const path = join(folder, "written.safetensors")
    await run(Safetensors.write(path, planned, produce))
    const file = await run(Safetensors.open(path)), bytes = await readFile(path)
    expect([...file.header.tensors].sort((a, b) => a[1].begin - b[1].begin).map(([name]) => name)).toEqual(["ids", "z", "a", "half"])
    expect(Number(bytes.readBigUInt64LE(0)) % 8).toBe(0)
    expect(file.header.metadata).toEqual(new Map([["format", "pt"]]))
    expect(await run(file.read("z"))).toEqual(values.get("z"))
    expect([...await run(file.read("z", { from: 1, to: 2 }))]).toEqual([3, 4])
    expect([...await run(file.read("half"))]).toEqual([65504, 2 ** -24])
    expect(await run(file.bytes("ids"))).toEqual(values.get("ids"))
    expect(await reasonOf(file.read("z", { from: 2, to: 4 }))).toBe("Rows")
  })
  test("a failing producer, an interruption or a value too large leave nothing behind", async () => {
    const at = join(folder, "whole"), path = join(at, "x.safetensors")
    await mkdir(at)
    expect(await Effect.runPromiseExit(Safetensors.write(path, planned, (name) => name === "a" ? Effect.fail("no") : produce(name)))).toEqual(Exit.fail("no"))
    await expect(Effect.runPromise(Safetensors.write(path, planned, () => Effect.never), { signal: AbortSignal.timeout(30) })).rejects.toThrow()
    expect(await reasonOf(Safetensors.write(path, [{ name: "a", dtype: "F16", shape: [1] }], () => Effect.succeed(Float32Array.of(65520))))).toBe("Value")
    expect(await readdir(at)).toEqual([])
    expect(await reasonOf(Safetensors.write(join(at, "nowhere", "x"), planned, produce))).toBe("Unwritable")
  })
  test("shards, index last, every tensor once; the folder reads as one", async () => {
    const at = join(folder, "sharded")
    await mkdir(at)
    const tensors = Array.from({ length: 5 }, (_, i) => ({ name: `t${i}`, dtype: "F32" as const, shape: [4] }))
    const give = (name: string) => Effect.succeed(new Float32Array(4).fill(Number(name.slice(1))))
    const files = await run(Safetensors.writeFolder(at, tensors, give, { shardBytes: 40 }))
    expect(files).toEqual(["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors", "model.safetensors.index.json"])
    expect((await readdir(at)).sort()).toEqual([...files].sort())
    expect(JSON.parse(await readFile(join(at, Safetensors.index), "utf8")).metadata.total_size).toBe(80)
    const weights = await run(Weights.fromFolder(at))
    expect([...weights.infos.keys()].sort()).toEqual(["t0", "t1", "t2", "t3", "t4"])
    expect([...await run(weights.read("t3", { from: 1, to: 2 }))]).toEqual([3])
    expect(await reasonOf(Safetensors.writeFolder(at, tensors, give))).toBe("Unwritable")
  })
  test("a shard that fails leaves no shard and no index", async () => {
    const at = join(folder, "broken")
    await mkdir(at)
    const tensors = ["a", "b", "c"].map((name) => ({ name, dtype: "F32" as const, shape: [4] }))
    await Effect.runPromiseExit(Safetensors.writeFolder(at, tensors, (name) => name === "c" ? Effect.fail("no") : Effect.succeed(new Float32Array(4)), { shardBytes: 16 }))
    expect(await readdir(at)).toEqual([])
  })
})

describe("a hostile folder", () => {
  const withIndex = async (name: string, index: string) => {
    const at = join(folder, name)
    await mkdir(at, { recursive: true })
    await writeFile(join(at, Safetensors.index), index)
    return at
  }
  const tensor = "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"
  test.each(["../../x.safetensors", "/etc/x.safetensors", "a/b.safetensors", "..", "x.bin", ".hidden.safetensors", "a\\b.safetensors", "a\0.safetensors"])("an index that points to %j", async (path) => {
    expect(await reasonOf(Safetensors.openFolder(await withIndex("index", JSON.stringify({ weight_map: { a: path } }))))).toBe("Index")
  })
  test("an index with two equal keys, or none at all", async () => {
    expect(await reasonOf(Safetensors.openFolder(await withIndex("index", "{\"weight_map\":{\"a\":\"x.safetensors\",\"a\":\"y.safetensors\"}}")))).toBe("Index")
    expect(await reasonOf(Safetensors.openFolder(await withIndex("index", "{}")))).toBe("Index")
    expect(await reasonOf(Safetensors.openFolder(join(folder, "nowhere")))).toBe("Unreadable")
    await mkdir(join(folder, "pickled"))
    await writeFile(join(folder, "pickled", "pytorch_model.bin"), "")
    expect(await reasonOf(Safetensors.openFolder(join(folder, "pickled")))).toBe("Absent")
  })
  test("a link that leaves the folder is refused, one into the blobs of a cache is followed", async () => {
    const outside = await made("outside.safetensors", tensor, 4)
    const at = await withIndex("link", "{\"weight_map\":{\"a\":\"x.safetensors\"}}")
    await symlink(outside, join(at, "x.safetensors"))
    expect(await reasonOf(Safetensors.openFolder(at))).toBe("Index")
    const snapshot = await withIndex("models--a--b/snapshots/0123", "{\"weight_map\":{\"a\":\"x.safetensors\"}}")
    await mkdir(join(folder, "models--a--b/blobs"))
    await made("models--a--b/blobs/abcd", tensor, 4)
    await symlink("../../blobs/abcd", join(snapshot, "x.safetensors"))
    expect([...(await run(Safetensors.openFolder(snapshot))).keys()]).toEqual(["a"])
  })
  test("index and shard that disagree, and a folder with two truths", async () => {
    const at = await withIndex("disagree", "{\"weight_map\":{\"b\":\"x.safetensors\"}}")
    await made("disagree/x.safetensors", tensor, 4)
    expect(await reasonOf(Safetensors.openFolder(at))).toBe("Index")
    await writeFile(join(at, Safetensors.index), "{\"weight_map\":{\"a\":\"x.safetensors\",\"b\":\"x.safetensors\"}}")
    expect(await reasonOf(Safetensors.openFolder(at))).toBe("Missing")
    await made("disagree/model.safetensors", tensor, 4)
    expect(await reasonOf(Safetensors.openFolder(at))).toBe("Index")
  })
})

test("a model of 6 GiB is read by rows, and one of 320 MB written, by a process that never holds 256 MB", async () => {
  const path = join(folder, "large.safetensors")
  const header = JSON.stringify({ a: { dtype: "BF16", shape: [1 << 20, 3 << 10], data_offsets: [0, 6 * 2 ** 30] } })
  await made("large.safetensors", header)
  await truncate(path, 8 + header.length + 6 * 2 ** 30) // sparse: takes no room
  const program = `
    import { Effect } from "effect"
    import * as Safetensors from "${new URL("./Safetensors.ts", import.meta.url).href}"
    const file = await Effect.runPromise(Safetensors.open(${JSON.stringify(path)}))
    let values = 0
    for (let row = 0; row < 1 << 20; row += 1 << 16) values += (await Effect.runPromise(file.read("a", { from: row, to: row + 200 }))).length
    const tensors = Array.from({ length: 40 }, (_, i) => ({ name: "t" + i, dtype: "BF16", shape: [2 << 20] }))
    await Effect.runPromise(Safetensors.write(${JSON.stringify(join(folder, "out.safetensors"))}, tensors, () => Effect.sync(() => new Float32Array(2 << 20))))
    console.log(JSON.stringify({ values, megabytes: process.resourceUsage().maxRSS / 1024 }))`
  const { stdout } = await promisify(execFile)(process.execPath, ["--max-old-space-size=64", "--import", "tsx", "--conditions=@switchyard/source", "--input-type=module", "-e", program])
  const { values, megabytes } = JSON.parse(stdout) as { values: number; megabytes: number }
  expect(values).toBe(16 * 200 * 3072)
  expect(megabytes).toBeLessThan(256)
}, 60_000)
