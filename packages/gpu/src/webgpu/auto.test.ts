/** Which device is chosen, what is said when there is none, and that a process with a device ends by itself. */
import { describe, expect, jest, test } from "@jest/globals"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { Effect, Logger } from "effect"
import * as Device from "../Device.ts"
import { hardware } from "./gpu.ts"

jest.setTimeout(60_000) // kernels compile on the processor, and processors are shared

const named = (vendor: string, description: string, isFallbackAdapter = false) => ({ info: { vendor, architecture: "", device: "", description, isFallbackAdapter } }) as unknown as GPUAdapter
const lavapipe = named("mesa", "llvmpipe (LLVM 19.1.7, 256 bits)"), swiftshader = named("google", "SwiftShader Device"), card = named("nvidia", "NVIDIA H100"), fallback = named("microsoft", "Some Adapter", true)

describe("hardware", () => {
  test("adapters on the processor are passed over", async () => {
    expect(await Effect.runPromise(hardware([null, lavapipe, fallback, card]))).toBe(card)
  })
  test("none: the error lists what was found instead", async () => {
    const refused = await Effect.runPromise(Effect.flip(hardware([lavapipe, swiftshader, lavapipe])))
    expect(refused.message).toMatch(/only adapters that run on the processor: mesa llvmpipe \(LLVM 19\.1\.7, 256 bits\), google SwiftShader Device\. .*--device host/)
    expect((await Effect.runPromise(Effect.flip(hardware([null])))).message).toMatch(/no adapter at all/)
  })
})

test("auto takes the graphics processor or else the host, never a software adapter, and says which and why", async () => {
  const lines: Array<string> = []
  const logger = Logger.make(({ message }) => { lines.push(String(message)) })
  const { adapter, name } = await Effect.runPromise(Effect.gen(function*() { return yield* Device.Device }).pipe(Effect.provide(Device.auto()), Effect.provide(Logger.layer([logger]))))
  const graphics = await Effect.runPromise(Effect.result(Effect.provide(Effect.gen(function*() { return (yield* Device.Device).adapter }), Device.gpu())))
  expect(name).toBe(graphics._tag === "Success" ? "gpu" : "host")
  expect(adapter).not.toMatch(/swiftshader|llvmpipe/i)
  expect(lines.join("\n")).toMatch(graphics._tag === "Success" ? /^device: gpu, / : /^device: host, since there is no graphics processor to use: ./)
})
test("by name; an unknown name lists the known ones", async () => {
  const adapter = (name: string) => Effect.runPromise(Effect.result(Effect.provide(Effect.gen(function*() { return (yield* Device.Device).name }), Device.byName(name))))
  expect(await adapter("host")).toMatchObject({ success: "host" })
  expect(await adapter("cuda")).toMatchObject({ failure: { message: expect.stringMatching(/auto, gpu, host, software/) } })
})

const here = process.platform === "linux" && process.arch === "x64" ? test : test.skip
here("a process that used the device ends by itself", async () => {
  const script = `
    import { Effect } from "effect"
    import { kept } from "./Tensor.ts"
    import { openSoftware } from "./webgpu/software.ts"
    const x = kept([3])
    await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const arena = yield* (yield* openSoftware()).service.arena
      yield* arena.upload(x, Float32Array.of(1, 2, 3))
      console.log((yield* arena.read(x)).join(" "))
    })))`
  const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", "--conditions=@switchyard/source", "--input-type=module", "--eval", script], { cwd: fileURLToPath(new URL("..", import.meta.url)), timeout: 30_000 })
  expect(stdout.trim()).toBe("1 2 3")
})
