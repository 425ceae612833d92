/**
 * Reverse-mode gradients by tape: each op leaves its backward beside its forward, and `of` walks the tape from the loss towards the
 * parameters, recording only steps that some wanted gradient needs.
 */
import { fill } from "./kernels/fill.ts"
import { add } from "./kernels/add.ts"
import * as Recording from "./Recording.ts"
import { joined, partsOf, size, type Tensor } from "./Tensor.ts"

/** Says how `output` came from `inputs`: `backward` gets the output's gradient and returns one for each input (undefined where not needed or where there is none). */
export const derive = (output: Tensor, inputs: ReadonlyArray<Tensor>, backward: Recording.Derivation["backward"]): Tensor => {
  Recording.tape().push({ output, inputs, backward })
  return output
}

/**
 * Gradients of a scalar with respect to tensors, appended to the recording in progress.
 *
 * Shapes: loss [1]; each gradient has its tensor's shape, and its parts where it lies in parts. Fails: a tensor the loss does not depend on is a defect.
 */
export const of = (loss: Tensor, wanted: ReadonlyArray<Tensor>): ReadonlyArray<Tensor> => {
  const found = ofParts(loss, wanted.flatMap(partsOf))[Symbol.iterator](), next = () => found.next().value as Tensor
  return wanted.map((tensor) => tensor.parts === undefined ? next() : joined(tensor.parts.map(next), `gradient of ${tensor.slot.label}`))
}

const ofParts = (loss: Tensor, wanted: ReadonlyArray<Tensor>): ReadonlyArray<Tensor> => {
  if (loss.slot.length !== 1) throw new Error(`Gradient.of: the loss must be a scalar, got [${loss.shape.join(", ")}]`)
  const tape = [...Recording.tape()] // a copy: backward steps are ops too and write on the tape
  const needed = new Set(wanted)
  for (const { inputs, output } of tape) if (inputs.some((input) => needed.has(input))) needed.add(output)
  const gradients = new Map<Tensor, Tensor>()
  const seed = Recording.scratch(loss.shape)
  Recording.step(fill, { out: seed }, { count: 1, value: 1 })
  gradients.set(loss, seed)
  for (const { backward, inputs, output } of tape.toReversed()) {
    const gradient = gradients.get(output)
    if (gradient === undefined || !needed.has(output)) continue
    const needs = inputs.map((input) => needed.has(input))
    backward(gradient, needs).forEach((part, at) => {
      if (part === undefined || !needs[at]) return
      const input = inputs[at]!, before = gradients.get(input)
      gradients.set(input, before === undefined ? part : sum(before, part))
    })
  }
  return wanted.map((tensor) => {
    const gradient = gradients.get(tensor)
    if (gradient === undefined) throw new Error(`Gradient.of: the loss does not depend on ${tensor.slot.label || `a tensor of shape [${tensor.shape.join(", ")}]`}`)
    return gradient
  })
}

const sum = (a: Tensor, b: Tensor): Tensor => {
  const out = Recording.scratch(a.shape)
  Recording.step(add, { a, b, out }, { count: size(a.shape), scale: 1 })
  return out
}
