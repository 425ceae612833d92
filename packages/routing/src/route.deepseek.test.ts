/** DeepSeek's routers against transformers' own (tools/fixtures/deepseek_routers.py made the file). */
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals"
import { Op, Tensor } from "@switchyard/gpu"
import { readFileSync } from "node:fs"
import { devices, openDevice } from "./openDevice.ts"
import { route } from "./route.ts"
import * as Router from "./Router.ts"
import { runOnce } from "./runOnce.ts"

interface Case { readonly version: 2 | 3; readonly groups: number | null; readonly keep: number | null; readonly active: number; readonly renorm: boolean; readonly scale: number; readonly weights: ReadonlyArray<number> }
const { cases, correction, experts, hidden, rows, weight, x } = JSON.parse(readFileSync(new URL("./fixtures/deepseek-routers.json", import.meta.url), "utf8")) as {
  readonly rows: number; readonly hidden: number; readonly experts: number; readonly x: ReadonlyArray<number>; readonly weight: ReadonlyArray<number>; readonly correction: ReadonlyArray<number>; readonly cases: ReadonlyArray<Case>
}
const routerOf = ({ active, groups: count, keep, renorm, scale, version }: Case): Router.Router => {
  const groups = count === null ? {} : { groups: { count, keep: keep!, by: version === 3 ? "top2sum" as const : "max" as const } }
  return version === 3 ? { ...Router.sigmoid({ active, scale, weight: renorm ? "renorm" : "prob" }), ...groups } : { ...Router.topK({ active, weight: "prob" }), ...groups, scale }
}

jest.setTimeout(60_000) // the software device compiles each kernel when it first meets it
describe.each(devices)("on device $name", ({ layer, precise }) => {
  let opened: Awaited<ReturnType<typeof openDevice>> | undefined
  beforeAll(async () => { opened = await openDevice(layer()) })
  afterAll(() => opened?.close())
  test.each(cases)("DeepSeek-V$version, $active active, $keep of $groups groups, scale $scale: every expert's weight in every row", async (each) => {
    const named = { x: [rows, hidden], weight: [experts, hidden], correction: [experts] } as const, numbers = { x, weight, correction }
    const tensors = Object.fromEntries(Object.entries(named).map(([name, shape]) => [name, Tensor.kept(shape, { label: name })])) as Record<keyof typeof named, Tensor.Tensor>
    const { weights } = await runOnce(opened!.device, Object.entries(tensors).map(([name, tensor]) => ({ tensor, data: Float32Array.from(numbers[name as "x"]) })), () => {
      const decision = route(routerOf(each), tensors.x, { batch: 1, tokens: rows, experts, tensors })
      return { weights: Op.scatterColumns(decision.weights, decision.experts, experts) }
    })
    each.weights.forEach((expected, at) => expect(Math.abs(weights[at]! - expected)).toBeLessThan((precise ? 1e-6 : 2e-6) * each.scale))
  })
})
