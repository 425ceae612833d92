/**
 * A release: sets one version in the five packages and in their references to each other, builds, checks what npm would pack, and
 * publishes. With --dry-run it does all of that in a copy of the tree but the publishing, and leaves the tree as it was.
 *
 *     npm run release -- 0.2.0 --dry-run
 */
import { execFileSync } from "node:child_process"
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const packages = ["core", "gpu", "routing", "merge", "eval"]
const [version, ...flags] = process.argv.slice(2)
const dry = flags.includes("--dry-run")
const stop = (problem) => { console.error(problem); process.exit(1) }
if (version === undefined || !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version)) stop("usage: npm run release -- VERSION [--dry-run]   (VERSION as 1.2.3)")
for (const flag of flags) if (flag !== "--dry-run") stop(`unknown flag ${flag}; the only one is --dry-run`)

const home = fileURLToPath(new URL("..", import.meta.url))
const run = (at, command, ...words) => execFileSync(command, words, { cwd: at, stdio: ["ignore", "pipe", "inherit"], encoding: "utf8" })
if (!dry && run(home, "git", "status", "--porcelain") !== "") stop("the work tree has changes that are not committed: commit them first")

const root = dry ? mkdtempSync(join(tmpdir(), "switchyard-release-")) : home
if (dry) {
  for (const file of run(home, "git", "ls-files").trim().split("\n")) cpSync(join(home, file), join(root, file))
  symlinkSync(join(home, "node_modules"), join(root, "node_modules"))
}
try {
  for (const name of packages) {
    const path = join(root, "packages", name, "package.json"), json = JSON.parse(readFileSync(path, "utf8"))
    json.version = version
    for (const key of Object.keys(json.dependencies ?? {})) if (key.startsWith("@switchyard/")) json.dependencies[key] = version
    writeFileSync(path, JSON.stringify(json, null, 2) + "\n")
    const changelog = readFileSync(join(root, "packages", name, "CHANGELOG.md"), "utf8")
    if (!changelog.includes(`## ${version}`)) {
      if (!dry) stop(`packages/${name}/CHANGELOG.md has no section "## ${version}": write what changed`)
      console.log(`note: packages/${name}/CHANGELOG.md has no section "## ${version}" yet`)
    }
  }
  for (const name of packages) {
    const at = join(root, "packages", name)
    run(at, process.execPath, join(home, "node_modules/typescript/bin/tsc"), "-b", "tsconfig.json")
    if (name === "gpu") run(at, process.execPath, "copy-assets.mjs")
  }
  for (const name of packages) {
    const at = join(root, "packages", name)
    const [packed] = JSON.parse(run(at, "npm", "pack", "--dry-run", "--json", "--ignore-scripts"))
    const files = packed.files.map(({ path }) => path)
    for (const needed of ["dist/index.js", "dist/index.d.ts", "README.md", "LICENSE", "CHANGELOG.md"]) if (!files.includes(needed)) stop(`packages/${name}: the tarball would lack ${needed}`)
    const tests = files.filter((path) => path.includes(".test."))
    if (tests.length > 0) stop(`packages/${name}: the tarball would carry tests: ${tests.join(", ")}`)
    console.log(`@switchyard/${name}@${version}: ${files.length} files, ${packed.size} bytes packed`)
  }
  if (dry) console.log("dry run: nothing was published, the tree is unchanged")
  else {
    for (const name of packages) run(join(root, "packages", name), "npm", "publish", "--access", "public", "--ignore-scripts")
    run(home, "git", "commit", "-qam", `Release ${version}`)
    run(home, "git", "tag", `v${version}`)
    console.log(`published ${version}; push the commit and the tag v${version}`)
  }
} finally {
  if (dry) rmSync(root, { recursive: true, force: true })
}
