/**
 * Damage for fuzz tests: seeded changes of a file's bytes that hit what matters in JSON and in headers. Only tests import it.
 */
import * as Random from "./Random.ts"

const numbers = ["0", "-1", "1e309", "1.5", "9007199254740993", "18446744073709551615", "4294967296", "1e-400", "null", "true", "[]", "{}", "\"8\""]
const strings = ["\"\"", "\"../../x\"", "\"/etc/passwd\"", "\"\\u0000\"", "\"__proto__\"", "\"constructor\"", "\"\\ud800\"", "[[[[]]]]", "7", `"${"a".repeat(500)}"`, "\"(a+)+$\""]

/** How many cases a fuzz test runs: few unless SWITCHYARD_FUZZ says more. */
export const cases = (few: number): number => Number(process.env["SWITCHYARD_FUZZ"] ?? few)

/** The bytes with one to four changes, by seed: bits flipped, cut, a stretch doubled or left out, a number or a string of JSON replaced. */
export const damaged = (original: Uint8Array, seed: number): Uint8Array => {
  const chance = Random.make(seed, "damage")
  let at = 0
  const below = (limit: number): number => limit < 1 ? 0 : Random.unsigned(chance, at++) % Math.floor(limit)
  let bytes = Buffer.from(original)
  const replaceOne = (pattern: RegExp, values: ReadonlyArray<string>): void => {
    const text = bytes.toString("latin1"), found = [...text.matchAll(pattern)], one = found[below(found.length)]
    if (one !== undefined) bytes = Buffer.from(`${text.slice(0, one.index)}${values[below(values.length)]!}${text.slice(one.index + one[0].length)}`, "latin1")
  }
  for (let times = 1 + below(4); times > 0; times--) {
    const from = below(bytes.length), length = 1 + below(Math.min(64, bytes.length - from))
    switch (below(7)) {
      case 0: if (bytes.length > 0) bytes[from] = bytes[from]! ^ 1 << below(8); break
      case 1: bytes = bytes.subarray(0, from); break
      case 2: bytes = Buffer.concat([bytes.subarray(0, from + length), bytes.subarray(from)]); break
      case 3: bytes = Buffer.concat([bytes.subarray(0, from), bytes.subarray(from + length)]); break
      case 4: case 5: replaceOne(/(?<=[:,[\s])-?\d+(?:\.\d+)?(?:e-?\d+)?/g, numbers); break
      default: replaceOne(/"(?:[^"\\]|\\.)*"/g, strings)
    }
  }
  return bytes
}
