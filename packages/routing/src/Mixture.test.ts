import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals"
import { Random } from "@switchyard/core"
import { Gradient, Op, plainDevice, Recording, Tensor } from "@switchyard/gpu"
import { Effect } from "effect"
import fc from "fast-check"
import { matrices, type Experts, type Matrix } from "./Expert.ts"
import * as Mixture from "./Mixture.ts"
import { naiveRoute } from "./naiveRoute.ts"
import { devices, openDevice } from "./openDevice.ts"
import * as Router from "./Router.ts"
import { type Given, runOnce } from "./runOnce.ts"

const batch = 2, tokens = 5, hidden = 6, inner = 8, count = 4, rank = 2, scale = 1.5, rows = batch * tokens
type Numbers = Readonly<Record<string, Float64Array>>
const normal = (name: string, length: number, deviation = 0.6) => Float64Array.from(Random.fillNormal(Random.make(5, name), new Float32Array(length), { deviation }))
const sides = (matrix: Matrix) => matrix === "down" ? { out: hidden, input: inner } : { out: inner, input: hidden }

/** Names, shapes and seeded numbers of a layer of `kind` with `experts` experts and a router's tensors. */
const layer = (kind: "full" | "lowRank", experts: number, router: Router.Router) => {
  const shapes: Record<string, ReadonlyArray<number>> = { x: [rows, hidden] }
  for (const matrix of matrices) {
    const { input, out } = sides(matrix)
    if (kind === "full") shapes[matrix] = [experts, out, input]
    else Object.assign(shapes, { [matrix]: [out, input], [`${matrix}.a`]: [experts, rank, input], [`${matrix}.b`]: [experts, out, rank] })
  }
  for (const [name, shape] of Object.entries(Router.tensors(router, { experts, hidden }))) shapes[name] = shape
  const numbers: Numbers = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, name.endsWith("deviation") ? normal(name, Tensor.size(shape)).map((v) => 1 + Math.abs(v)) : normal(name, Tensor.size(shape))]))
  return { shapes, numbers }
}
const expertsOf = (kind: "full" | "lowRank", count: number, tensors: Readonly<Record<string, Tensor.Tensor>>): Experts => {
  const full = { gate: tensors["gate"]!, up: tensors["up"]!, down: tensors["down"]! }
  const pair = (matrix: Matrix) => ({ a: tensors[`${matrix}.a`]!, b: tensors[`${matrix}.b`]! })
  return kind === "full" ? { kind, count, stack: full } : { kind, count, scale, base: full, stack: { gate: pair("gate"), up: pair("up"), down: pair("down") } }
}
const record = (kind: "full" | "lowRank", experts: number, router: Router.Router, tensors: Readonly<Record<string, Tensor.Tensor>>) =>
  Mixture.forward(tensors["x"]!, { layer: 0, batch, tokens, router, experts: expertsOf(kind, experts, tensors), tensors })
const f64 = plainDevice({ precision: "f64" })
const run = async (kind: "full" | "lowRank", router: Router.Router, options: { experts?: number; numbers?: Numbers; device?: typeof f64 } = {}) => {
  const { device = f64, experts = count } = options
  const { numbers, shapes } = layer(kind, experts, router)
  const tensors = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, Tensor.kept(shape, { label: name })]))
  const given: ReadonlyArray<Given> = Object.entries(tensors).map(([name, tensor]) => ({ tensor, data: (options.numbers ?? numbers)[name]! }))
  return await runOnce(device, given, () => {
    const { decision, output } = record(kind, experts, router, tensors)
    return { output, experts: decision.experts, weights: decision.weights }
  })
}
const apart = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  expect(a.length).toBe(b.length)
  return Array.from(a).reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i]!)), 0)
}

/** One expert on one row, by loops: down · (silu(gate · x) ⊙ up · x). */
const feedForward = (x: ArrayLike<number>, weights: Readonly<Record<Matrix, ArrayLike<number>>>) => {
  const product = (matrix: Matrix, input: ArrayLike<number>) => Array.from({ length: sides(matrix).out }, (_, o) => Array.from(input).reduce((sum, value, i) => sum + value * weights[matrix][o * sides(matrix).input + i]!, 0))
  const gate = product("gate", x), up = product("up", x)
  return product("down", gate.map((g, i) => g / (1 + Math.exp(-g)) * up[i]!))
}
/** The full expert that a low-rank one is: W + scale · b·a, by loops. */
const folded = (numbers: Numbers, experts = count): Numbers => ({
  ...numbers, ...Object.fromEntries(matrices.map((matrix) => {
    const { input, out } = sides(matrix), a = numbers[`${matrix}.a`]!, b = numbers[`${matrix}.b`]!
    return [matrix, Float64Array.from({ length: experts * out * input }, (_, at) => {
      const e = Math.floor(at / (out * input)), o = Math.floor(at / input) % out, i = at % input
      let change = 0
      for (let r = 0; r < rank; r++) change += b[(e * out + o) * rank + r]! * a[(e * rank + r) * input + i]!
      return numbers[matrix]![o * input + i]! + scale * change
    })]
  }))
})
const naive = (router: Router.Router, numbers: Numbers, experts = count) => naiveRoute(router, { x: numbers["x"]!, batch, tokens, hidden, experts, tensors: numbers }).flatMap((decision, row) => {
  const outputs = decision.experts.map((e) => feedForward(numbers["x"]!.subarray(row * hidden, (row + 1) * hidden), Object.fromEntries(matrices.map((matrix) => {
    const size = hidden * inner
    return [matrix, numbers[matrix]!.subarray(e * size, (e + 1) * size)]
  })) as Record<Matrix, Float64Array>))
  return Array.from({ length: hidden }, (_, c) => outputs.reduce((sum, output, rank) => sum + decision.weights[rank]! * output[c]!, 0))
})

