/**
 * Bundles tools/hardware/suite.ts, with its shaders and fixtures, into one file that needs a Node binary, `dawn.node` and a Vulkan loader, and nothing
 * else: what is carried to a machine with a graphics processor. `dawn.node` is put beside it.
 *
 *   node tools/hardware.mjs [--out runs/hardware]
 *   node runs/hardware/suite.mjs --device gpu > hardware.json
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { build } from "esbuild"

const root = fileURLToPath(new URL("..", import.meta.url)), { values: { out } } = parseArgs({ options: { out: { type: "string", default: join(root, "runs", "hardware") } } })
const gpu = join(root, "packages", "gpu", "src")

/** What modules look for beside themselves, by the name they ask for: in the bundle all of them lie beside one module. */
const assets = {}
for (const folder of ["kernels", "webgpu"]) for (const name of readdirSync(join(gpu, folder))) if (name.endsWith(".wgsl")) assets[name] = readFileSync(join(gpu, folder, name), "base64")
assets["kernels.wasm"] = readFileSync(join(gpu, "host", "kernels.wasm"), "base64")
assets["fixtures/tiny-llama-tied.safetensors"] = readFileSync(join(gpu, "fixtures", "tiny-llama-tied.safetensors"), "base64")

/** Runs before the bundle: unpacks the assets into a folder of this process and takes it for the place of every module. A node_modules at hand is seen from there (for --device software). */
const banner = `
import { createRequire as switchyardRequire } from "node:module"
import * as switchyardFs from "node:fs"
import { tmpdir as switchyardTemporary } from "node:os"
import { dirname as switchyardFolder, join as switchyardJoin } from "node:path"
import { fileURLToPath as switchyardPath, pathToFileURL as switchyardUrl } from "node:url"
const require = switchyardRequire(import.meta.url)
const switchyardUnpacked = switchyardFs.mkdtempSync(switchyardJoin(switchyardTemporary(), "switchyard-hardware-"))
process.on("exit", () => switchyardFs.rmSync(switchyardUnpacked, { recursive: true, force: true }))
for (const [name, data] of Object.entries(${JSON.stringify(assets)})) {
  const path = switchyardJoin(switchyardUnpacked, name)
  switchyardFs.mkdirSync(switchyardFolder(path), { recursive: true })
  switchyardFs.writeFileSync(path, Buffer.from(data, "base64"))
}
if (switchyardFs.existsSync("node_modules")) switchyardFs.symlinkSync(switchyardFs.realpathSync("node_modules"), switchyardJoin(switchyardUnpacked, "node_modules"))
const switchyardBase = switchyardUrl(switchyardJoin(switchyardUnpacked, "suite.mjs")).href
const switchyardDawn = process.env.SWITCHYARD_DAWN ?? switchyardJoin(switchyardFolder(switchyardPath(import.meta.url)), "dawn.node")
`
/** Dawn's binary beside the bundle, instead of the package that finds it in its own folders. */
const dawn = {
  name: "dawn",
  setup(found) {
    found.onResolve({ filter: /^webgpu$/ }, () => ({ path: "webgpu", namespace: "dawn" }))
    found.onLoad({ filter: /.*/, namespace: "dawn" }, () => ({ contents: "const { create, globals } = require(switchyardDawn)\nexport { create, globals }", loader: "js" }))
  }
}

mkdirSync(out, { recursive: true })
const outfile = join(out, "suite.mjs")
await build({
  entryPoints: [join(root, "tools", "hardware", "suite.ts")], outfile, bundle: true, format: "esm", platform: "node", target: "node20", conditions: ["@switchyard/source"], minify: true, legalComments: "none",
  define: { "import.meta.url": "switchyardBase" }, banner: { js: banner }, plugins: [dawn], logLevel: "error", external: ["onnxruntime-node", "onnxruntime-node/*", "tsx", "@effect/platform-node", "@effect/platform-node/*"]
})
const binary = join(root, "node_modules", "webgpu", "dist", `${process.platform}-${process.platform === "darwin" ? "universal" : process.arch}`, "dawn.node")
if (existsSync(binary)) copyFileSync(binary, join(dirname(outfile), "dawn.node"))
console.log(`${outfile}: ${(statSync(outfile).size / 1e6).toFixed(1)} MB${existsSync(binary) ? `; dawn.node beside it: ${(statSync(binary).size / 1e6).toFixed(1)} MB` : "; put dawn.node beside it"}`)
