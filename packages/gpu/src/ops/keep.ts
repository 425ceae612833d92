/**
 * The tensor, made to outlive the submission so that it can be read. A scratch tensor simply stays where it is (no copy); of a tensor that
 * is kept already, f32, the present values are copied.
 *
 * Options: `sharded` when replicas hold different rows, so that `read` concatenates them.
 */
import * as Gradient from "../Gradient.ts"
import { affine } from "../kernels/affine.ts"
import * as Recording from "../Recording.ts"
import { joined, kept, type Tensor } from "../Tensor.ts"

export const keep = (x: Tensor, label = "", options: { readonly sharded?: boolean } = {}): Tensor => {
  const { sharded = false } = options
  if (x.parts !== undefined) return joined(x.parts.map((part, at) => keep(part, `${label}[${at}]`, options)), label)
  if (!x.slot.kept) return Gradient.derive({ shape: x.shape, dtype: x.dtype, slot: Recording.retain(x.slot, { label, sharded }) }, [x], (gradient) => [gradient])
  if (x.dtype === "u32") throw new Error(`keep: ${x.slot.label || "x"} is u32 and kept already: read it itself`)
  const out = kept(x.shape, { label, sharded })
  Recording.step(affine, { x, out }, { count: x.slot.length, scale: 1, shift: 0 })
  return Gradient.derive(out, [x], (gradient) => [gradient])
}