const routers: ReadonlyArray<Router.Router> = [
  Router.topK({ active: 1, weight: "prob" }), Router.topK({ active: 2 }), Router.topK({ active: 3, weight: "renorm" }), Router.all(), Router.fixed([3, 0]), Router.shared({ shared: [1], active: 2 }),
  Router.prefix({ active: 2 }), Router.prefix({ active: 2, decay: 0.8 }), Router.prefixMlp({ active: 2, inner: 3, decays: [1, 0.5] }), Router.prefixMlp({ active: 1, inner: 3, decays: [0.8], normalize: "whitened", weight: "prob" }), { ...Router.topK({ active: 2 }), unit: { of: "prefix", pool: "evidence", decay: 0.8, temperature: 2, normalize: "rms" } }, Router.prototypes({ active: 2, temperature: 3 }), Router.prototypes({ active: 2, metric: "whitened", temperature: 3 }), Router.prototypes({ active: 2, metric: "cosine", temperature: 0.5 }),
  Router.arrow({ active: 2, temperature: 2 }), Router.phatgoose({ active: 2, weight: "prob" }), Router.nexus({ active: 2, embedding: 3, inner: 4, weight: "prob" }),
  Router.sigmoid({ active: 2, groups: { count: 2, keep: 1, by: "top2sum" }, scale: 2.5 }), { ...Router.sigmoid({ active: 1, weight: "prob" }) }
]
const limited: ReadonlyArray<Router.Router> = [Router.limited(Router.topK({ active: 1, weight: "prob" }), { perExpert: 1, scope: "batch" }), Router.limited(Router.topK({ active: 2 }), { perExpert: 0.8, scope: "sequence" })]
const sumsToOne = routers.filter((router) => Router.sumsToOne(router, count))
const any = fc.constantFrom(...routers), anyOrder = fc.constantFrom(...routers.filter(({ groups }) => groups === undefined)) // neighbours make a group
const kinds = fc.constantFrom("full" as const, "lowRank" as const)
const settings = { numRuns: 20, seed: 7 }

jest.setTimeout(60_000) // the software device compiles each kernel when it first meets it
describe.each(devices)("on device $name", ({ layer: open, precise }) => {
  let opened: Awaited<ReturnType<typeof openDevice>> | undefined
  const device = () => opened!.device
  beforeAll(async () => { opened = await openDevice(open()) })
  afterAll(() => opened?.close())
  const tolerance = precise ? 1e-12 : 1e-5
  test.each([...routers, ...limited])("full experts equal one token after another: %j", async (router) => {
    expect(apart((await run("full", router, { device: device() })).output, naive(router, layer("full", count, router).numbers))).toBeLessThan(tolerance)
  })
  test.each([...routers, ...limited])("low-rank experts equal the same folded into full ones: %j", async (router) => {
    expect(apart((await run("lowRank", router, { device: device() })).output, naive(router, folded(layer("lowRank", count, router).numbers)))).toBeLessThan(tolerance)
  })
})

