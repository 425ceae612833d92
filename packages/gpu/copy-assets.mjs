// Puts what the compiler does not emit (shaders, the SIMD module) beside the compiled files.
import { cpSync, readdirSync } from "node:fs"

const from = new URL("./src/", import.meta.url), to = new URL("./dist/", import.meta.url)
for (const name of readdirSync(from, { recursive: true })) if (/\.(wgsl|wasm|onnx)$/.test(name)) cpSync(new URL(name, from), new URL(name, to))
