/**
 * What is asked of a model hub: which commit a revision is and which files it has, through `@huggingface/hub`, loaded with the first question; and a file's bytes
 * from a given one on, which that library cannot give (docs/hub.md says why).
 *
 * The library asks through a `fetch` of ours. The token goes to the hub's own origin and nowhere else, also after a redirect. A connection that breaks is tried
 * again a bounded number of times, each time after twice the wait, and a file goes on at the byte where it stopped.
 */
import { mkdir, open, rename, rm, stat } from "node:fs/promises"
import { dirname } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { flushFolder } from "./File.ts"
import { beginHash, blobPath, type Entry, feed, isSafe, type Repository, suggestion } from "./hubCache.ts"
import { HubError, type Reason } from "./HubError.ts"

/** How to ask. Units: `wait` milliseconds before the first repetition. */
export interface Connection { readonly endpoint: string; readonly token: string | undefined; readonly retries: number; readonly wait: number; readonly of: Repository; readonly signal: AbortSignal }

/** The address of the model's or data set's page. */
const page = ({ endpoint, of }: Connection): string => `${endpoint}/${of.kind === "dataset" ? "datasets/" : ""}${of.id}`

type About = { readonly file?: string; readonly url: string; readonly status?: number }
const wrong = ({ of }: Connection, reason: Reason, about: About, problem: string, remedy: string) => new HubError({ id: of.id, reason, problem, remedy, ...about })
const online = "check the network and the endpoint (HF_ENDPOINT); what has arrived is kept and the next fetch goes on from there. With HF_HUB_OFFLINE=1 only the cache is used"

const reasonOf = (error: unknown): string => {
  const { message, cause } = error as Error & { readonly cause?: Error & { readonly code?: string } }
  return cause === undefined ? message : `${cause.code ?? cause.message}`
}

const refusal = async (hub: Connection, about: About & { readonly status: number }, said: string | null): Promise<HubError> => {
  const { status } = about, quoted = said === null ? "" : ` (${said.replace(/\s+/g, " ").slice(0, 200)})`
  if (status === 401 || status === 403) {
    const remedy = `${hub.token === undefined ? "set HF_TOKEN to a token that may read it" : "use a token that may read it"}; accept the terms on ${page(hub)} first when it is gated, and check the id, since a hub answers the same to a wrong one`
    return wrong(hub, "Unauthorized", about, `the hub does not let us read it${quoted}`, `${remedy}${await suggestion(hub.of)}`)
  }
  if (status === 404) return wrong(hub, "NotFound", about, `the hub does not have it${quoted}`, `check the id, the revision and the file's name${await suggestion(hub.of)}`)
  if (status === 408 || status === 429 || status >= 500) return wrong(hub, "Network", about, `the hub is in trouble${quoted}`, "wait a while, then fetch again")
  return wrong(hub, "Answer", about, `the hub refused${quoted}`, "check the endpoint (HF_ENDPOINT)")
}

/** One answer with its body unread, after redirects. */
const ask = async (hub: Connection, first: URL, headers: Readonly<Record<string, string>>, entry?: Entry): Promise<{ readonly response: Response; readonly url: string }> => {
  const origin = new URL(hub.endpoint).origin
  let url = first
  for (let hops = 0; hops < 6; hops++) {
    const about: About = { url: url.href.replace(/\?.*$/, ""), ...entry === undefined ? {} : { file: entry.path } }
    const response = await fetch(url, {
      redirect: "manual", signal: hub.signal, headers: { ...headers, "accept-encoding": "identity", ...hub.token !== undefined && url.origin === origin ? { authorization: `Bearer ${hub.token}` } : {} }
    }).catch((error: unknown) => { hub.signal.throwIfAborted(); throw wrong(hub, "Network", about, `no connection (${reasonOf(error)})`, online) })
    const { status } = response, location = response.headers.get("location")
    const linked = response.headers.get("x-linked-etag")?.replace(/^(?:W\/)?"|"$/g, ""), size = response.headers.get("x-linked-size")
    if (entry !== undefined && status < 400 && ((linked?.length === entry.hash.length && linked !== entry.hash) || (size !== null && Number(size) !== entry.size))) {
      await response.body?.cancel()
      throw wrong(hub, "WrongHash", { ...about, status }, `the hub lists ${entry.hash} of ${entry.size} bytes and would send ${linked ?? "it"} of ${size ?? "unknown"}`, "fetch again, and do not trust the server when it happens twice")
    }
    if (status < 300 || status === 416) return { response, url: about.url }
    const said = response.headers.get("x-error-message")
    await response.body?.cancel()
    if (status >= 400 || location === null) throw await refusal(hub, { ...about, status }, said)
    url = new URL(location, url)
    if (url.protocol !== "http:" && url.protocol !== "https:") throw wrong(hub, "Unsafe", { ...about, status }, `it redirects to ${url.protocol}`, "check the endpoint (HF_ENDPOINT)")
  }
  throw wrong(hub, "Answer", { url: first.href }, "it redirects in a circle", "check the endpoint (HF_ENDPOINT)")
}

