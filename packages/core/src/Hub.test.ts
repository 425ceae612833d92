import { getHFHubCachePath, getRepoFolderName } from "@huggingface/hub"
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "@jest/globals"
import { Effect, Exit } from "effect"
import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { chmodSync, existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs"
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Checkpoint from "./Checkpoint.ts"
import * as Corpus from "./Corpus.ts"
import type { Event } from "./Event.ts"
import { listening } from "./Event.ts"
import * as Hub from "./Hub.ts"
import * as hubCache from "./hubCache.ts"
import * as Model from "./Model.ts"
import * as Pipeline from "./Pipeline.ts"
import * as Random from "./Random.ts"
import * as Store from "./Store.ts"
import * as Tokenizer from "./Tokenizer.ts"
import * as Weights from "./Weights.ts"

const run = <A, E>(effect: Effect.Effect<A, E>) => Effect.runPromise(effect)
const failure = async <A, E extends Error>(effect: Effect.Effect<A, E>): Promise<Hub.HubError> => {
  const error = Exit.findErrorOption(await Effect.runPromiseExit(effect))
  if (error._tag === "None") throw new Error("it did not fail with a typed error")
  expect(error.value).toMatchObject({ _tag: "HubError" })
  return error.value as unknown as Hub.HubError
}

const id = "tiny/llama", commit = "0123456789abcdef0123456789abcdef01234567", moved = "f".repeat(40)
const model = {
  family: "llama", vocabulary: 260, hidden: 64, layers: 2, heads: 2, keyValueHeads: 1, headSize: 32, contextLength: 32, normEpsilon: 1e-5, ropeTheta: 10_000,
  tiedEmbeddings: false, feedForward: { kind: "dense", inner: 128 }, extra: {}
} as const
const checkpoint = Checkpoint.make({
  model, tokenizer: Tokenizer.bytes(),
  weights: Weights.fromMemory(new Map(Model.tensors(model).map(({ name, shape }) => [name, { shape, data: Random.fillNormal(Random.make(1, name), new Float32Array(shape.reduce((a, b) => a * b, 1))) }])))
})

// ---- a server that plays the hub: the model's files, as large files (SHA-256) or small ones (git's SHA-1)
interface Fault { drop?: number; corrupt?: boolean; ignoreRange?: boolean; status?: number; extra?: ReadonlyArray<object>; redirect?: boolean; busy?: number; linked?: string; hidden?: RegExp; next?: string; cut?: number; answer?: string }
let server: Server, endpoint: string, elsewhere: Server, elsewhereUrl: string, root: string, origin: string, cache: string
let fault: Fault, log: Array<{ url: string; range: string | undefined; token: string | undefined; host: string }>, sha: string
const gitHash = (content: Buffer) => createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex")
const sha256 = (content: Buffer) => createHash("sha256").update(content).digest("hex")
const isLarge = (name: string) => /\.(safetensors|bin)$/.test(name)

/** A data set: rows in a folder and a picture; in parquet, or with nothing that is read, when asked. */
const rowFiles = { "data/test.jsonl": "{\"question\":\"1\"}\n", "README.md": "---\nlicense: mit\n---\n", "cover.png": "no rows" }
let only: "parquet" | "pictures" | "splits" | undefined
const splitFiles = {
  "README.md": "---\nconfigs:\n- config_name: law\n  data_files:\n  - split: train\n    path: law/train-*\n  - split: test\n    path: law/test*\n- config_name: sea\n  data_files: sea/*\n---\n",
  "law/train-1.jsonl": "{\"text\":\"one\"}\n", "law/train-0.jsonl": "{\"text\":\"two\"}\n", "law/test.jsonl": "{\"text\":\"three\"}\n", "sea/all.jsonl": "{\"text\":\"four\"}\n", "cover.png": "no rows"
}
const documents = readFileSync(new URL("./fixtures/parquet/documents.parquet", import.meta.url))
const answerRows = (url: URL, json: (value: unknown, status?: number) => void, response: ServerResponse): void => {
  const files: Readonly<Record<string, string | Buffer>> = only === undefined ? rowFiles : only === "splits" ? splitFiles : { "README.md": rowFiles["README.md"], ...only === "parquet" ? { "data/test-00000-of-00001.parquet": documents } : { "a/cover.png": "no rows", "dataset_infos.json": "{}" } }
  const [first, ...rest] = url.pathname.slice(1).split("/"), parts = first === "api" ? rest.slice(1) : rest
  if (parts.slice(0, 2).join("/") !== "tiny/rows") json({ error: "Repository not found" }, 404)
  else if (parts[2] === "revision") json({ _id: "1", id: "tiny/rows", ...url.searchParams.getAll("expand").includes("sha") ? { sha } : {} })
  else if (parts[2] === "tree") json(Object.entries(files).map(([path, content]) => ({ type: "file", path, size: content.length, oid: gitHash(Buffer.from(content)) })))
  else response.end(files[decodeURIComponent(parts.slice(4).join("/"))])
}
const answer = (request: IncomingMessage, response: ServerResponse, host: string): void => {
  const url = new URL(request.url!, "http://x"), json = (value: unknown, status = 200, headers = {}) => response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(value))
  log.push({ url: request.url!, range: request.headers.range, token: request.headers.authorization, host })
  if (fault.busy !== undefined && fault.busy-- > 0) { json({}, 503); return }
  if (fault.status !== undefined) { json({ error: "no" }, fault.status, fault.status === 404 ? {} : { "x-error-message": "Access to it is restricted" }); return }
  if (/^\/(api\/)?datasets\//.test(url.pathname)) { answerRows(url, json, response); return }
  const names = readdirSync(origin).filter((name) => fault.hidden?.test(name) !== true).sort(), [, ...parts] = url.pathname.split("/")
  if (parts[0] === "api") {
    if (parts.slice(1, 4).join("/") !== `models/${id}`) { json({ error: "Repository not found" }, 404); return }
    // of a revision only what is asked for is told
    if (parts[4] === "revision") { json({ _id: "0", id, ...url.searchParams.getAll("expand").includes("sha") ? { sha } : {} }); return }
    if (fault.cut !== undefined && fault.cut-- > 0) { response.writeHead(200, { "content-length": 1000 }).write("[", () => response.socket!.end()); return }
    if (fault.answer !== undefined) { response.writeHead(200, { "content-type": "application/json" }).end(fault.answer); return }
    const entries = names.map((path) => {
      const content = readFileSync(join(origin, path))
      return { type: "file", path, size: content.length, oid: gitHash(content), ...isLarge(path) ? { oid: "e".repeat(40), lfs: { oid: sha256(content), size: content.length, pointerSize: 130 } } : {} }
    })
    const all = [{ type: "directory", oid: "d".repeat(40), size: 0, path: "original" }, ...entries, ...fault.extra ?? []]
    // two pages, as the hub gives long lists
    if (url.searchParams.get("cursor") === null) json(all.slice(0, 3), 200, { link: `<${fault.next ?? endpoint}${url.pathname}?recursive=true&cursor=abc>; rel="next"` })
    else json(all.slice(3))
    return
  }
  const name = decodeURIComponent(parts.at(-1)!), content = readFileSync(join(origin, name)), etag = isLarge(name) ? sha256(content) : gitHash(content)
  if (isLarge(name) && host === "hub" && fault.redirect !== false) {
    response.writeHead(302, { location: `${elsewhereUrl}/cdn/${name}?signature=secret`, "x-linked-etag": `"${fault.linked ?? etag}"`, "x-linked-size": content.length }).end()
    return
  }
  const from = fault.ignoreRange === true ? 0 : Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0), body = Buffer.from(content.subarray(from))
  if (fault.corrupt === true && isLarge(name)) body[body.length - 1]! ^= 1
  response.writeHead(from > 0 ? 206 : 200, { etag: `"${etag}"`, "content-length": body.length, ...from > 0 ? { "content-range": `bytes ${from}-${content.length - 1}/${content.length}` } : {} })
  if (fault.drop !== undefined && isLarge(name) && fault.drop-- > 0) { response.write(body.subarray(0, body.length >> 1), () => setTimeout(() => response.destroy(), 20)); return }
  response.end(body)
}
const listen = (own: Server) => new Promise<string>((resolve) => own.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${(own.address() as AddressInfo).port}`)))

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "hub-"))
  origin = join(root, "origin")
  await run(Checkpoint.write(checkpoint, origin))
  writeFileSync(join(origin, "pytorch_model.bin"), "a pickle")
  writeFileSync(join(origin, "modeling_tiny.py"), "raise SystemExit")
  writeFileSync(join(origin, "consolidated.safetensors"), "a second copy")
  server = createServer((request, response) => answer(request, response, "hub"))
  elsewhere = createServer((request, response) => answer(request, response, "elsewhere"))
  endpoint = await listen(server)
  elsewhereUrl = await listen(elsewhere)
})
afterAll(async () => {
  for (const own of [server, elsewhere]) await new Promise((resolve) => { own.closeAllConnections(); own.close(resolve) })
  rmSync(root, { recursive: true, force: true })
})
let caches = 0
const environment = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE"]
beforeEach(() => {
  for (const name of environment) delete process.env[name]
  fault = {}
  log = []
  sha = commit
  cache = join(root, `cache${caches++}`)
})
const fetched = (options: Hub.Options = {}, name = id) => Hub.fetch(name, { endpoint, cache, wait: 1, ...options })
const repository = () => join(cache, "models--tiny--llama")
const bodies = () => log.filter(({ url }) => !url.startsWith("/api/"))
const names = ["README.md", "config.json", "lineage.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
const blobs = () => readdirSync(join(repository(), "blobs"))
const weights = () => readFileSync(join(origin, "model.safetensors"))

describe("fetched", () => {
  test("in the standard layout: git and sha256sum agree with every blob's name, links are relative, the checkpoint opens with its values", async () => {
    const snapshot = await run(fetched({ token: "t0ken" }))
    expect(snapshot).toMatchObject({ id, revision: "main", commit, folder: join(repository(), "snapshots", commit), files: names, from: "hub" })
    expect(readFileSync(join(repository(), "refs", "main"), "utf8")).toBe(commit)
    expect(blobs().length).toBe(names.length)
    for (const blob of blobs()) {
      const path = join(repository(), "blobs", blob)
      expect((blob.length === 64 ? execFileSync("sha256sum", [path], { encoding: "utf8" }).split(" ")[0] : execFileSync("git", ["hash-object", path], { encoding: "utf8" }).trim())).toBe(blob)
    }
    expect(readlinkSync(join(snapshot.folder, "model.safetensors"))).toBe(`../../blobs/${sha256(weights())}`)
    const back = await run(Checkpoint.open(snapshot.folder))
    expect(await run(back.weights.read("layers.1.feedForward.up"))).toEqual(await run(checkpoint.weights.read("layers.1.feedForward.up")))
    // the token stays with the hub, also when it sends us elsewhere
    expect(new Set(log.filter(({ host }) => host === "hub").map(({ token }) => token))).toEqual(new Set(["Bearer t0ken"]))
    expect(log.filter(({ host }) => host === "elsewhere").map(({ token }) => token)).toEqual([undefined])
  })
  test("a second time no body is asked for; offline no request is made at all; the environment says where and whether", async () => {
    const first = await run(fetched())
    log = []
    expect(await run(fetched())).toEqual({ ...first, fetched: 0 })
    expect([bodies().length, log.length]).toEqual([0, 3])
    log = []
    Object.assign(process.env, { HF_HUB_CACHE: cache, HF_HUB_OFFLINE: "1", HF_ENDPOINT: endpoint })
    const offline = await run(Hub.fetch(id))
    expect(offline).toEqual({ ...first, from: "cache", fetched: 0 })
    expect((await run(Checkpoint.open(offline.folder))).header).toEqual((await run(Checkpoint.open(origin))).header)
    expect(log).toEqual([])
  })
  test("a moved branch is a new snapshot that shares the blobs; the old commit stays", async () => {
    await run(fetched())
    sha = moved
    log = []
    expect(await run(fetched())).toMatchObject({ commit: moved, fetched: 0 })
    expect(bodies()).toEqual([])
    expect((await run(Hub.cached(id, { cache, revision: commit }))).files).toEqual(names)
    expect((await run(Hub.cached(id, { cache }))).commit).toBe(moved)
  })
  test("progress counts every byte once, files are a choice, and two at once ask for each body once", async () => {
    const seen: Array<Hub.Progress> = []
    const [a, b] = await Promise.all([run(fetched({ progress: (progress) => { seen.push(progress) } })), run(fetched())])
    expect([a!.fetched + b!.fetched, seen.at(-1) ?? { done: 0 }]).toEqual([a!.fetched + b!.fetched, a!.fetched === 0 ? { done: 0 } : { file: "tokenizer_config.json", done: a!.fetched, total: a!.fetched }])
    expect(bodies().filter(({ host }) => host === "hub").length).toBe(names.length)
    expect(seen.every(({ done }, i) => i === 0 || done >= seen[i - 1]!.done)).toBe(true)
    expect((await run(fetched({ files: ["*.bin"] }))).files).toEqual(["pytorch_model.bin"])
  })
})

describe("a connection that breaks", () => {
  test("in mid-body: the rest alone is asked for, and the file is whole", async () => {
    fault = { drop: 2 }
    const { folder } = await run(fetched()), size = weights().length
    expect(readFileSync(join(folder, "model.safetensors")).equals(weights())).toBe(true)
    // half of it was sent, then half of the rest; a busy machine may have had less when the connection went
    const ranges = log.filter(({ url, host }) => host === "elsewhere" && url.includes("model.safetensors")).map(({ range }) => range), [, first, second] = ranges.map((range) => Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1]))
    expect([ranges.length, ranges[0], first! > 0, first! <= size >> 1, second! > first!, second! <= first! + ((size - first!) >> 1)]).toEqual([3, undefined, true, true, true, true])
  })
  test("too often: an error with file, address and remedy; the snapshot is not there, the next fetch goes on with what had come", async () => {
    fault.drop = 99
    const error = await failure(fetched({ retries: 1 }))
    expect(error).toMatchObject({ reason: "Network", file: "model.safetensors", id })
    expect(error.message).toMatch(/^tiny\/llama \(model\.safetensors; http:\/\/127\.0\.0\.1:\d+\/cdn\/model\.safetensors, status 206\): the connection broke after \d+ of \d+ bytes .*Remedy: .*goes on from there/)
    expect(existsSync(join(repository(), "snapshots"))).toBe(false)
    expect(blobs().filter((name) => name.endsWith(".incomplete"))).toEqual([`${sha256(weights())}.switchyard.incomplete`])
    fault = {}
    log = []
    const came = statSync(join(repository(), "blobs", `${sha256(weights())}.switchyard.incomplete`)).size
    expect([came > 0, came <= weights().length - Math.ceil(weights().length / 4)]).toEqual([true, true])
    expect((await run(fetched())).files).toEqual(names)
    expect(log.find(({ url }) => url.includes("cdn"))!.range).toBe(`bytes=${came}-`)
  })
  test("and a server that knows no ranges sends it all again; a server in trouble is asked again", async () => {
    fault = { drop: 1, ignoreRange: true, busy: 2 }
    const { folder } = await run(fetched())
    expect(readFileSync(join(folder, "model.safetensors")).equals(weights())).toBe(true)
    expect(blobs().some((name) => name.endsWith(".incomplete"))).toBe(false)
  })
  test("no network: what is cached is given, else an error that says so", async () => {
    const nowhere = { endpoint: "http://127.0.0.1:1", retries: 1 }
    const error = await failure(fetched(nowhere))
    expect(error).toMatchObject({ reason: "Network", url: "http://127.0.0.1:1/api/models/tiny/llama/revision/main" })
    expect(error.message).toMatch(/no connection \(ECONNREFUSED\)|no connection \(bad port\)/)
    await run(fetched())
    expect(await run(fetched(nowhere))).toMatchObject({ from: "cache", files: names })
  })
})

describe("refused", () => {
  test("a wrong hash: nothing of it stays", async () => {
    fault.corrupt = true
    const error = await failure(fetched())
    expect(error).toMatchObject({ reason: "WrongHash", file: "model.safetensors" })
    expect(error.message).toMatch(/its hash is [0-9a-f]{64}, promised was [0-9a-f]{64}/)
    expect(blobs().some((name) => name.startsWith(sha256(weights())))).toBe(false)
    fault = { linked: "0".repeat(64) }
    expect(await failure(fetched())).toMatchObject({ reason: "WrongHash" })
  })
  test.each([401, 403])("%i: says to set HF_TOKEN, and never tells the token", async (status) => {
    fault.status = status
    const error = await failure(fetched())
    expect(error).toMatchObject({ reason: "Unauthorized", status })
    expect(error.message).toMatch(/Access to it is restricted.*set HF_TOKEN.*accept the terms on http/)
    expect((await failure(fetched({ token: "t0ken" }))).message).not.toContain("t0ken")
    expect(log.length).toBe(2)
  })
  test("404: the nearest id of the cache", async () => {
    await run(fetched())
    const error = await failure(fetched({}, "tiny/lama"))
    expect(error).toMatchObject({ reason: "NotFound", status: 404, id: "tiny/lama" })
    expect(error.message).toMatch(/nearest id in the cache is tiny\/llama/)
    expect(await failure(Hub.cached("tiny/lama", { cache }))).toMatchObject({ reason: "Cache" })
  })
  test.each(["../../x.json", "/etc/x.json", "a/../../x.json", "..\\x.json", "a//x.json", "C:x.json", "config.json"])("%s in the list of files: before anything is written", async (path) => {
    fault.extra = [{ type: "file", path, size: 1, oid: "a".repeat(40) }]
    expect(await failure(fetched())).toMatchObject({ reason: "Unsafe", file: path })
    expect([existsSync(cache), bodies()]).toEqual([false, []])
  })
  test.each([["../x", "main"], ["a/b/c", "main"], ["", "main"], ["a--b", "main"], [id, "../../x"], [id, ""]])("id %j at %j", async (name, revision) => {
    expect(await failure(fetched({ revision }, name))).toMatchObject({ reason: "Invalid" })
    expect(log).toEqual([])
  })
  test("a list that goes on at another server: before the token is sent there", async () => {
    fault.next = elsewhereUrl
    expect(await failure(fetched({ token: "t0ken" }))).toMatchObject({ reason: "Unsafe", url: expect.stringContaining(elsewhereUrl) })
    expect(log.map(({ host }) => host)).toEqual(["hub", "hub"])
  })
  test.each(["{}", "[", "7", "null", "<html>"])("a list that is none: %s", async (answer) => {
    fault.answer = answer
    expect(await failure(fetched())).toMatchObject({ reason: "Answer", remedy: expect.stringMatching(/HF_ENDPOINT/) })
    expect(bodies()).toEqual([])
  })
  test("a list that breaks off is asked for again", async () => {
    fault.cut = 2
    expect((await run(fetched())).files).toEqual(names)
    fault.cut = 99
    expect(await failure(fetched({ retries: 1, revision: commit, cache: join(cache, "other") }))).toMatchObject({ reason: "Network", problem: expect.stringMatching(/^the connection broke \(/) })
  })
  test("entries without a hash", async () => {
    fault.extra = [{ type: "file", path: "x.json", size: 1, oid: "../../x" }]
    expect(await failure(fetched())).toMatchObject({ reason: "Answer", file: "x.json" })
  })
})

describe("the cache", () => {
  test("a corrupt blob: found by its name, fetched again alone; offline an error", async () => {
    const { folder } = await run(fetched()), blob = join(repository(), "blobs", sha256(weights())), bad = weights()
    bad[bad.length - 3]! ^= 4
    writeFileSync(blob, bad)
    const error = await failure(Hub.verify(id, { cache, offline: true }))
    expect(error).toMatchObject({ reason: "WrongHash", file: join(folder, "model.safetensors") })
    log = []
    const rows = await run(Hub.verify(id, { cache, endpoint }))
    expect(rows.filter(({ state }) => state !== "intact")).toEqual([{ file: "model.safetensors", state: "fetched again" }])
    expect(bodies().map(({ host }) => host)).toEqual(["hub", "elsewhere"])
    expect(readFileSync(blob).equals(weights())).toBe(true)
    expect((await run(Hub.verify(id, { cache, offline: true }))).every(({ state }) => state === "intact")).toBe(true)
  })
  test("a shortened blob is fetched again; a link that leads outside and a note that is no commit are refused", async () => {
    const { folder } = await run(fetched())
    writeFileSync(join(repository(), "blobs", sha256(weights())), "short")
    expect((await run(fetched())).fetched).toBe(weights().length)
    writeFileSync(join(root, "outside.json"), "{}")
    symlinkSync(join(root, "outside.json"), join(folder, "generation_config.json"))
    expect(await failure(Hub.cached(id, { cache }))).toMatchObject({ reason: "Unsafe", file: join(folder, "generation_config.json") })
    writeFileSync(join(repository(), "refs", "main"), "../../../x")
    expect(await failure(Hub.cached(id, { cache }))).toMatchObject({ reason: "Cache", file: join(repository(), "refs", "main") })
  })
  test("read-only and whole: a fetch writes nothing; revisions with slashes have their own notes", async () => {
    await run(fetched())
    await run(fetched({ revision: "refs/pr/1" }))
    expect(readFileSync(join(repository(), "refs", "refs", "pr", "1"), "utf8")).toBe(commit)
    const before = readdirSync(cache, { recursive: true }).sort(), times = lstatSync(join(repository(), "refs", "main")).mtimeMs
    chmodSync(cache, 0o555)
    try { expect((await run(fetched())).fetched).toBe(0) } finally { chmodSync(cache, 0o755) }
    expect([readdirSync(cache, { recursive: true }).sort(), lstatSync(join(repository(), "refs", "main")).mtimeMs]).toEqual([before, times])
  })
  test("a snapshot's folder that is a link elsewhere is not written through", async () => {
    await run(fetched())
    const { folder } = await run(fetched()), out = mkdtempSync(join(root, "out-"))
    rmSync(folder, { recursive: true })
    symlinkSync(out, folder)
    expect(await failure(fetched())).toMatchObject({ reason: "Unsafe" })
    expect(readdirSync(out)).toEqual([])
  })
  test("located by path or by id with a revision; from a whole cache without a request; what is neither says both", async () => {
    expect(await run(Hub.locate(origin))).toBe(origin)
    const at = { endpoint, cache, wait: 1 }, folder = await run(Hub.locate(`${id}@refs/pr/1`, at))
    expect([folder, readFileSync(join(repository(), "refs", "refs", "pr", "1"), "utf8")]).toEqual([join(repository(), "snapshots", commit), commit])
    log = []
    expect(await run(Hub.locate(`${id}@${commit}`, at))).toBe(folder)
    expect(log).toEqual([])
    expect((await failure(Hub.locate("no/such/folder", at))).message).toMatch(/there is no such folder, and this is no model's id\. Remedy: check the path; for an id of the hub write org\/name/)
    expect(await failure(Hub.locate("tiny/lama", at))).toMatchObject({ reason: "NotFound", status: 404, problem: "there is no such folder, and the hub does not have it" })
  })
  test("stopped in mid-body: what came stays, and the next fetch goes on from there", async () => {
    const controller = new AbortController(), half = weights().length >> 1
    fault = { drop: 1 }
    await Effect.runPromiseExit(fetched({ wait: 60_000, progress: ({ file }) => { if (file === "model.safetensors") setTimeout(() => controller.abort(), 100) } }), { signal: controller.signal })
    const came = statSync(join(repository(), "blobs", `${sha256(weights())}.switchyard.incomplete`)).size
    log = []
    expect((await run(fetched())).files).toEqual(names)
    expect([came > 0, came <= half]).toEqual([true, true])
    expect(log.find(({ url }) => url.includes("cdn"))!.range).toBe(`bytes=${came}-`)
  })
  test("where it is", () => {
    expect(hubCache.root({ HF_HUB_CACHE: "/a", HF_HOME: "/b", XDG_CACHE_HOME: "/c" })).toBe("/a")
    expect(hubCache.root({ HF_HOME: "/b", XDG_CACHE_HOME: "/c" })).toBe("/b/hub")
    expect(hubCache.root({ XDG_CACHE_HOME: "/c" })).toBe("/c/huggingface/hub")
    expect(hubCache.root({})).toMatch(/\.cache\/huggingface\/hub$/)
    // and what it is called: as @huggingface/hub has it
    for (const set of [{}, { XDG_CACHE_HOME: "/c" }, { HF_HOME: "/b", XDG_CACHE_HOME: "/c" }, { HUGGINGFACE_HUB_CACHE: "/d", HF_HOME: "/b" }, { HF_HUB_CACHE: "/a", HUGGINGFACE_HUB_CACHE: "/d" }]) {
      for (const name of environment) delete process.env[name]
      Object.assign(process.env, set)
      expect(hubCache.root()).toBe(getHFHubCachePath())
    }
    for (const kind of ["model", "dataset"] as const) for (const name of ["gpt2", "a/b", "a-b/c.d_e"]) expect(hubCache.repository("/c", name, "main", kind).folder).toBe(`/c/${getRepoFolderName({ type: kind, name })}`)
  })
})

describe("a data set", () => {
  const at = () => ({ endpoint, cache, wait: 1, kind: "dataset" as const })
  test("is fetched beside models into its own folder: rows and card, from any depth; then offline, without a request", async () => {
    const folder = await run(Hub.locate("tiny/rows@v1", at()))
    expect(folder).toBe(join(cache, "datasets--tiny--rows", "snapshots", commit))
    expect(readdirSync(folder, { recursive: true }).sort()).toEqual(["README.md", "data", join("data", "test.jsonl")])
    expect(readFileSync(join(folder, "data", "test.jsonl"), "utf8")).toBe(rowFiles["data/test.jsonl"])
    expect(log.some(({ url }) => url === `/datasets/tiny/rows/resolve/${commit}/data/test.jsonl`)).toBe(true)
    log = []
    expect([await run(Hub.locate("tiny/rows@v1", { ...at(), offline: true })), log]).toEqual([folder, []])
    expect(await failure(Hub.locate("tiny/row", { ...at(), offline: true }))).toMatchObject({ reason: "Cache", remedy: expect.stringMatching(/nearest id in the cache is tiny\/rows/) })
    // a model of the same name is another thing
    expect(await failure(Hub.locate("tiny/rows", { ...at(), kind: "model" }))).toMatchObject({ status: 404 })
  })
  test("in parquet alone: its files, which a corpus is made of; with nothing that is read: an error that names the forms", async () => {
    try {
      only = "parquet"
      const file = join(await run(Hub.locate("tiny/rows", at())), "data", "test-00000-of-00001.parquet")
      const corpus = Pipeline.make("texts", () => ({ corpus: Corpus.load({ at: { _tag: "File", path: file }, domain: "texts" }) }))
      const { corpus: found } = await run(Effect.provide(Pipeline.run(corpus), Store.temporary))
      expect([found.header.documents, found.documents.find((document) => document.id === "d7")?.text]).toEqual([40, expect.stringMatching(/^w259 w260 w263 /)])
      only = "pictures"
      expect((await failure(Hub.locate("tiny/rows@v2", at()))).message).toMatch(/^tiny\/rows: .*none of its 3 files has rows in a form that is read \(parquet, jsonl, json, csv, txt\)\. Remedy: .*tiny\/rows@refs\/convert\/parquet/)
    } finally { only = undefined }
  })
})

describe("a split of a data set", () => {
  beforeEach(() => { only = "splits" })
  afterAll(() => { only = undefined })
  const at = () => ({ endpoint, cache, wait: 1 }), top = () => join(cache, "datasets--tiny--rows", "snapshots", commit)
  const brought = () => log.filter(({ url }) => url.includes("/resolve/")).map(({ url }) => url.split(`${commit}/`)[1]!)
  const held = () => readdirSync(top(), { recursive: true, encoding: "utf8" }).filter((path) => path.includes(".")).sort()
  const law = (split: string, options: Hub.Options = {}) => Hub.split("tiny/rows", { configuration: "law", split, ...at(), ...options })
  test("its files alone, in order; another one is added to the same snapshot, all of them by locate, nothing twice; offline what is here, without a request", async () => {
    expect(await run(law("train"))).toEqual(["law/train-0.jsonl", "law/train-1.jsonl"].map((path) => join(top(), path)))
    expect(brought().sort()).toEqual(["README.md", "law/train-0.jsonl", "law/train-1.jsonl"])
    log = []
    expect([await run(law("train")), log]).toEqual([["law/train-0.jsonl", "law/train-1.jsonl"].map((path) => join(top(), path)), []])
    expect([(await run(law("train", { offline: true }))).length, log]).toEqual([2, []])
    const absent = { reason: "Cache", file: "law/test.jsonl", problem: expect.stringMatching(/only a part of revision main without this file, and we are offline/) }
    expect(await failure(law("test", { offline: true }))).toMatchObject(absent)
    expect(await failure(Hub.locate("tiny/rows", { ...at(), kind: "dataset", offline: true }))).toMatchObject({ reason: "Cache", problem: expect.stringMatching(/without this and 1 other files/) })
    // the branch moves on the hub: the cache's note holds, and the second split is the same revision's
    sha = moved
    expect([await run(law("test")), brought(), log.length]).toEqual([[join(top(), "law", "test.jsonl")], ["law/test.jsonl"], 1])
    log = []
    expect([await run(Hub.locate("tiny/rows", { ...at(), kind: "dataset" })), brought()]).toEqual([top(), ["sea/all.jsonl"]])
    expect(held()).toEqual(["README.md", "law/test.jsonl", "law/train-0.jsonl", "law/train-1.jsonl", "sea/all.jsonl"])
    log = []
    expect([await run(Hub.locate("tiny/rows", { ...at(), kind: "dataset" })), log]).toEqual([top(), []])
  })
  test("one that there is not, or a configuration that is not clear: typed, with the names there are, and nothing fetched but the card", async () => {
    expect((await failure(law("dev"))).message).toMatch(/its configuration law has no split dev\. Remedy: name one of its splits: train, test\./)
    expect((await failure(Hub.split("tiny/rows", { ...at(), split: "train" }))).message).toMatch(/it has several configurations and no default\. Remedy: name one of its configurations: law, sea\./)
    expect((await failure(Hub.split("tiny/rows", { ...at(), configuration: "air", split: "train" }))).message).toMatch(/it has no configuration air\. Remedy: .*law, sea/)
    expect(await failure(Effect.flatMap(Hub.dataset("tiny/rows", at()), ({ bring }) => bring(["law/dev.jsonl"])))).toMatchObject({ reason: "NotFound", file: "law/dev.jsonl" })
    expect(brought()).toEqual(["README.md"])
  })
  test("a cache that other tools filled is asked once what it should have; where nobody answers, what is there counts; a damaged or false note is asked for again", async () => {
    const note = () => join(cache, "datasets--tiny--rows", ".switchyard", `${commit}.json`)
    await run(law("test"))
    rmSync(note())
    log = []
    expect(await run(law("test"))).toEqual([join(top(), "law", "test.jsonl")])
    expect([log.length, brought()]).toEqual([1, []])
    rmSync(note())
    const nobody = { endpoint: "http://127.0.0.1:9", retries: 0 }
    expect(await run(law("test", nobody))).toEqual([join(top(), "law", "test.jsonl")])
    expect(await failure(law("train", nobody))).toMatchObject({ reason: "NotFound", problem: "its configuration law has no split train" })
    for (const text of ["[", "{}", "[{\"path\":\"../x\",\"size\":1,\"hash\":\"00\"}]"]) {
      writeFileSync(note(), text)
      expect(await run(law("test"))).toHaveLength(1)
      expect(JSON.parse(readFileSync(note(), "utf8"))).toHaveLength(6)
    }
    writeFileSync(note(), readFileSync(note(), "utf8").replace(gitHash(Buffer.from(splitFiles["sea/all.jsonl"])), "0".repeat(40)))
    const sea = Hub.split("tiny/rows", { ...at(), configuration: "sea", split: "train" })
    expect(await failure(sea)).toMatchObject({ reason: "WrongHash", file: "sea/all.jsonl" })
    expect(await run(sea)).toEqual([join(top(), "sea", "all.jsonl")])
  })
})

describe("in a pipeline", () => {
  const pipeline = Pipeline.make("hub", () => ({ model: Hub.load({ id }) }))
  const within = <A, E>(effect: Effect.Effect<A, E, Store.Store>) => run(Effect.provide(effect, Store.temporary))
  test("planned from the small files alone, run, kept; its key is the commit's, and it runs offline", async () => {
    Object.assign(process.env, { HF_HUB_CACHE: cache, HF_ENDPOINT: endpoint })
    await within(Effect.gen(function*() {
      const [planned] = yield* Pipeline.plan(pipeline)
      expect(planned).toMatchObject({ status: "to do", header: { form: "dense", parameters: Model.parameters(model), tokenizer: Tokenizer.bytes().hash } })
      expect(bodies().some(({ url }) => url.includes("model.safetensors"))).toBe(false)
      const events: Array<Event> = []
      const { model: loaded } = yield* listening(Pipeline.run(pipeline), (event) => { events.push(event) })
      expect(loaded.lineage.at(-1)).toMatchObject({ stage: "hub/load", key: planned!.key, facts: { id, revision: "main", commit } })
      expect(yield* loaded.weights.read("embedding")).toEqual(yield* checkpoint.weights.read("embedding"))
      expect(events.some((event) => event._tag === "Progress" && event.unit === "bytes" && event.done === event.total)).toBe(true)
      // the branch moves on the hub: the cache's note holds until a fetch
      sha = moved
      process.env["HF_HUB_OFFLINE"] = "1"
      log = []
      expect((yield* Pipeline.plan(pipeline))[0]).toMatchObject({ key: planned!.key, status: "kept" })
      expect(log).toEqual([])
      yield* Hub.fetch(id, { offline: false })
      const [again] = yield* Pipeline.plan(pipeline)
      expect([again!.key === planned!.key, again!.status]).toEqual([false, "to do"])
      expect((yield* Pipeline.run(pipeline)).model.lineage.at(-1)!.facts["commit"]).toBe(moved)
    }))
  })
  test("offline and unknown, half there and offline, of the other form: typed, before any work", async () => {
    Object.assign(process.env, { HF_HUB_CACHE: cache, HF_ENDPOINT: endpoint, HF_HUB_OFFLINE: "1" })
    const refusal = (of: typeof pipeline) => Effect.runPromiseExit(Effect.provide(Pipeline.plan(of), Store.temporary)).then((exit) => Exit.findErrorOption(exit)).then((error) => error._tag === "Some" ? (error.value as Error).message : "none")
    expect(await refusal(pipeline)).toMatch(/^tiny\/llama: revision main is not in the cache .*, and we are offline\. Remedy: fetch it once with a network/)
    expect(existsSync(cache)).toBe(false)
    await run(fetched({ files: ["config.json"], offline: false }))
    expect(await refusal(pipeline)).toMatch(/the cache has only a part of revision main, and we are offline/)
    delete process.env["HF_HUB_OFFLINE"]
    fault.hidden = /safetensors/
    expect(await refusal(pipeline)).toMatch(/revision main has no weights in safetensors\. Remedy: .*convert/)
    fault = {}
    expect(await refusal(Pipeline.make("other", () => ({ model: Hub.loadMixture({ id }) })) as never)).toMatch(/it holds a dense model, not a mixture one.*Hub\.load/)
  })

  test("Checkpoint.load takes the same names: a path counts by content, an id by its commit; offline from the cache; errors say both", async () => {
    Object.assign(process.env, { HF_HUB_CACHE: cache, HF_ENDPOINT: endpoint })
    const of = (at: Parameters<typeof Checkpoint.load>[0]["at"]) => Pipeline.make("named", () => ({ model: Checkpoint.load({ at }) }))
    await within(Effect.gen(function*() {
      const [named] = yield* Pipeline.plan(of(`${id}@main`))
      expect(named).toMatchObject({ status: "to do", header: { form: "dense", parameters: Model.parameters(model) } })
      expect(bodies().some(({ url }) => url.includes("model.safetensors"))).toBe(false)
      const { model: loaded } = yield* Pipeline.run(of(`${id}@main`))
      expect(loaded.lineage.at(-1)).toMatchObject({ stage: "checkpoint/load", facts: { id, revision: "main", commit } })
      expect(yield* loaded.weights.read("norm")).toEqual(yield* checkpoint.weights.read("norm"))
      Object.assign(process.env, { HF_HUB_OFFLINE: "1" })
      log = []
      expect((yield* Pipeline.plan(of(`${id}@main`)))[0]).toMatchObject({ key: named!.key, status: "kept" })
      yield* Pipeline.run(of(`${id}@${commit}`))
      expect(log).toEqual([])
      delete process.env["HF_HUB_OFFLINE"]
      sha = moved
      yield* Hub.fetch(id)
      expect((yield* Pipeline.plan(of(`${id}@main`)))[0]!.key).not.toBe(named!.key)
      // a path as text and as a file are one
      const [[text], [file]] = [yield* Pipeline.plan(of(origin)), yield* Pipeline.plan(of({ _tag: "File", path: origin }))]
      expect([text!.key, text!.header]).toEqual([file!.key, file!.header])
      expect((yield* Pipeline.run(of(origin))).model.lineage.at(-1)!.facts).toEqual({ folder: "origin", family: "llama" })
    }))
    const refusal = (at: string) => Effect.runPromiseExit(Effect.provide(Pipeline.plan(of(at)), Store.temporary)).then((exit) => Exit.findErrorOption(exit)).then((error) => error._tag === "Some" ? (error.value as Error).message : "none")
    expect(await refusal("no/such/folder")).toMatch(/there is no such folder, and this is no model's id/)
    expect(await refusal("tiny/lama")).toMatch(/there is no such folder, and the hub does not have it/)
    const other = Pipeline.make("other", () => ({ model: Checkpoint.loadMixture({ at: id }) }))
    expect(await Effect.runPromise(Effect.provide(Effect.flip(Pipeline.plan(other)), Store.temporary))).toMatchObject({ message: expect.stringMatching(/it holds a dense model, not a mixture one.*Checkpoint\.load/) })
  })
  test("what another tool fetched without its tokenizer is a part: the rest is fetched before it is opened; offline that is said", async () => {
    Object.assign(process.env, { HF_HUB_CACHE: cache, HF_ENDPOINT: endpoint })
    await run(fetched({ files: ["config.json", "*.safetensors"] }))
    process.env["HF_HUB_OFFLINE"] = "1"
    const plan = Effect.provide(Pipeline.plan(Pipeline.make("part", () => ({ model: Checkpoint.load({ at: id }) }))), Store.temporary)
    expect((await run(Effect.flip(plan))).message).toMatch(/the cache has only a part of revision main, and we are offline\. Remedy: .*fetch it once/)
    delete process.env["HF_HUB_OFFLINE"]
    log = []
    expect((await run(Hub.open(id))).tokenizer.hash).toBe(Tokenizer.bytes().hash)
    expect(bodies().filter(({ url }) => url.endsWith("model.safetensors"))).toEqual([])
  })
  test("Hub.open takes a folder and an id", async () => {
    for (const name of [origin, id]) expect((await run(Hub.open(name, { endpoint, cache, wait: 1 }))).header.parameters).toBe(Model.parameters(model))
  })
})
