import { expect, test } from "@jest/globals"
import * as fc from "fast-check"
import { createHash } from "node:crypto"
import * as Key from "./Key.ts"

test("canonical JSON: names sorted, nothing optional, nothing that JSON cannot say", () => {
  expect(Key.canonical({ b: [1, -0, 1e21], a: undefined, c: { z: 1, y: null } })).toBe('{"b":[1,0,1e+21],"c":{"y":null,"z":1}}')
  expect(() => Key.canonical({ a: Number.NaN })).toThrow("not JSON: NaN")
  expect(() => Key.canonical({ a: 1n })).toThrow("not JSON: bigint")
  for (const value of [new Date(0), new Map([[1, 2]]), new Set([1]), /a/, new Float32Array([1])]) expect(() => Key.canonical({ a: value })).toThrow(`not JSON: ${value.constructor.name}`)
  expect(Key.canonical(Object.assign(Object.create(null) as object, { a: 1 }))).toBe('{"a":1}')
  expect(Key.of({ stage: "x", version: 1 })).toBe(createHash("sha256").update('{"stage":"x","version":1}').digest("hex").slice(0, 32))
})

test("the order of names does not matter, and the text parses to the same value", () => {
  fc.assert(fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
    const turned = Object.fromEntries(Object.entries(value).reverse())
    expect(Key.canonical(turned)).toBe(Key.canonical(value))
    expect(JSON.parse(Key.canonical(value))).toEqual(JSON.parse(JSON.stringify(value)))
  }))
})