const patiently = async <A>(hub: Connection, attempt: () => Promise<A>): Promise<A> => {
  for (let tries = 0;; tries++) {
    try { return await attempt() } catch (error) {
      if (!(error instanceof HubError) || error.reason !== "Network" || tries >= hub.retries) throw error
      await sleep(hub.wait * 2 ** tries, undefined, { signal: hub.signal })
    }
  }
}

/** Larger answers to one question, or more of them, are no list of files. Units: bytes. */
const most = { bytes: 256 << 20, answers: 1000 }
const answered = (hub: Connection, problem: string, about: About = { url: page(hub) }) => wrong(hub, "Answer", about, problem, "check the endpoint (HF_ENDPOINT)")
/** The `fetch` that the library asks one question through: of the hub's own origin alone, and so much; what goes wrong is a HubError. */
const asking = (hub: Connection): typeof fetch => {
  let bytes = 0, answers = 0
  return async (input, init) => {
    const first = new URL(String(input)), { response, url } = first.origin === new URL(hub.endpoint).origin ? await ask(hub, first, Object.fromEntries(new Headers(init?.headers)))
      : (() => { throw wrong(hub, "Unsafe", { url: first.href }, "the list goes on at another server", "check the endpoint (HF_ENDPOINT)") })()
    const counted = new TransformStream<Uint8Array, Uint8Array>({ transform: (part, on) => (bytes += part.length) > most.bytes ? on.error(answered(hub, `the answer is longer than ${most.bytes} bytes`, { url })) : on.enqueue(part) })
    if (++answers > most.answers) throw answered(hub, "the list of files does not end", { url })
    return new Response(response.body?.pipeThrough(counted) ?? null, { headers: response.headers })
  }
}

/** A question put through the library, which is loaded with the first. Fails: throws HubError, also for an answer that the library cannot read. */
const through = <A>(hub: Connection, put: (library: typeof import("@huggingface/hub"), given: { readonly hubUrl: string; readonly fetch: typeof fetch }) => Promise<A>): Promise<A> => patiently(hub, async () => {
  try { return await put(await import("@huggingface/hub"), { hubUrl: hub.endpoint, fetch: asking(hub) }) } catch (error) {
    hub.signal.throwIfAborted()
    if (error instanceof HubError) throw error
    throw (error as Error).cause === undefined ? answered(hub, `its answer cannot be read (${reasonOf(error)})`) : wrong(hub, "Network", { url: page(hub) }, `the connection broke (${reasonOf(error)})`, online)
  }
})

/** The commit that a revision is now. Fails: throws HubError. */
export const commitAt = (hub: Connection, revision: string): Promise<string> => through(hub, async ({ datasetInfo, modelInfo }, given) => {
  const about = { ...given, name: hub.of.id, revision, additionalFields: ["sha" as const] }, { sha } = hub.of.kind === "model" ? await modelInfo(about) : await datasetInfo(about)
  if (typeof sha !== "string" || !/^[0-9a-f]{40}$/.test(sha)) throw answered(hub, "the answer names no commit")
  return sha
})

