import { describe, expect, test } from "@jest/globals"
import fc from "fast-check"
import * as StrictJson from "./StrictJson.ts"

const kindOf = (text: string, options?: Parameters<typeof StrictJson.parse>[1]) => {
  try {
    StrictJson.parse(text, options)
    return "ok"
  } catch (error) {
    return error instanceof StrictJson.StrictJsonError ? error.kind : String(error)
  }
}

describe("StrictJson", () => {
  test("agrees with JSON.parse on every text without duplicate keys", () => {
    fc.assert(fc.property(fc.jsonValue(), fc.constantFrom(undefined, 1, "\t"), (value, indent) => {
      const text = JSON.stringify(value, null, indent)
      expect(StrictJson.toPlain(StrictJson.parse(text))).toEqual(JSON.parse(text))
    }), { seed: 1, numRuns: 500 })
  })
  test("refuses whatever JSON.parse refuses", () => {
    const pieces = fc.array(fc.constantFrom("{", "}", "[", "]", ",", ":", "\"a\"", "\"b\"", "1", "-", "0", ".5", "e", "true", "nul", " ", "\n", "\"", "\\", "\\u12", "\u0001", "\ufeff"), { maxLength: 8 })
    fc.assert(fc.property(pieces, (parts) => {
      const text = parts.join("")
      let legal = true
      try { JSON.parse(text) } catch { legal = false }
      expect([text, kindOf(text) !== "syntax"]).toEqual([text, legal])
    }), { seed: 2, numRuns: 20_000 })
  })
  test("names a duplicate key and its place", () => {
    let thrown: unknown
    try { StrictJson.parse("{\"a\":[{\"x\":1,\"\\u0078\":2}]}") } catch (error) { thrown = error }
    expect(thrown).toMatchObject({ kind: "duplicate", path: "a.0.x" })
  })
  test("refuses deep nesting without a deep stack, half surrogates, and numbers out of range", () => {
    expect(kindOf("[".repeat(1_000_000))).toBe("syntax")
    expect(kindOf("\"\\udc00\"")).toBe("syntax")
    expect(kindOf("1e999")).toBe("range")
    expect(kindOf("9007199254740992", { integers: true })).toBe("range")
    expect(["1.0", "1e1", "-1", "-0"].map((text) => kindOf(text, { integers: true }))).toEqual(["syntax", "syntax", "syntax", "syntax"])
  })
  test("a key __proto__ is an own property of the plain object", () => {
    const plain = StrictJson.toPlain(StrictJson.parse("{\"__proto__\":{\"polluted\":true}}")) as Record<string, unknown>
    expect(Object.keys(plain)).toEqual(["__proto__"])
    expect(plain["polluted"]).toBeUndefined()
  })
})