describe("laws", () => {
  test("identity: one expert is that expert under any router", async () => {
    for (const router of [Router.topK({ active: 1 }), Router.all(), Router.fixed([0]), Router.prefix({ active: 1 })]) {
      const { numbers } = layer("full", 1, router), x = numbers["x"]!
      const alone = Array.from({ length: rows }, (_, row) => feedForward(x.subarray(row * hidden, (row + 1) * hidden), numbers as unknown as Record<Matrix, Float64Array>)).flat()
      expect(apart((await run("full", router, { experts: 1 })).output, alone)).toBeLessThan(1e-12)
    }
  })
  test("alone: an expert without a router is the mixture that always asks it", async () => {
    for (const kind of ["full", "lowRank"] as const) for (let e = 0; e < count; e++) {
      const router = Router.fixed([e]), { numbers, shapes } = layer(kind, count, router), tensors = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, Tensor.kept(shape)]))
      const { output } = await runOnce(f64, Object.entries(tensors).map(([name, tensor]) => ({ tensor, data: numbers[name]! })), () => ({ output: Mixture.alone(tensors["x"]!, expertsOf(kind, count, tensors), e) }))
      expect(apart(output, (await run(kind, router)).output)).toBeLessThan(1e-12)
    }
  })
  test("copy: identical experts with weights of sum one give what each alone gives, whatever the router", async () => {
    await fc.assert(fc.asyncProperty(fc.constantFrom(...sumsToOne), kinds, async (router, kind) => {
      const { numbers, shapes } = layer(kind, count, router)
      const same = Object.fromEntries(Object.entries(numbers).map(([name, data]) => {
        const each = data.length / count
        return [name, shapes[name]!.length === 3 ? data.map((_, i) => data[i % each]!) : data]
      }))
      expect(apart((await run(kind, router, { numbers: same })).output, (await run(kind, Router.fixed([0]), { numbers: { ...same, weight: normal("weight", count * hidden) } })).output)).toBeLessThan(1e-12)
    }), settings)
  })
  test("permutation: experts and their router rows in another order change nothing but their numbers", async () => {
    await fc.assert(fc.asyncProperty(anyOrder, kinds, fc.shuffledSubarray([0, 1, 2, 3], { minLength: 4 }), async (router, kind, order) => {
      const { numbers, shapes } = layer(kind, count, router), renumber = (e: number) => order.indexOf(e)
      const moved = Object.fromEntries(Object.entries(numbers).map(([name, data]) => {
        const each = data.length / count
        return [name, shapes[name]!.length === 3 || Router.perExpert(name) ? data.map((_, i) => data[order[Math.floor(i / each)]! * each + i % each]!) : data]
      }))
      const select = (each: Router.Select): Router.Select => "fixed" in each ? { fixed: each.fixed.map(renumber) } : "union" in each ? { union: each.union.map(select) } : each
      const before = await run(kind, router), after = await run(kind, { ...router, select: select(router.select) }, { numbers: moved })
      expect([...after.experts]).toEqual([...before.experts].map(renumber))
      expect(apart(after.output, before.output)).toBeLessThan(1e-12)
    }), settings)
  })
  test("scope: later tokens and other sequences change nothing", async () => {
    await fc.assert(fc.asyncProperty(any, kinds, fc.integer({ min: 0, max: tokens - 1 }), async (router, kind, at) => {
      const { numbers } = layer(kind, count, router), row = tokens + at
      const x = numbers["x"]!.map((value, i) => Math.floor(i / hidden) >= tokens && Math.floor(i / hidden) <= row ? value : 2 - value)
      const slice = ({ output }: { readonly output: ArrayLike<number> }) => Array.from(output).slice(row * hidden, (row + 1) * hidden)
      expect(slice(await run(kind, router, { numbers: { ...numbers, x } }))).toEqual(slice(await run(kind, router)))
    }), settings)
  })
})

test("an opening scales what a low-rank expert adds, row by row: the same folded in at that strength, by loops", async () => {
  const router = Router.topK({ active: 1 }), { numbers, shapes } = layer("lowRank", count, router), opening = normal("opening", rows).map(Math.abs)
  const tensors = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, Tensor.kept(shape)])), given = Tensor.kept([rows])
  const { output } = await runOnce(f64, [{ tensor: given, data: opening }, ...Object.entries(tensors).map(([name, tensor]) => ({ tensor, data: numbers[name]! }))], () => {
    const { decision } = record("lowRank", count, router, tensors)
    return { output: Mixture.mix(tensors["x"]!, decision, expertsOf("lowRank", count, tensors), { opening: given }) }
  })
  for (let row = 0; row < rows; row++) {
    const scaled = Object.fromEntries(Object.entries(numbers).map(([name, data]) => [name, name.endsWith(".b") ? data.map((value) => value * opening[row]!) : data]))
    expect(apart(output.slice(row * hidden, (row + 1) * hidden), naive(router, folded(scaled)).slice(row * hidden, (row + 1) * hidden))).toBeLessThan(1e-12)
  }
})

