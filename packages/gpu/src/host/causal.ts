/**
 * Attention's square matrices are zero above the diagonal: causalSoftmax makes them so, and its gradient keeps them so. Steps that read such
 * a matrix, or make one that nobody looks at above the diagonal, take a form of the SIMD module that leaves that half out. Only without
 * ONNX Runtime: its products of whole squares are as fast as these of halves.
 */
import type { Step } from "../Recording.ts"
import type { Steps } from "./Replica.ts"

/** The export that takes the kernel's place; it takes `queries` (rows per square) after the kernel's parameters. */
export interface CausalForm { readonly name: string; readonly queries: number; readonly transposed: number }

/** Squares are worked off in blocks of eight. */
const block = 8

/** Step → its form. */
export const causalForms = (program: Steps): ReadonlyMap<number, CausalForm> => {
  const { slots, steps } = program
  const readers = new Map<number, Array<number>>(), squares = new Map<number, number>(), forms = new Map<number, CausalForm>()
  const outputOf = (step: Step) => step.slots.at(-1)!
  const known = /^(matmul(NN|NT|TN)|causalSoftmax|softmaxGradient)$/
  for (const [at, step] of steps.entries()) for (const id of step.slots) if (!known.test(step.kernel) || id !== outputOf(step)) readers.set(id, [...readers.get(id) ?? [], at])
  /** Scratch that one step of these writes, and that no other kernel touches. */
  const own = (id: number): boolean => !slots.get(id)!.kept && steps.filter((step) => step.slots.includes(id)).every((step) => known.test(step.kernel))
    && steps.filter((step) => step.slots.includes(id) && outputOf(step) === id).length === 1
  const isCausal = ({ kernel, params: [, columns = 0, queries, offset, window] }: Step): boolean => kernel === "causalSoftmax" && columns === queries && offset === 0 && window === 0 && columns % block === 0
  const put = (at: number, name: string, queries: number, transposed = 0): void => { forms.set(at, { name, queries, transposed }) }
  for (const [at, step] of steps.entries()) {
    const [first] = step.slots, [, rows, columns, inner, strideA, strideB] = step.params as readonly [number, number, number, number, number, number]
    if (isCausal(step) && own(outputOf(step))) squares.set(outputOf(step), step.params[1]!)
    const queries = squares.get(first!)
    if (queries === undefined) continue
    if (step.kernel === "softmaxGradient" && step.params[1] === queries && own(outputOf(step))) {
      put(at, "softmaxGradientCausal", queries)
      squares.set(outputOf(step), queries)
    }
    const fits = strideA === rows * inner && strideB === columns * inner
    if (step.kernel === "matmulNN" && fits && inner === queries && rows % queries === 0) put(at, "matmulNNCausal", queries)
    if (step.kernel === "matmulTN" && fits && rows === queries && inner % queries === 0) put(at, "matmulTNCausal", queries)
  }
  for (const [at, step] of steps.entries()) {
    if (step.kernel !== "matmulNT") continue
    const [, rows, columns, inner, strideA, strideB, , accumulate] = step.params as readonly [number, number, number, number, number, number, number, number]
    const out = outputOf(step)
    if (!own(out) || accumulate !== 0 || columns % block !== 0 || rows % columns !== 0 || strideA !== rows * inner || strideB !== columns * inner) continue
    const half = (reader: number): boolean => {
      const by = steps[reader]!
      return by.slots[0] === out && isCausal(by) && by.params[1] === columns || by.slots[1] === out && by.slots[0] !== out && forms.get(reader)?.name === "softmaxGradientCausal" && by.params[1] === columns
    }
    if ((readers.get(out) ?? []).every(half)) put(at, "matmulNTCausal", columns, columns * inner)
  }
  return forms
}
