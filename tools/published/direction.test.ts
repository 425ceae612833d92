/** Imports go one way: core ◀ gpu ◀ routing ◀ merge, eval; nobody imports a deep path of another package, and published sources import what their package.json names. */
import { expect, test } from "@jest/globals"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const home = fileURLToPath(new URL("../../packages", import.meta.url))
const below: Readonly<Record<string, ReadonlyArray<string>>> = { core: [], gpu: ["core"], routing: ["core", "gpu"], merge: ["core", "gpu", "routing"], eval: ["core", "gpu", "routing"] }
const sources = (folder: string): ReadonlyArray<string> => readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
  entry.isDirectory() ? (entry.name === "fixtures" || entry.name === "assembly" ? [] : sources(join(folder, entry.name))) : entry.name.endsWith(".ts") ? [join(folder, entry.name)] : [])
const imported = (file: string): ReadonlyArray<string> => [...readFileSync(file, "utf8").matchAll(/^(?:import|export)\b[^"'\n]*?\bfrom ["']([^"'.][^"']*)["']|^import ["']([^"'.][^"']*)["']/gm)].map(([, from, bare]) => from ?? bare!)
const packageOf = (specifier: string): string => specifier.split("/").slice(0, specifier.startsWith("@") ? 2 : 1).join("/")

test.each(Object.entries(below))("%s imports only what lies below it, by its front door, and what it declares", (name, allowed) => {
  const { dependencies = {}, peerDependencies = {} } = JSON.parse(readFileSync(join(home, name, "package.json"), "utf8")) as Record<string, Record<string, string> | undefined>
  const declared = new Set([...Object.keys(dependencies), ...Object.keys(peerDependencies)])
  const files = sources(join(home, name, "src"))
  expect(files.length).toBeGreaterThan(5)
  const wrong = files.flatMap((file) => imported(file).filter((specifier) => {
    if (specifier.startsWith("node:")) return false
    if (/\.(test|cases|fixture)\.ts$/.test(file)) return specifier.startsWith("@switchyard/") && !allowed.includes(specifier.slice("@switchyard/".length))
    return specifier.startsWith("@switchyard/") ? !allowed.includes(specifier.slice("@switchyard/".length)) || !declared.has(specifier) : !declared.has(packageOf(specifier))
  }).map((specifier) => `${file}: ${specifier}`))
  expect(wrong).toEqual([])
})