describe("gradients by central differences in f64", () => {
  /** |analytic − numeric| over their norms, per input. */
  const check = async (kind: "full" | "lowRank", router: Router.Router) => {
    const { numbers, shapes } = layer(kind, count, router)
    const tensors = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, Tensor.kept(shape, { label: name })]))
    const target = Tensor.kept([rows, hidden], { label: "target" })
    const given = (from: Numbers): ReadonlyArray<Given> => [{ tensor: target, data: normal("target", rows * hidden) }, ...Object.entries(tensors).map(([name, tensor]) => ({ tensor, data: from[name]! }))]
    const loss = () => Op.sumAll(Op.multiply(record(kind, count, router, tensors).output, target)), wanted = Object.keys(shapes).filter((name) => name !== "correction"), errors: Record<string, number> = {}
    const value = Recording.record(() => Op.keep(loss())), gradient = Recording.record(() => Gradient.of(loss(), wanted.map((name) => tensors[name]!)).map((each) => Op.keep(each)))
    await Effect.runPromise(Effect.scoped(Effect.gen(function*() {
      const arena = yield* f64.arena, step = 1e-5
      for (const { data, tensor } of given(numbers)) yield* arena.upload(tensor, data)
      yield* arena.submit(gradient)
      for (const [at, name] of wanted.entries()) {
        const analytic = yield* arena.read(gradient.outputs[at]!), data = numbers[name]!
        let difference = 0, length = 0
        for (const i of Random.shuffle(Random.make(1, name), data.length).slice(0, 6)) {
          const sides: Array<number> = []
          for (const by of [step, -step]) {
            yield* arena.upload(tensors[name]!, data.map((each, j) => j === i ? each + by : each))
            yield* arena.submit(value)
            sides.push((yield* arena.read(value.outputs))[0]!)
          }
          const numeric = (sides[0]! - sides[1]!) / (2 * step)
          difference += (numeric - analytic[i]!) ** 2
          length += numeric ** 2 + analytic[i]! ** 2
        }
        yield* arena.upload(tensors[name]!, data)
        errors[name] = Math.sqrt(difference / (length || 1))
      }
    })))
    return errors
  }
  test.each([...routers, ...limited].filter(({ select }) => !("fixed" in select)))("through the whole layer: %j", async (router) => {
    for (const kind of ["full", "lowRank"] as const) for (const [name, error] of Object.entries(await check(kind, router))) expect([name, error < 1e-6]).toEqual([name, true])
  })
  test("top one, renormalised: the router's gradient is exactly zero, as Router.gradient says", async () => {
    const router = Router.topK({ active: 1 }), { numbers, shapes } = layer("full", count, router)
    const tensors = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, Tensor.kept(shape)]))
    const { weight } = await runOnce(f64, Object.entries(tensors).map(([name, tensor]) => ({ tensor, data: numbers[name]! })), () =>
      ({ weight: Gradient.of(Op.sumAll(record("full", count, router, tensors).output), [tensors["weight"]!])[0]! }))
    expect(Router.gradient(router, count)).toBe("none")
    expect(weight.every((value) => value === 0)).toBe(true)
  })
})

describe("a shared expert beside the routed ones", () => {
  const shapes = { x: [rows, hidden], gate: [inner, hidden], up: [inner, hidden], down: [hidden, inner], router: [1, hidden], target: [rows, hidden] } as const
  const numbers: Numbers = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, normal(`shared.${name}`, shape[0] * shape[1])]))
  const tensors = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, Tensor.kept(shape, { label: name })])) as Record<keyof typeof shapes, Tensor.Tensor>
  const given = (from: Numbers): ReadonlyArray<Given> => Object.entries(tensors).map(([name, tensor]) => ({ tensor, data: from[name]! }))
  const output = (gated: boolean) => Mixture.shared(tensors.x, { feedForward: tensors, router: gated ? tensors.router : undefined })
  test.each([true, false])("is a dense feed-forward, its gate (%p) a sigmoid of each row", async (gated) => {
    const found = await runOnce(f64, given(numbers), () => ({ output: output(gated) }))
    const expected = Array.from({ length: rows }, (_, row) => numbers["x"]!.slice(row * hidden, (row + 1) * hidden)).flatMap((x) => {
      const open = gated ? 1 / (1 + Math.exp(-x.reduce((sum, value, i) => sum + value * numbers["router"]![i]!, 0))) : 1
      return feedForward(x, numbers as Readonly<Record<Matrix, Float64Array>>).map((value) => open * value)
    })
    expect(apart(found.output, expected)).toBeLessThan(1e-12)
  })
  test("its gradients, the gate's too, agree with central differences", async () => {
    const loss = () => Op.sumAll(Op.multiply(output(true), tensors.target)), names = ["x", "gate", "up", "down", "router"] as const
    const gradients = await runOnce(f64, given(numbers), () => Object.fromEntries(Gradient.of(loss(), names.map((name) => tensors[name])).map((each, at) => [names[at]!, each])))
    const valueAt = async (name: string, i: number, by: number) => (await runOnce(f64, given({ ...numbers, [name]: numbers[name]!.map((each, j) => j === i ? each + by : each) }), () => ({ value: loss() }))).value[0]!
    for (const name of names) for (const i of [0, 3, 5]) expect(gradients[name]![i]).toBeCloseTo((await valueAt(name, i, 1e-5) - await valueAt(name, i, -1e-5)) / 2e-5, 7)
  })
})
