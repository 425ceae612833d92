/** Unpacking SwiftShader: whole or not at all, once, and told when it is not installed. */
import { afterAll, expect, test } from "@jest/globals"
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { brotliCompressSync } from "node:zlib"
import { swiftshaderFolder, untar, unpack } from "./swiftshader.ts"

const folder = mkdtempSync(join(tmpdir(), "switchyard-unpack-"))
afterAll(() => { rmSync(folder, { recursive: true }) })

/** A tar archive as POSIX describes it: blocks of 512 bytes, name at 0, octal length at 124, kind at 156, two empty blocks at the end. */
const tar = (files: Record<string, string>): Uint8Array => {
  const blocks = Object.entries(files).flatMap(([name, content]) => {
    const header = new Uint8Array(512), text = new TextEncoder(), body = new Uint8Array(Math.ceil(content.length / 512) * 512)
    header.set(text.encode(name), 0)
    header.set(text.encode(content.length.toString(8).padStart(11, "0")), 124)
    header.set(text.encode("0"), 156)
    body.set(text.encode(content))
    return [header, body]
  })
  return Buffer.concat([...blocks, new Uint8Array(1024)])
}
const files = { "libvk_swiftshader.so": "a driver", "libvulkan.so.1": "x".repeat(600), "vk_swiftshader_icd.json": "{}", "../outside": "never written" }

test("an archive is read by name; one that is cut off is refused", () => {
  const archive = tar(files)
  expect([...untar(archive)].map(([name, content]) => [name, new TextDecoder().decode(content)])).toEqual(Object.entries(files))
  expect(() => untar(archive.subarray(0, 1024 + 700))).toThrow(/libvulkan\.so\.1 is cut off/)
  expect(untar(new Uint8Array(1024)).size).toBe(0)
})

test("two at once unpack the same three files into one folder; a bad archive leaves nothing", async () => {
  const archive = brotliCompressSync(tar(files)), parent = join(folder, "cache")
  const [first, second] = await Promise.all([unpack(archive, parent), unpack(archive, parent)])
  expect(second).toBe(first)
  expect(await unpack(archive, parent)).toBe(first)
  expect(readdirSync(first).sort()).toEqual(["libvk_swiftshader.so", "libvulkan.so.1", "vk_swiftshader_icd.json"])
  await expect(unpack(brotliCompressSync(tar({ "vk_swiftshader_icd.json": "{}" })), parent)).rejects.toThrow(/no libvk_swiftshader\.so/)
  expect(readdirSync(parent).length).toBe(1)
  expect(readdirSync(folder)).toEqual(["cache"])
})

test("where it is not installed, the package is named", async () => {
  await expect(swiftshaderFolder(join(folder, "elsewhere.js"))).rejects.toThrow(/@sparticuz\/chromium, which carries it, is not installed/)
})
