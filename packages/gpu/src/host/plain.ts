/**
 * The plainest device: every kernel's reference on typed arrays, in this thread, in f32 or f64. It is what gradients are checked on and
 * what the other devices are compared with; `Device.host` is the fast one.
 */
import { Effect, Layer } from "effect"
import { crossing } from "../crossings.ts"
import { Device, DeviceError, type Arena, type Service } from "../Device.ts"
import type { Reals } from "../Kernel.ts"
import { kernels } from "../kernels.ts"
import type { Slot, Tensor } from "../Tensor.ts"

type Memory = Reals | Uint32Array

/** A device of one replica; `precision: "f64"` keeps every real number in double precision. */
export const plainDevice = (options: { readonly precision?: "f32" | "f64" } = {}): Service => {
  const { precision = "f32" } = options
  const allocate = (length: number, dtype: "f32" | "u32"): Memory => dtype === "u32" ? new Uint32Array(length) : precision === "f64" ? new Float64Array(length) : new Float32Array(length)
  const width = precision === "f64" ? 8 : 4
  const arena = Effect.sync((): Arena => {
    const kept = new Map<number, Memory>()
    let live = 0, peak = 0, flops = 0, submissions = 0
    const memoryOf = (slot: Slot): Memory => {
      let memory = kept.get(slot.id)
      if (memory === undefined) { kept.set(slot.id, memory = allocate(slot.length, slot.dtype)); live += slot.length * width; peak = Math.max(peak, live) }
      return memory
    }
    const wrong = (tensor: Tensor, doing: string, problem: string) => new DeviceError({ device: "plain", doing: `${doing} ${tensor.slot.label}`, problem, remedy: "Check the tensor's shape." })
    return crossing("plain", {
      upload: (tensor, data) => data.length === tensor.slot.length ? Effect.sync(() => { memoryOf(tensor.slot).set(data) })
        : Effect.fail(wrong(tensor, "upload", `${data.length} numbers for shape [${tensor.shape.join(", ")}]`)),
      submit: (program) => program.replicas !== 1 ? Effect.die(new Error(`program ${program.id} was recorded for ${program.replicas} replicas, the plain device is one: record with { replicas: device.replicas }`)) : Effect.sync(() => {
        const slabs = program.placement.slabs.map((length) => new ArrayBuffer(length * width))
        const bytes = slabs.reduce((sum, slab) => sum + slab.byteLength, 0)
        const memory = (id: number): Memory => {
          const slot = program.slots.get(id)!
          if (slot.kept) return memoryOf(slot)
          const slab = slabs[program.placement.slabOf.get(id)!]!
          return slot.dtype === "u32" ? new Uint32Array(slab, 0, slot.length) : precision === "f64" ? new Float64Array(slab, 0, slot.length) : new Float32Array(slab, 0, slot.length)
        }
        for (const step of program.steps) {
          const kernel = kernels.get(step.kernel)
          if (kernel === undefined) throw new Error(`unknown kernel ${step.kernel}`)
          const params = Object.fromEntries(Object.keys(kernel.params).map((name, at) => [name, step.params[at]!]))
          kernel.run(Object.fromEntries(Object.keys(kernel.bindings).map((name, at) => [name, memory(step.slots[at]!)])), params)
          flops += kernel.flops(params)
        }
        peak = Math.max(peak, live + bytes)
        submissions++
      }),
      read: (tensor) => Effect.sync(() => memoryOf(tensor.slot).slice()),
      free: (tensors) => Effect.sync(() => { for (const { slot } of tensors) if (kept.delete(slot.id)) live -= slot.length * width }),
      stats: Effect.sync(() => ({ liveBytes: live, peakBytes: peak, flops, submissions }))
    })
  })
  return { name: "plain", adapter: `typed arrays, ${precision}`, replicas: 1, largestBuffer: 2 ** 32, arena }
}
export const plain = (options: { readonly precision?: "f32" | "f64" } = {}): Layer.Layer<Device> => Layer.succeed(Device, Device.of(plainDevice(options)))
