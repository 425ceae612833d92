/**
 * Steepest descent: parameter − rate · direction, in place. What the direction is, the gradient or the gradient over its norm, is its caller's.
 *
 * A direction made of gradients must be one all replicas agree on: sum those first (`Recording.sumReplicas`), and divide the loss by the rows of all replicas.
 */
import { add } from "./kernels/add.ts"
import { affine } from "./kernels/affine.ts"
import * as Recording from "./Recording.ts"
import { expectShape, type Tensor } from "./Tensor.ts"

/** Records one update of each parameter. Shapes: directions like the parameters, in their order; parameters are kept. */
export const update = (parameters: ReadonlyArray<Tensor>, directions: ReadonlyArray<Tensor>, options: { readonly rate: number }): void => {
  if (directions.length !== parameters.length) throw new Error(`Descent.update: ${directions.length} directions for ${parameters.length} parameters`)
  parameters.forEach((parameter, at) => {
    if (!parameter.slot.kept) throw new Error(`Descent.update: ${parameter.slot.label || "a parameter"} is scratch; parameters are kept tensors`)
    const direction = directions[at]!, count = parameter.slot.length, moved = Recording.scratch(parameter.shape)
    expectShape("Descent.update", `direction of ${parameter.slot.label}`, direction, parameter.shape)
    Recording.step(add, { a: parameter, b: direction, out: moved }, { count, scale: -options.rate })
    Recording.step(affine, { x: moved, out: parameter }, { count, scale: 1, shift: 0 })
  })
}
