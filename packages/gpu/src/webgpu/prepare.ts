/// <reference types="@webgpu/types" preserve="true" />
/** A program made ready for a WebGPU device: pipelines, one buffer with every step's parameters, a bind group and the workgroups of each step. */
import { DeviceError } from "../Device.ts"
import type { Any, Workgroups } from "../Kernel.ts"
import { kernels } from "../kernels.ts"
import type { Program, Step } from "../Recording.ts"
import type { Slot } from "../Tensor.ts"
import { type Live, pipelineOf } from "./device.ts"
import { workgroupsOf } from "./forms.ts"
import { packParameters, parameterBytes } from "./prelude.ts"

/** Everything of a program that does not change from one submission to the next. */
export interface Prepared {
  readonly generation: number
  readonly uniforms: GPUBuffer
  readonly pipelines: ReadonlyArray<GPUComputePipeline>
  readonly groups: ReadonlyArray<GPUBindGroup>
  readonly workgroups: ReadonlyArray<Workgroups>
}

/** Steps with equal keys have equal uniform blocks. */
const keyOf = ({ kernel, params }: Step): string => `${kernel} ${params.join(" ")}`
const uniformUsage = 0x40 | 0x8 // UNIFORM | COPY_DST

export const prepare = async (live: Live, program: Program, arena: {
  readonly generation: number
  readonly buffer: (slot: Slot) => GPUBuffer
  readonly create: (size: number, usage: number, label: string) => GPUBuffer
}): Promise<Prepared> => {
  const { device } = live
  const steps = program.steps.map((step) => {
    const kernel: Any | undefined = kernels.get(step.kernel)
    if (kernel === undefined) throw new Error(`unknown kernel ${step.kernel}`)
    return { kernel, step }
  })
  const pipelines = await Promise.all(steps.map(({ kernel }) => pipelineOf(live, kernel)))

  // equal parameters share their place
  const alignment = device.limits.minUniformBufferOffsetAlignment, offsets = new Map<string, number>()
  let bytes = 0
  for (const { kernel, step } of steps) if (!offsets.has(keyOf(step))) { offsets.set(keyOf(step), bytes); bytes += Math.ceil(parameterBytes(kernel) / alignment) * alignment }
  const block = new DataView(new ArrayBuffer(Math.max(16, bytes)))
  for (const { kernel, step } of steps) packParameters(kernel, step.params, block, offsets.get(keyOf(step))!)
  const uniforms = arena.create(block.byteLength, uniformUsage, "parameters")
  device.queue.writeBuffer(uniforms, 0, block.buffer)

  const workgroups = steps.map(({ kernel, step }) => {
    const groups = workgroupsOf(kernel.name, kernel.dispatch(Object.fromEntries(Object.keys(kernel.params).map((name, at) => [name, step.params[at]!]))), live.forms)
    const most = device.limits.maxComputeWorkgroupsPerDimension
    if (groups.some((count) => count > most)) throw new DeviceError({ device: live.name, doing: `dispatch kernel ${kernel.name}`, problem: `[${groups.join(", ")}] workgroups, at most ${most} along one axis`, remedy: "Make the batch smaller." })
    return groups
  })
  const groups = steps.map(({ kernel, step }, at) => device.createBindGroup({
    label: `${kernel.name} (step ${at})`,
    layout: pipelines[at]!.getBindGroupLayout(0),
    entries: [
      { binding: 0, resource: { buffer: uniforms, offset: offsets.get(keyOf(step))!, size: parameterBytes(kernel) } },
      ...step.slots.map((id, binding) => {
        const slot = program.slots.get(id)!
        return { binding: binding + 1, resource: { buffer: arena.buffer(slot), size: 4 * slot.length } }
      })
    ]
  }))
  return { generation: arena.generation, uniforms, pipelines, groups, workgroups }
}
