import { describe, expect, test } from "@jest/globals"
import fc from "fast-check"
import { readFileSync } from "node:fs"
import { matchesGlob } from "node:path"
import * as DataFiles from "./DataFiles.ts"

interface Layout { readonly paths: ReadonlyArray<string>; readonly card: string | null; readonly default: string | null; readonly configurations: Readonly<Record<string, Readonly<Record<string, ReadonlyArray<string>>>>> }
const layouts = JSON.parse(readFileSync(new URL("./fixtures/parquet/layouts.json", import.meta.url), "utf8")) as ReadonlyArray<Layout>

describe("which files are a split: as datasets 5.2.0 says of the same folders (tools/fixtures/parquet.py)", () => {
  test.each(layouts)("$paths", ({ card, paths, ...expected }) => {
    const found = DataFiles.configurations([...paths].reverse(), card ?? undefined)
    expect(Object.fromEntries(found.map(({ name, splits }) => [name, splits]))).toEqual(expected.configurations)
    expect(found.filter(({ isDefault }) => isDefault).map(({ name }) => name)).toEqual(expected.default === null ? [] : [expected.default])
  })
})

describe("patterns", () => {
  const part = fc.constantFrom("a", "b", "-", "*", "?", "[ab]", "[!a]", "[a-c]", "/", "**/")
  test("as path.matchesGlob has them", () => {
    if (typeof matchesGlob !== "function") return // Node 20 has none
    fc.assert(fc.property(fc.array(part, { maxLength: 6 }), fc.array(fc.constantFrom("a", "b", "c", "-", "/"), { minLength: 1, maxLength: 6 }), (pattern, letters) => {
      const glob = pattern.join("").replaceAll(/\*{3,}\//g, "**/").replaceAll(/\*{2,}(?!\/)/g, "*").replaceAll(/\/{2,}/g, "/").replaceAll(/[^/]\*\*\//g, "a"), path = letters.join("").replaceAll(/\/{2,}/g, "/").replace(/^\/|\/$/g, "")
      fc.pre(glob !== "" && path !== "" && !glob.startsWith("/") && !glob.endsWith("/"))
      expect([glob, path, DataFiles.fits(glob, path)]).toEqual([glob, path, matchesGlob(path, glob)])
    }), { seed: 5, numRuns: 400 })
  })
  test("built to be slow: soon", () => {
    const begun = process.cpuUsage() // of this process alone, whatever else the machine does
    expect(DataFiles.fits(`${"**/*a*".repeat(60)}b`, "a/".repeat(100))).toBe(false)
    expect(process.cpuUsage(begun).user / 1000).toBeLessThan(500)
  })
})

describe("a card that is not one", () => {
  const paths = ["train.parquet", "../x.parquet"]
  test.each(["", "---\nconfigs: [\n---\n", "---\nconfigs:\n- 7\n- config_name: 8\n---\n", `---\nconfigs:\n- config_name: a\n---${" ".repeat(1 << 20)}`])("%#: names decide", (card) => {
    expect(DataFiles.configurations(paths.slice(0, 1), card)).toEqual([{ name: "default", from: "names", isDefault: true, splits: { train: ["train.parquet"] } }])
  })
  test("no pattern reaches a file that is not in the list", () => {
    expect(DataFiles.configurations(["train.parquet"], "---\nconfigs:\n- config_name: a\n  data_files: ../*.parquet\n- config_name: b\n  data_files: /etc/passwd\n---\n").map(({ splits }) => splits)).toEqual([{}, {}])
  })
})
