/** The scales of GGUF's blocks: f16 by their bits. */
import * as Dtype from "./Dtype.ts"

let halves: Float32Array | undefined
/** The f16 of these bits. */
export const halfOf = (bits: number): number => {
  if (halves === undefined) Dtype.decode(new Uint8Array(Uint16Array.from({ length: 65536 }, (_, every) => every).buffer), "F16", halves = new Float32Array(65536))
  return halves[bits]!
}
/** The f16 at a byte. */
export const half = (bytes: Uint8Array, at: number): number => halfOf(bytes[at]! | bytes[at + 1]! << 8)
