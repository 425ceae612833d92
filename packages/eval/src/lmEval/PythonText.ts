/**
 * Python's ideas of text where JavaScript's differ: what a space is, `strip`, `capitalize`, `len`, `\s+`, `str` of a number, `json.dumps`.
 * Prompts and word counts of lm-evaluation-harness are made with them.
 */
import { createHash } from "node:crypto"

/** What Python's `\s` and `isspace` match, as the inside of a character class: U+001C–U+001F and U+0085 are in, U+FEFF is not. */
export const space = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"

const leading = new RegExp(`^[${space}]+`), trailing = new RegExp(`[${space}]+$`), any = new RegExp(`[${space}]+`)

/** Is there at least one letter and all of them spaces. */
export const isSpace = (text: string): boolean => text !== "" && text.replace(leading, "") === ""
/** `str.rstrip()`. */
export const stripRight = (text: string): string => {
  let end = text.length // a scan from the end: the expression above would look at every run of spaces in a long text
  while (end > 0 && isSpace(text[end - 1]!)) end--
  return text.slice(0, end)
}
/** `str.lstrip()`. */
export const stripLeft = (text: string): string => text.replace(leading, "")
/** `str.strip()`. */
export const strip = (text: string): string => stripLeft(stripRight(text))
/** Does it end, or begin, with a space. */
export const endsWithSpace = (text: string): boolean => trailing.test(text.slice(-1))
export const startsWithSpace = (text: string): boolean => leading.test(text.slice(0, 1))

/** `len(str)`: code points. */
export const length = (text: string): number => {
  let count = 0
  for (const _ of text) count++
  return count
}

/** `len(str.encode("utf-8"))`. */
export const byteLength = (text: string): number => Buffer.byteLength(text)

/** The pieces of `re.split(r"\s+", text)`: white space at either end makes an empty piece, and the empty text is one. */
export const wordCount = (text: string): number => text.split(any).length

/** Titles of letters that are not their capitals: digraphs, and Georgian, which has none. */
const titles: ReadonlyMap<string, string> = new Map([..."ǄǅǆǇǈǉǊǋǌǱǲǳ"].map((letter, at) => [letter, "ǅǈǋǲ"[Math.floor(at / 3)]!] as const))
/**
 * `str.capitalize()`: the first letter as in a title, all others small. As in Python 3.11 for every letter but polytonic Greek with iota
 * subscript, ŉ, and letters that its tables do not know yet.
 */
export const capitalize = (text: string): string => {
  const [first] = text
  if (first === undefined) return ""
  const lowered = text.toLowerCase().slice(first.toLowerCase().length)
  if (/[\u10d0-\u10ff]/.test(first)) return first + lowered
  const title = titles.get(first)
  if (title !== undefined) return title + lowered
  const [capital, ...others] = first.toUpperCase()
  return capital! + others.join("").toLowerCase() + lowered
}

/** `str` of a float: as JavaScript's but for a point in whole numbers and two digits in exponents. */
export const float = (value: number): string => {
  if (Number.isNaN(value)) return "nan"
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf"
  const [digits, exponent] = value.toExponential().split("e") as [string, string]
  const power = Number(exponent)
  if (value !== 0 && (power < -4 || power >= 16)) return `${digits}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`
  if (Object.is(value, -0)) return "-0.0"
  const plain = power < 0 ? value.toFixed(Math.max(0, (digits.split(".")[1]?.length ?? 0) - power)) : String(value)
  return plain.includes(".") ? plain : `${plain}.0`
}

/** `json.dumps(value, indent=2, ensure_ascii=False)` of what JSON can say without floats. */
export const dump = (value: unknown): string => JSON.stringify(value, null, 2)

/** SHA-256 of the text's UTF-8, in hexadecimal. */
export const sha256 = (text: string): string => createHash("sha256").update(text, "utf8").digest("hex")
