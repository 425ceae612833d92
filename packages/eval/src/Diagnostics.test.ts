import { expect, test } from "@jest/globals"
import { Table, Tables } from "@switchyard/core"
import * as Diagnostics from "./Diagnostics.ts"

/** tokens: [domain, [[expert, weight], …]] in one layer. */
const traceOf = (tokens: ReadonlyArray<readonly [string, ReadonlyArray<readonly [number, number]>]>) => {
  const slots = tokens.flatMap(([domain, chosen], position) => chosen.map(([expert, weight], rank) => ({ domain, position, rank, expert, weight })))
  const of = <T>(f: (slot: (typeof slots)[number]) => T) => slots.map(f)
  return Table.make(Tables.Trace, {
    run: of(() => "test"), domain: of(({ domain }) => domain), document: Uint32Array.from(of(() => 0)), position: Uint32Array.from(of(({ position }) => position)), token: Uint32Array.from(of(() => 65)),
    layer: Uint16Array.from(of(() => 1)), rank: Uint8Array.from(of(({ rank }) => rank)), expert: Uint16Array.from(of(({ expert }) => expert)),
    weight: Float32Array.from(of(({ weight }) => weight)), logit: Float32Array.from(of(() => 0)), dropped: of(() => false)
  })
}

test("experts that split two domains between them: one bit of specialisation, one bit of load, no doubt", () => {
  const [layer, ...others] = Diagnostics.layers(traceOf([["law", [[0, 1]]], ["code", [[1, 1]]], ["law", [[0, 1]]], ["code", [[1, 1]]]]), { experts: 3 })
  expect(others).toEqual([])
  expect(layer!.layer).toBe(1)
  expect(layer!.load).toEqual([0.5, 0.5, 0])
  expect(layer!.loadEntropy).toBeCloseTo(1, 12)
  expect(layer!.specialisation).toBeCloseTo(1, 12)
  expect(layer!.tokenEntropy).toBe(0)
  expect(layer!.byDomain).toEqual({ law: [1, 0, 0], code: [0, 1, 0] })
})

test("a router that ignores the domain has no specialisation; two equal weights are one bit of doubt; pairs are counted by token", () => {
  const pair = [[0, 0.5], [1, 0.5]] as const, other = [[2, 0.5], [0, 0.5]] as const
  const [layer] = Diagnostics.layers(traceOf([["law", pair], ["code", pair], ["law", other], ["code", other]]))
  expect(layer!.specialisation).toBeCloseTo(0, 12)
  expect(layer!.tokenEntropy).toBeCloseTo(1, 12)
  expect(layer!.load).toEqual([0.5, 0.25, 0.25])
  expect(layer!.coActivation).toEqual([[1, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5]])
})
