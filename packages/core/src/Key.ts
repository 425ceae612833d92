/**
 * Keys: the hash of a canonical JSON text. Equal descriptions have equal keys, whatever the order in which they were written.
 */
import { createHash } from "node:crypto"

/** JSON with sorted names and nothing optional (after RFC 8785): undefined vanishes, `-0` is `0`. Dies on what JSON cannot say. */
export const canonical = (value: unknown): string => {
  if (value === null || typeof value === "boolean" || typeof value === "string") return JSON.stringify(value)
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw new TypeError(`not JSON: ${value}`)
    return JSON.stringify(value)
  }
  if (Array.isArray(value)) return `[${value.map((item) => canonical(item === undefined ? null : item)).join(",")}]`
  if (typeof value === "object") {
    // a Date, a Map or a Set has no entries: any two of them would be one
    const kind = Object.prototype.toString.call(value).slice("[object ".length, -1)
    if (kind !== "Object") throw new TypeError(`not JSON: ${kind}`)
    const entries = Object.entries(value).filter(([, item]) => item !== undefined).sort(([a], [b]) => (a < b ? -1 : 1))
    return `{${entries.map(([name, item]) => `${JSON.stringify(name)}:${canonical(item)}`).join(",")}}`
  }
  throw new TypeError(`not JSON: ${typeof value}`)
}

/** SHA-256 of the canonical text, in full. */
export const digest = (value: unknown): string => createHash("sha256").update(canonical(value)).digest("hex")

/** A key: the first 128 bits of the digest, as 32 hexadecimal digits. */
export const of = (value: unknown): string => digest(value).slice(0, 32)
