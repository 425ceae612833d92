/// <reference types="@webgpu/types" preserve="true" />
/**
 * Whether quads are what the quad forms of kernels take them for: lanes 4n … 4n + 3 of a workgroup, in that order. WGSL does not say how lanes of
 * a workgroup are divided into subgroups, and a matrix product by other quads would be wrong in every number: so the device is asked, once.
 */
import { readFile } from "node:fs/promises"

// GPUBufferUsage, as the specification numbers it
const mapRead = 0x1, copySource = 0x4, copyTarget = 0x8, storage = 0x80
const lanes = 64

/** What quads.wgsl wrote, as it must be. Shapes: [lanes, 4]. */
export const areNeighbours = (found: Uint32Array): boolean => found.length === 4 * lanes && found.every((lane, at) => lane === 4 * Math.floor(at / 16) + at % 4)

/** Asks a device that has subgroups; false too where the question itself fails. */
export const quadsAreNeighbours = async (device: GPUDevice): Promise<boolean> => {
  const code = await readFile(new URL("./quads.wgsl", import.meta.url), "utf8"), size = 16 * lanes
  device.pushErrorScope("validation")
  const pipeline = device.createComputePipeline({ label: "quads", layout: "auto", compute: { module: device.createShaderModule({ label: "quads", code }), entryPoint: "main" } })
  const written = device.createBuffer({ label: "quads", size, usage: storage | copySource }), read = device.createBuffer({ label: "quads", size, usage: mapRead | copyTarget })
  try {
    const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass()
    pass.setPipeline(pipeline)
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [{ binding: 0, resource: { buffer: written } }] }))
    pass.dispatchWorkgroups(1)
    pass.end()
    encoder.copyBufferToBuffer(written, 0, read, 0, size)
    device.queue.submit([encoder.finish()])
    if (await device.popErrorScope() !== null) return false
    await read.mapAsync(mapRead)
    return areNeighbours(new Uint32Array(read.getMappedRange().slice(0)))
  } finally {
    written.destroy()
    read.destroy()
  }
}
