import { describe, expect, test } from "@jest/globals"
import * as fc from "fast-check"
import { cutText } from "./cutText.ts"

describe("cutText", () => {
  test("nothing is lost or added, and no piece is larger than asked but for a character kept whole", () => {
    const text = fc.array(fc.constantFrom("word", " ", "\n", "\n\n", ". ", "😀", "é", "x".repeat(30)), { maxLength: 200 }).map((parts) => parts.join(""))
    fc.assert(fc.property(text, fc.integer({ min: 1, max: 80 }), (whole, size) => {
      const pieces = cutText(whole, size)
      expect(pieces.join("")).toBe(whole)
      for (const piece of pieces) {
        expect(piece.length).toBeLessThanOrEqual(size + 1)
        expect(piece).not.toBe("")
        expect(Buffer.from(piece, "utf8").toString("utf8")).toBe(piece) // no half of a surrogate pair
      }
    }))
  })
  test("paragraphs stay whole where they fit, else sentences do", () => {
    expect(cutText("One.\n\nTwo two.\n\nThree.", 17)).toEqual(["One.\n\nTwo two.\n\n", "Three."])
    expect(cutText("A first sentence. A second one. A third.", 20)).toEqual(["A first sentence. ", "A second one. ", "A third."])
  })
})
