/** Every op on small inputs, for tests of gradients: by central differences in f64, and on devices against f64. */
import { index, real, type Input } from "./checkGradient.ts"
import * as Op from "./Op.ts"
import type { Tensor } from "./Tensor.ts"

export type Case = readonly [name: string, inputs: ReadonlyArray<Input>, build: (...tensors: ReadonlyArray<Tensor>) => Tensor]
const positive = (x: number) => Math.abs(x) + 0.5
const x = (shape: ReadonlyArray<number>, seed = 0) => real(shape, { seed })
const order = [2, 5, 0, 3, 1, 4], places = [2, 4, 0, 3, 5, 1] // inverse to each other

export const cases: ReadonlyArray<Case> = [
  ["add", [x([3, 4]), x([3, 4], 1)], (a, b) => Op.add(a!, b!, -0.7)],
  ["add of one tensor to itself", [x([5])], (a) => Op.add(a!, a!)],
  ["multiply", [x([3, 4]), x([3, 4], 1)], (a, b) => Op.multiply(a!, b!, 2)],
  ["multiply by itself", [x([5])], (a) => Op.multiply(a!, a!)],
  ["affine", [x([5])], (a) => Op.affine(a!, { scale: -3, shift: 2 })],
  ...(["silu", "sigmoid", "tanh", "relu", "exp", "log", "square", "sqrt", "gelu", "reciprocal"] as const).map((mode): Case => [`map ${mode}`, [real([7], { from: positive })], (a) => Op.map(a!, mode)]),
  ...(["silu", "sigmoid", "tanh", "relu", "exp", "square", "gelu"] as const).map((mode): Case => [`map ${mode} of both signs`, [x([9], 3)], (a) => Op.map(a!, mode)]),
  ["addRow", [x([3, 4]), x([4], 1)], (a, b) => Op.addRow(a!, b!)],
  ["scaleRows", [x([3, 4]), x([3], 1)], (a, b) => Op.scaleRows(a!, b!)],
  ["divideRows", [x([3, 4]), real([3], { seed: 1, from: positive })], (a, b) => Op.divideRows(a!, b!)],
  ["sumRows", [x([3, 4])], (a) => Op.sumRows(a!, 0.3)],
  ["sumColumns", [x([3, 4])], (a) => Op.sumColumns(a!, 0.3)],
  ["sumAll of three axes", [x([3, 2, 4])], (a) => Op.sumAll(a!, 0.3)],
  ["sumAll of a vector", [x([6])], (a) => Op.sumAll(a!, 0.3)],
  ["dotRows", [x([3, 4]), x([3, 4], 1)], (a, b) => Op.dotRows(a!, b!)],
  ["matmul NN", [x([3, 4]), x([4, 2], 1)], (a, b) => Op.matmul(a!, b!, { alpha: 0.5 })],
  ["matmul NT", [x([3, 4]), x([2, 4], 1)], (a, b) => Op.matmul(a!, b!, { transposeB: true, alpha: 0.5 })],
  ["matmul TN", [x([4, 3]), x([4, 2], 1)], (a, b) => Op.matmul(a!, b!, { transposeA: true, alpha: 0.5 })],
  ["matmul NN batched", [x([2, 3, 4]), x([2, 4, 2], 1)], (a, b) => Op.matmul(a!, b!)],
  ["matmul NT batched", [x([2, 3, 4]), x([2, 2, 4], 1)], (a, b) => Op.matmul(a!, b!, { transposeB: true })],
  ["matmul TN batched", [x([2, 4, 3]), x([2, 4, 2], 1)], (a, b) => Op.matmul(a!, b!, { transposeA: true })],
  ["linear with bias", [x([3, 4]), x([2, 4], 1), x([2], 2)], (a, weight, bias) => Op.linear(a!, weight!, bias)],
  ["lowRank", [x([3, 4]), x([2, 4], 1), x([5, 2], 2)], (a, low, high) => Op.lowRank(a!, low!, high!, 1.5)],
  ["adaptedLinear", [x([3, 4]), x([5, 4], 1), x([2, 4], 2), x([5, 2], 3)], (a, weight, low, high) => Op.adaptedLinear(a!, weight!, { a: low!, b: high!, scale: 1.5 })],
  ["swiglu", [x([3, 4]), x([3, 4], 1)], (gate, up) => Op.swiglu(gate!, up!)],
  ["clampedSwiglu", [x([3, 4]), x([3, 4], 1)], (gate, up) => Op.clampedSwiglu(gate!, up!, { slope: 1.702, limit: 0.6 })],
  ["attention with sinks", [x([6, 8]), x([6, 4], 1), x([6, 4], 2), x([4], 3)], (q, k, v, sinks) => Op.attention(q!, k!, v!, { batch: 2, tokens: 3, heads: 4, keyValueHeads: 2, headSize: 2, window: 2, sinks: sinks! })],
  ["attention with sinks below a cap", [x([4, 4]), x([4, 2], 1), x([4, 2], 2), x([2], 3)], (q, k, v, sinks) => Op.attention(q!, k!, v!, { batch: 1, tokens: 4, heads: 2, keyValueHeads: 1, headSize: 2, softCap: 0.7, sinks: sinks! })],
  ["rmsNorm", [x([3, 4]), x([4], 1)], (a, gain) => Op.rmsNorm(a!, gain!, 1e-3)],
  ["rope", [x([3, 8]), index([3], [0, 2, 1]), { ...x([3, 2], 5), checked: false }, { ...x([3, 2], 6), checked: false }],
    (a, positions, cosines, sines) => Op.rope(a!, positions!, { cosines: cosines!, sines: sines! }, { heads: 2, headSize: 4 })],
  ["rope of a head's first half", [x([3, 8]), index([3], [0, 2, 1]), { ...x([3, 1], 5), checked: false }, { ...x([3, 1], 6), checked: false }],
    (a, positions, cosines, sines) => Op.rope(a!, positions!, { cosines: cosines!, sines: sines! }, { heads: 2, headSize: 4, rotated: 2 })],
  ["permute", [x([2, 3, 4, 2])], (a) => Op.permute(a!)],
  ["causalSoftmax", [x([8, 4])], (a) => Op.causalSoftmax(a!, { queries: 4, scale: 0.7 })],
  ["attention with grouped queries", [x([6, 8]), x([6, 4], 1), x([6, 4], 2)], (q, k, v) => Op.attention(q!, k!, v!, { batch: 2, tokens: 3, heads: 4, keyValueHeads: 2, headSize: 2 })],
  ["attention with a window", [x([5, 4]), x([5, 4], 1), x([5, 4], 2)], (q, k, v) => Op.attention(q!, k!, v!, { batch: 1, tokens: 5, heads: 2, keyValueHeads: 2, headSize: 2, window: 2 })],
  ["attention with values of another size", [x([5, 4]), x([5, 4], 1), x([5, 6], 2)], (q, k, v) => Op.attention(q!, k!, v!, { batch: 1, tokens: 5, heads: 2, keyValueHeads: 2, headSize: 2, valueSize: 3 })],
  ["attention below a cap", [x([5, 4]), x([5, 4], 1), x([5, 4], 2)], (q, k, v) => Op.attention(q!, k!, v!, { batch: 1, tokens: 5, heads: 2, keyValueHeads: 2, headSize: 2, scale: 0.9, softCap: 0.8 })],
  ["softmax", [x([3, 4])], (a) => Op.softmax(a!, 1.3)],
  ["crossEntropy", [x([3, 4]), index([3], [2, Op.noTarget, 0])], (logits, targets) => Op.crossEntropy(logits!, targets!)],
  ["embedding", [x([5, 3]), index([6], [4, 0, 4, 1, 0, 4])], (table, ids) => Op.embedding(table!, ids!)],
  ["gatherRows with an absent row", [x([4, 3]), index([5], [3, 0xffffffff, 0, 3, 1])], (table, ids) => Op.gatherRows(table!, ids!)],
  ["gatherRows with a divisor", [x([3, 2]), index([6], order)], (table, ids) => Op.gatherRows(table!, ids!, 2)],
  ["gatherColumns", [x([3, 4]), index([3, 2], [1, 3, 0, 2, 3, 3])], (a, ids) => Op.gatherColumns(a!, ids!)],
  ["scatterColumns", [x([3, 2]), index([3, 2], [1, 3, 0, 2, 3, 3])], (a, ids) => Op.scatterColumns(a!, ids!, 4)],
  ["groupedLinear with an empty group", [x([6, 3]), x([3, 2, 3], 1), index([4], [0, 2, 2, 6])], (a, weight, offsets) => Op.groupedLinear(a!, weight!, offsets!, 0.5)],
  ["dispatch", [x([3, 2]), index([6], order), index([6], places)], (a, sorted, inverse) => Op.dispatch(a!, { order: sorted!, places: inverse! }, 2)],
  ["combine", [x([6, 2]), index([6], places), x([3, 2], 1)], (y, inverse, weights) => Op.combine(y!, inverse!, weights!)],
  ...[{}, { mean: true }, { decay: 0.8 }, { decay: 0.8, mean: true }, { exclusive: true }, { mean: true, exclusive: true }, { decay: 0.7, mean: true, exclusive: true }]
    .map((options): Case => [`prefixPool ${JSON.stringify(options)}`, [x([2, 4, 3])], (a) => Op.prefixPool(a!, options)]),
  ["sliceColumns", [x([3, 5])], (a) => Op.sliceColumns(a!, 1, 3)],
  ["joinColumns", [x([3, 2]), x([3, 3], 1)], (a, b) => Op.joinColumns([a!, b!])],
  ["sliceRows", [x([5, 2])], (a) => Op.sliceRows(a!, 1, 3)],
  ["joinRows", [x([2, 3]), x([1, 3], 1)], (a, b) => Op.joinRows([a!, b!])],
  ["view", [x([2, 3])], (a) => Op.multiply(Op.view(a!, [3, 2]), Op.view(a!, [3, 2]))],
  ["keep", [x([2, 3])], (a) => Op.multiply(Op.keep(Op.map(a!, "tanh"), "kept"), Op.keep(a!, "copy"))],
  ["stopGradient", [x([4])], (a) => Op.multiply(a!, Op.affine(Op.stopGradient(Op.affine(a!, { scale: 0 })), { shift: 3 }))]
]
