/**
 * A JSON reader for files from outside.
 *
 * `JSON.parse` keeps the last of two equal keys without a word, while other tools keep the first: two programs then read different weights
 * from one file (the safetensors audit's finding TOB-SFTN-7). This reader refuses duplicate keys, unpaired surrogates, deep nesting
 * and, where integers are expected, those that a JavaScript number cannot hold, and keeps objects as Maps, so that `__proto__` is a name like any other.
 */
export type Value = string | number | boolean | null | ReadonlyArray<Value> | ReadonlyMap<string, Value>

/** What is wrong, and where. `kind` tells a duplicate key and an integer out of range from other faults. */
export class StrictJsonError extends Error {
  readonly kind: "syntax" | "duplicate" | "range"
  readonly path: string
  constructor(kind: StrictJsonError["kind"], path: string, problem: string) {
    super(problem)
    this.kind = kind
    this.path = path
  }
}

/** Parses JSON text. Options: deepest nesting allowed (32); whether every number must be a natural one below 2^53 (no). Fails: throws StrictJsonError. */
export const parse = (text: string, { depth: deepest = 32, integers = false }: { readonly depth?: number; readonly integers?: boolean } = {}): Value => {
  let at = 0
  const path: Array<string | number> = []
  const fail = (kind: StrictJsonError["kind"], problem: string): never => {
    throw new StrictJsonError(kind, path.join("."), `${problem} at character ${at}`)
  }
  const space = () => {
    for (let c = text.charCodeAt(at); c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09; c = text.charCodeAt(at)) at++
  }
  const number = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y
  const chunk = /[^"\\\u0000-\u001f]+/y
  const escapes: Record<string, string> = { "\"": "\"", "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" }

  const string = (): string => {
    at++ // the opening quote
    let out = ""
    for (;;) {
      chunk.lastIndex = at
      const plain = chunk.exec(text)
      if (plain !== null) {
        out += plain[0]
        at += plain[0].length
      }
      const c = text[at]
      if (c === "\"") break
      if (c !== "\\") return fail("syntax", c === undefined ? "the text ends inside a string" : "a control character inside a string")
      const letter = text[at + 1] ?? ""
      if (letter === "u") {
        const digits = text.slice(at + 2, at + 6)
        if (!/^[0-9a-fA-F]{4}$/.test(digits)) return fail("syntax", "a broken \\u escape")
        out += String.fromCharCode(parseInt(digits, 16))
        at += 6
      } else {
        const plainEscape = Object.hasOwn(escapes, letter) ? escapes[letter]! : fail("syntax", "an unknown escape")
        out += plainEscape
        at += 2
      }
    }
    at++
    return /\p{Surrogate}/u.test(out) ? fail("syntax", "an unpaired surrogate in a string") : out
  }

  const object = (depth: number): ReadonlyMap<string, Value> => {
    const out = new Map<string, Value>()
    at++
    space()
    if (text[at] === "}") { at++; return out }
    for (;;) {
      space()
      if (text[at] !== "\"") return fail("syntax", "expected a key")
      const key = string()
      path.push(key)
      if (out.has(key)) return fail("duplicate", `the key ${JSON.stringify(key)} stands twice`)
      space()
      if (text[at] !== ":") return fail("syntax", "expected a colon")
      at++
      out.set(key, value(depth + 1))
      path.pop()
      space()
      const c = text[at++]
      if (c === "}") return out
      if (c !== ",") { at--; return fail("syntax", "expected a comma or a closing brace") }
    }
  }

  const array = (depth: number): ReadonlyArray<Value> => {
    const out: Array<Value> = []
    at++
    space()
    if (text[at] === "]") { at++; return out }
    for (;;) {
      path.push(out.length)
      out.push(value(depth + 1))
      path.pop()
      space()
      const c = text[at++]
      if (c === "]") return out
      if (c !== ",") { at--; return fail("syntax", "expected a comma or a closing bracket") }
    }
  }

  const value = (depth: number): Value => {
    if (depth > deepest) return fail("syntax", `nested deeper than ${deepest}`)
    space()
    const c = text[at]
    if (c === "{") return object(depth)
    if (c === "[") return array(depth)
    if (c === "\"") return string()
    for (const [word, meaning] of [["true", true], ["false", false], ["null", null]] as const) {
      if (text.startsWith(word, at)) { at += word.length; return meaning }
    }
    number.lastIndex = at
    const match = number.exec(text)
    if (match === null) return fail("syntax", "expected a value")
    if (integers && (match[1] !== undefined || match[2] !== undefined || match[0].startsWith("-"))) return fail("syntax", `${match[0].slice(0, 40)} is not a natural number`)
    const parsed = Number(match[0])
    if (integers ? !Number.isSafeInteger(parsed) : !Number.isFinite(parsed)) return fail("range", `the number ${match[0].slice(0, 40)} is out of range`)
    at += match[0].length
    return parsed
  }

  const result = value(0)
  space()
  if (at !== text.length) return fail("syntax", "something follows the JSON value")
  return result
}

/** The same value with plain objects in place of Maps; a key `__proto__` stays an ordinary own property. */
export const toPlain = (value: Value): Plain =>
  value instanceof Map ? Object.fromEntries([...value as ReadonlyMap<string, Value>].map(([key, member]) => [key, toPlain(member)]))
    : Array.isArray(value) ? (value as ReadonlyArray<Value>).map(toPlain)
    : value as Plain
export type Plain = string | number | boolean | null | ReadonlyArray<Plain> | { readonly [key: string]: Plain }
