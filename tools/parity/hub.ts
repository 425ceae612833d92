/**
 * Our cache against huggingface_hub's, both ways, with a server of our own that plays the hub: what Python fetched we open offline, what we fetched Python
 * opens offline, lists without a warning, and does not fetch again.
 *
 *     node --import tsx --conditions=@switchyard/source tools/parity/hub.ts
 */
import { Checkpoint, Hub } from "@switchyard/core"
import { Effect } from "effect"
import assert from "node:assert/strict"
import { execFile } from "node:child_process"
import { createHash } from "node:crypto"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

const id = "switchyard/seed", commit = "0123456789abcdef0123456789abcdef01234567"
const origin = fileURLToPath(new URL("../../models/seed", import.meta.url)), root = mkdtempSync(join(tmpdir(), "hub-"))
const about = (path: string) => {
  const content = readFileSync(join(origin, path)), large = path.endsWith(".safetensors")
  const hash = large ? createHash("sha256").update(content).digest("hex") : createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex")
  return { path, content, large, hash }
}
const files = readdirSync(origin).map(about)
const bodies: Array<string> = []
const server = createServer((request, response) => {
  const parts = new URL(request.url!, "http://hub").pathname.split("/").slice(1)
  const json = (value: unknown) => response.writeHead(200, { "content-type": "application/json", "x-repo-commit": commit }).end(JSON.stringify(value))
  if (parts[0] === "api" && parts[4] === "tree") {
    json(files.map(({ path, content, large, hash }) => ({ type: "file", path, size: content.length, oid: large ? "e".repeat(40) : hash, ...large ? { lfs: { oid: hash, size: content.length, pointerSize: 130 } } : {} })))
  } else if (parts[0] === "api") json({ id, modelId: id, sha: commit, siblings: files.map(({ path }) => ({ rfilename: path })), tags: [], private: false, downloads: 0, likes: 0 })
  else {
    const file = files.find(({ path }) => path === decodeURIComponent(parts.at(-1)!))
    if (file === undefined) { response.writeHead(404).end(); return }
    response.writeHead(200, { etag: `"${file.hash}"`, "x-repo-commit": commit, "content-length": file.content.length, ...file.large ? { "x-linked-etag": `"${file.hash}"`, "x-linked-size": file.content.length } : {} })
    if (request.method === "HEAD") { response.end(); return }
    bodies.push(file.path)
    response.end(file.content)
  }
})
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()))
const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
const python = async (cache: string, offline: boolean) => {
  const script = "import json, sys\nfrom huggingface_hub import snapshot_download, scan_cache_dir, __version__\n" +
    "path = snapshot_download(sys.argv[1], cache_dir=sys.argv[2])\ninfo = scan_cache_dir(sys.argv[2])\n" +
    "print(json.dumps([path, [str(w) for w in info.warnings], [[r.repo_id, r.nb_files, r.size_on_disk] for r in info.repos], __version__]))"
  const { stdout } = await promisify(execFile)("python3", ["-c", script, id, cache], { env: { ...process.env, HF_ENDPOINT: endpoint, HF_HUB_OFFLINE: offline ? "1" : "0", HF_HUB_DISABLE_TELEMETRY: "1" } })
  return JSON.parse(stdout.trim().split("\n").at(-1)!) as [string, Array<string>, Array<[string, number, number]>, string]
}
try {
  const theirs = join(root, "theirs"), ours = join(root, "ours"), bytes = files.reduce((sum, { content }) => sum + content.length, 0)
  const [path, , , version] = await python(theirs, false)
  const read = await Effect.runPromise(Hub.fetch(id, { cache: theirs, offline: true }))
  assert.deepEqual([read.folder, read.commit, read.files], [path, commit, files.map((file) => file.path).sort()])
  for (const { state } of await Effect.runPromise(Hub.verify(id, { cache: theirs, offline: true }))) assert.equal(state, "intact")
  const { header } = await Effect.runPromise(Checkpoint.open(read.folder))

  bodies.length = 0
  const written = await Effect.runPromise(Hub.fetch(id, { cache: ours, endpoint }))
  assert.deepEqual([written.fetched, [...bodies].sort()], [bytes, files.map((file) => file.path).sort()])
  assert.deepEqual((await python(ours, true)).slice(0, 3), [written.folder, [], [[id, files.length, bytes]]])
  bodies.length = 0
  await python(ours, false)
  assert.deepEqual(bodies, [])
  console.log(`huggingface_hub ${version}: ${files.length} files, ${bytes} bytes, ${header.parameters} parameters; each reads the other's cache offline, nothing is fetched twice, no warning`)
} finally {
  server.close()
  server.closeAllConnections()
  rmSync(root, { recursive: true, force: true })
}
