/**
 * The few requests that a model hub answers: which commit a revision is, which files it has, and a file's bytes from a given one on.
 *
 * The token goes to the hub's own origin and nowhere else, also after a redirect. A connection that breaks is tried again a bounded number of times,
 * each time after twice the wait, and a file goes on at the byte where it stopped.
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

/** An answer larger than this is no list of files. */
const longestAnswer = 64 << 20
const json = (hub: Connection, first: URL): Promise<{ readonly value: unknown; readonly next: URL | undefined }> => patiently(hub, async () => {
  const { response, url } = await ask(hub, first, { accept: "application/json" }), parts: Array<Uint8Array> = []
  let bytes = 0
  try {
    for await (const part of response.body ?? []) {
      bytes += (part as Uint8Array).length
      if (bytes > longestAnswer) throw wrong(hub, "Answer", { url }, `the answer is longer than ${longestAnswer} bytes`, "check the endpoint (HF_ENDPOINT)")
      parts.push(part as Uint8Array)
    }
  } catch (error) {
    hub.signal.throwIfAborted()
    throw error instanceof HubError ? error : wrong(hub, "Network", { url }, `the connection broke (${reasonOf(error)})`, online)
  }
  const next = /<([^>]+)>\s*;\s*rel="?next"?/.exec(response.headers.get("link") ?? "")?.[1]
  try { return { value: JSON.parse(Buffer.concat(parts).toString("utf8")), next: next === undefined ? undefined : new URL(next, first) } } catch {
    throw wrong(hub, "Answer", { url }, "the answer is not JSON", "check the endpoint (HF_ENDPOINT)")
  }
})

/** The commit that a revision is now. Fails: throws HubError. */
export const commitAt = async (hub: Connection, revision: string): Promise<string> => {
  const url = new URL(`${hub.endpoint}/api/${hub.of.kind}s/${hub.of.id}/revision/${encodeURIComponent(revision)}`), { value } = await json(hub, url)
  const sha = (value as { readonly sha?: unknown } | null)?.sha
  if (typeof sha !== "string" || !/^[0-9a-f]{40}$/.test(sha)) throw wrong(hub, "Answer", { url: url.href }, "the answer names no commit", "check the endpoint (HF_ENDPOINT)")
  return sha
}

/** Every file of a commit. Fails: throws HubError, also for a name that leads out of its folder. */
export const tree = async (hub: Connection, commit: string): Promise<ReadonlyArray<Entry>> => {
  const entries = new Map<string, Entry>()
  let url: URL | undefined = new URL(`${hub.endpoint}/api/${hub.of.kind}s/${hub.of.id}/tree/${commit}?recursive=true`)
  for (let pages = 0; url !== undefined; pages++) {
    const at: About = { url: url.href }, { value, next }: { readonly value: unknown; readonly next: URL | undefined } = await json(hub, url)
    if (!Array.isArray(value) || pages > 1000) throw wrong(hub, "Answer", at, "the answer is no list of files", "check the endpoint (HF_ENDPOINT)")
    for (const item of value as ReadonlyArray<{ readonly type?: unknown; readonly path?: unknown; readonly size?: unknown; readonly oid?: unknown; readonly lfs?: { readonly oid?: unknown; readonly size?: unknown } } | null>) {
      if (item?.type !== "file") continue
      const { path } = item, hash = item.lfs?.oid ?? item.oid, size = item.lfs?.size ?? item.size
      if (typeof path !== "string" || typeof hash !== "string" || !/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(hash) || !Number.isSafeInteger(size) || (size as number) < 0) {
        throw wrong(hub, "Answer", { ...at, file: String(path) }, "it is listed without a path, a size or a hash", "check the endpoint (HF_ENDPOINT)")
      }
      if (!isSafe(path) || entries.has(path)) throw wrong(hub, "Unsafe", { ...at, file: path }, entries.has(path) ? "it is listed twice" : "this name leads out of the model's folder", "do not trust this model")
      entries.set(path, { path, hash, size: size as number })
    }
    if (next !== undefined && next.origin !== url.origin) throw wrong(hub, "Unsafe", at, `the list goes on at ${next.origin}`, "check the endpoint (HF_ENDPOINT)")
    url = next
  }
  return [...entries.values()]
}

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