/** Every file of a commit. Fails: throws HubError, also for a name that leads out of its folder. */
export const tree = (hub: Connection, commit: string): Promise<ReadonlyArray<Entry>> => through(hub, async ({ listFiles }, given) => {
  const entries = new Map<string, Entry>(), at: About = { url: page(hub) }
  for await (const item of listFiles({ ...given, repo: { type: hub.of.kind, name: hub.of.id }, revision: commit, recursive: true })) {
    if (item.type !== "file") continue
    const { path } = item, hash = item.lfs?.oid ?? item.oid, size = item.lfs?.size ?? item.size
    if (typeof path !== "string" || typeof hash !== "string" || !/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(hash) || !Number.isSafeInteger(size) || size < 0) {
      throw answered(hub, "it is listed without a path, a size or a hash", { ...at, file: String(path) })
    }
    if (!isSafe(path) || entries.has(path)) throw wrong(hub, "Unsafe", { ...at, file: path }, entries.has(path) ? "it is listed twice" : "this name leads out of the model's folder", "do not trust this model")
    entries.set(path, { path, hash, size })
  }
  return [...entries.values()]
})

/** Fetches one file into its blob: goes on where an earlier try stopped, and appears only when its hash is right. `arrived` is told the bytes there are. */
export const download = async (hub: Connection, commit: string, entry: Entry, arrived: (bytes: number) => void): Promise<void> => {
  const blob = blobPath(hub.of, entry.hash), partial = `${blob}.switchyard.incomplete`, file = entry.path
  const url = new URL(`${page(hub)}/resolve/${commit}/${file.split("/").map(encodeURIComponent).join("/")}`)
  await mkdir(dirname(blob), { recursive: true })
  const refuse = async (about: About, problem: string): Promise<never> => {
    await rm(partial, { force: true })
    throw wrong(hub, "WrongHash", about, problem, "nothing of it was kept: fetch again, and do not trust the server when it happens twice")
  }
  await patiently(hub, async () => {
    const handle = await open(partial, "a")
    try {
      let at = (await stat(partial)).size
      if (at > entry.size) { await handle.truncate(0); at = 0 }
      let hash = beginHash(entry)
      await feed(hash, partial, at)
      if (at < entry.size) {
        const { response, url: from } = await ask(hub, url, at === 0 ? {} : { range: `bytes=${at}-` }, entry), about: About = { file, url: from, status: response.status }
        const start = response.status === 206 ? Number(/^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1] ?? NaN) : 0
        if (start !== at || response.status === 416) {
          // the server begins elsewhere: from the start again when it sends all, else by the next try
          await handle.truncate(0)
          at = 0
          hash = beginHash(entry)
          if (start !== 0 || response.status === 416) { await response.body?.cancel(); throw wrong(hub, "Network", about, "the server did not go on where the file had stopped", "fetch again") }
        }
        try {
          for await (const part of (response.body ?? []) as AsyncIterable<Uint8Array>) {
            at += part.length
            if (at > entry.size) await refuse(about, `it is longer than the ${entry.size} bytes promised`)
            hash.update(part)
            await handle.writeFile(part)
            arrived(at)
          }
        } catch (error) {
          hub.signal.throwIfAborted()
          if (error instanceof HubError || (error as NodeJS.ErrnoException).syscall !== undefined) throw error
          throw wrong(hub, "Network", about, `the connection broke after ${at} of ${entry.size} bytes (${reasonOf(error)})`, online)
        }
        if (at < entry.size) throw wrong(hub, "Network", about, `the connection ended after ${at} of ${entry.size} bytes`, online)
      }
      const found = hash.digest("hex")
      if (found !== entry.hash) await refuse({ file, url: url.href }, `its hash is ${found}, promised was ${entry.hash}`)
      await handle.sync()
    } finally { await handle.close() }
    await rename(partial, blob)
    await flushFolder(dirname(blob))
  })
}
