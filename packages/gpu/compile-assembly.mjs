// Compiles src/host/assembly to the WebAssembly module that the host device loads. The result is committed; a test compiles again and compares.
import { fileURLToPath } from "node:url"
import asc from "assemblyscript/asc"

export const compileAssembly = async (outFile) => {
  const source = fileURLToPath(new URL("./src/host/assembly/index.ts", import.meta.url))
  const { error, stderr } = await asc.main([source, "--outFile", outFile, "-O3", "--enable", "simd", "--importMemory", "--initialMemory", "1", "--runtime", "stub", "--use", "abort=", "--noAssert"])
  if (error) throw new Error(`${error.message}\n${stderr}`)
}
if (process.argv[1] === fileURLToPath(import.meta.url)) await compileAssembly(fileURLToPath(new URL("./src/host/kernels.wasm", import.meta.url)))
