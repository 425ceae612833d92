/** What a program will cost, from its description alone: nothing is allocated and nothing runs. Plans are made of this. */
import type { Program } from "./Recording.ts"

/** Costs of one submission; `deviceBytes` is what the arena holds for it: kept tensors and scratch slabs. */
export interface Count {
  readonly flops: number
  /** Bytes that its kernels read and write. */
  readonly bytes: number
  readonly deviceBytes: number
  readonly largestBuffer: number
}

/**
 * Adds up a program's cost over all its replicas.
 *
 * Units: floating-point operations (a multiply-add counts two) and bytes; f32 storage. Options: `replicas` other than the recording's own.
 */
export const count = (program: Program, options: { readonly replicas?: number } = {}): Count => {
  const { replicas = program.replicas } = options
  const kept = [...program.slots.values()].filter((slot) => slot.kept).map(({ length }) => 4 * length)
  const buffers = [...kept, ...program.placement.slabs.map((length) => 4 * length)]
  return {
    flops: replicas * program.flops,
    bytes: replicas * program.bytes,
    deviceBytes: replicas * buffers.reduce((sum, bytes) => sum + bytes, 0),
    largestBuffer: buffers.reduce((most, bytes) => Math.max(most, bytes), 0)
  }
}
