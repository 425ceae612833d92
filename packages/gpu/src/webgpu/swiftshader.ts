/**
 * SwiftShader, a Vulkan driver on the processor, out of the development dependency @sparticuz/chromium: its driver and its own Vulkan loader
 * are unpacked once into a cache folder and named to the loader by environment variables, so tests need no system package.
 */
import { createHash } from "node:crypto"
import { chmod, lstat, mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { constants, tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { runInThisContext } from "node:vm"
import { brotliDecompressSync } from "node:zlib"

const manifest = "vk_swiftshader_icd.json", loader = "libvulkan.so.1"
const wanted = ["libvk_swiftshader.so", loader, manifest]

/** Regular files of a tar archive, by name. */
export const untar = (archive: Uint8Array): Map<string, Uint8Array> => {
  const files = new Map<string, Uint8Array>(), text = new TextDecoder("latin1")
  const field = (from: number, length: number) => text.decode(archive.subarray(from, from + length)).replace(/\0.*$/s, "").trim()
  for (let at = 0; at + 512 <= archive.length;) {
    const name = field(at, 100), bytes = Number.parseInt(field(at + 124, 12) || "0", 8), kind = field(at + 156, 1)
    if (name === "") break
    if (!(bytes >= 0) || at + 512 + bytes > archive.length) throw new Error(`tar: ${name} is cut off`)
    if (kind === "0" || kind === "") files.set(name, archive.subarray(at + 512, at + 512 + bytes))
    at += 512 + Math.ceil(bytes / 512) * 512
  }
  return files
}

const isOurs = async (folder: string): Promise<boolean> => {
  try {
    const found = await lstat(folder)
    return found.isDirectory() && (process.getuid === undefined || found.uid === process.getuid())
  } catch { return false }
}

/** Unpacks the three files into a folder of that archive's hash; a second process finds them there. The folder appears whole or not at all. */
export const unpack = async (archive: Uint8Array, parent: string): Promise<string> => {
  const folder = join(parent, `swiftshader-${createHash("sha256").update(archive).digest("hex").slice(0, 16)}`)
  if (await isOurs(folder)) return folder
  await mkdir(parent, { recursive: true, mode: 0o700 })
  const files = untar(brotliDecompressSync(archive)), partial = await mkdtemp(join(parent, "partial-"))
  try {
    for (const name of wanted) {
      const content = files.get(name)
      if (content === undefined) throw new Error(`the archive has no ${name}`)
      await writeFile(join(partial, name), content)
      await chmod(join(partial, name), 0o755)
    }
    await rename(partial, folder)
  } catch (cause) {
    await rm(partial, { recursive: true, force: true })
    if (!await isOurs(folder)) throw cause
  }
  return folder
}

const installed = (from: string | URL): string => {
  try { return join(dirname(createRequire(from).resolve("@sparticuz/chromium")), "..") }
  catch { throw new Error("the package @sparticuz/chromium, which carries it, is not installed") }
}

/** Unpacks SwiftShader as the package at `from` sees it, and returns its folder. Fails with an Error when it is not installed or no folder can be written. */
export const swiftshaderFolder = async (from: string | URL = import.meta.url): Promise<string> => {
  const chromium = installed(from)
  const archive = await readFile(join(chromium, "bin", "swiftshader.tar.br"))
  try { return await unpack(archive, join(chromium, "..", "..", ".cache", "switchyard")) } // node_modules/.cache
  catch { return unpack(archive, join(tmpdir(), `switchyard-${process.getuid?.() ?? "user"}`)) }
}

/** Names SwiftShader to the Vulkan loader and runs `open`; the variables are put back afterwards, so that hardware can still be looked for. */
export const withSwiftshader = async <A>(folder: string, open: () => Promise<A>): Promise<A> => {
  // Test runners give modules a copy of process.env; the loader reads the process's own.
  const { env } = runInThisContext("process") as NodeJS.Process
  const names = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"], before = names.map((name) => env[name])
  for (const name of names) env[name] = join(folder, manifest)
  try { return await open() }
  finally {
    names.forEach((name, at) => { if (before[at] === undefined) delete env[name]; else env[name] = before[at] })
  }
}

/** Loads a Vulkan loader into the process, so that Dawn finds it loaded. It is no Node add-on, and Node says so after it has been loaded. */
const load = (path: string): boolean => {
  const keepLoaded = 0x1000 // RTLD_NODELETE: Node unloads what does not register
  try { process.dlopen({ exports: {} }, path, constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL | keepLoaded); return true }
  catch (cause) { return /self-register/.test(String(cause)) }
}
/** Whether this system has a Vulkan loader (always true where Dawn does not need one). */
export const systemHasVulkan = (): boolean => process.platform !== "linux" || load(loader)
/** Loads the system's Vulkan loader or else SwiftShader's own. */
export const loadVulkan = (folder: string): boolean => systemHasVulkan() || load(join(folder, loader))
