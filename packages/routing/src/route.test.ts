import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals"
import { Random } from "@switchyard/core"
import { type Device, plainDevice, Tensor } from "@switchyard/gpu"
import fc from "fast-check"
import { naiveRoute } from "./naiveRoute.ts"
import { devices, openDevice } from "./openDevice.ts"
import { route } from "./route.ts"
import * as Router from "./Router.ts"
import { type Named, routers } from "./routers.ts"
import { runOnce } from "./runOnce.ts"

const text = `The Software is provided "as is", without warranty of any kind; 它在第一行。 Call me Ishmael. Some years ago, never mind how long precisely, having little`
const batch = 3, tokens = 40, hidden = 12, experts = 6, rows = batch * tokens

/** Real tokens: the bytes of a text, each the row of its byte in a random embedding. */
const bytes = new TextEncoder().encode(text).subarray(0, rows)
const normal = (name: string, length: number, deviation = 1, mean = 0) => Random.fillNormal(Random.make(3, name), new Float32Array(length), { deviation, mean })
const table = normal("embedding", 256 * hidden)
const x = Float32Array.from({ length: rows * hidden }, (_, i) => table[bytes[Math.floor(i / hidden)]! * hidden + i % hidden]!)
const sizes = { experts, hidden, vocabulary: 256, contextLength: tokens }
const scores = normal("scores", rows * experts)
/** Numbers of a router's tensors: deviations are near one, the rest normal. */
const values = (router: Router.Router): Readonly<Record<string, Float32Array>> => Object.fromEntries(Object.entries(Router.tensors(router, sizes)).map(([name, shape]) => {
  const length = Tensor.size(shape)
  return [name, name.endsWith("deviation") ? normal(name, length, 0.1).map((value) => 1 + Math.abs(value)) : normal(name, length, name === "weight" ? 0.5 : 1)]
}))

const decide = async (device: Device.Service, router: Router.Router, numbers = x) => {
  const input = Tensor.kept([rows, hidden], { label: "x" }), given = Tensor.kept([rows, experts], { label: "scores" }), numbersOf = values(router)
  const shapes = Router.tensors(router, sizes), ids = Tensor.kept([rows], { dtype: "u32" }), positions = Tensor.kept([rows], { dtype: "u32" })
  const tensors = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, Tensor.kept(shape, { label: name })]))
  const uploads = [{ tensor: ids, data: Uint32Array.from(bytes) }, { tensor: positions, data: Uint32Array.from({ length: rows }, (_, row) => row % tokens) }, { tensor: input, data: numbers }, { tensor: given, data: scores }, ...Object.entries(tensors).map(([name, tensor]) => ({ tensor, data: numbersOf[name]! }))]
  const read = await runOnce(device, uploads, () => {
    const { dropped, experts: chosen, load, logits, offsets, order, places, probabilities, weights } = route(router, input, { batch, tokens, experts, tensors, ids, positions, ...router.score.by === "likelihood" ? { scores: given } : {} })
    const decided = { experts: chosen, load, logits, offsets, order, places, probabilities, weights }
    return (dropped === undefined ? decided : { ...decided, dropped }) as typeof decided
  })
  return read as typeof read & { experts: Uint32Array; dropped?: Float32Array }
}
const naive = (router: Router.Router) => naiveRoute(router, { x, ids: bytes, batch, tokens, hidden, experts, tensors: values(router), ...router.score.by === "likelihood" ? { scores } : {} })

/** Largest difference of any element. */
const apart = (a: ArrayLike<number>, b: ReadonlyArray<number>) => {
  expect(a.length).toBe(b.length)
  return b.reduce((worst, value, i) => Math.max(worst, Math.abs(value - a[i]!)), 0)
}

jest.setTimeout(60_000) // the software device compiles each kernel when it first meets it
describe.each(devices)("on device $name", ({ layer: open, precise }) => {
  let opened: Awaited<ReturnType<typeof openDevice>> | undefined
  const device = () => opened!.device
  beforeAll(async () => { opened = await openDevice(open()) })
  afterAll(() => opened?.close())
  const tolerance = precise ? 1e-9 : 2e-5
  test.each(Object.entries<Named>(routers))("%s equals the per-token loop", async (_, { router }) => {
    const oracle = naive(router), found = await decide(device(), router)
    expect(apart(found.logits, oracle.flatMap(({ logits }) => logits))).toBeLessThan(tolerance * 10)
    expect(apart(found.probabilities, oracle.flatMap(({ probabilities }) => probabilities))).toBeLessThan(tolerance)
    expect([...found.experts]).toEqual(oracle.flatMap(({ experts }) => experts))
    expect(apart(found.weights, oracle.flatMap(({ weights }) => weights))).toBeLessThan(tolerance)
    expect(found.dropped === undefined ? undefined : [...found.dropped]).toEqual(router.capacity === undefined ? undefined : oracle.flatMap(({ dropped }) => dropped))
    expect([...found.load]).toEqual(Array.from({ length: experts }, (_, e) => oracle.flatMap(({ experts }) => experts).filter((each) => each === e).length))
  })
  test("order lists slots by expert and row; places is its inverse; offsets bound each expert", async () => {
    const { experts: chosen, offsets, order, places } = await decide(device(), Router.topK({ active: 2 }))
    const slots = [...chosen.keys()].sort((a, b) => chosen[a]! - chosen[b]! || a - b)
    expect([...order]).toEqual(slots)
    slots.forEach((slot, place) => expect(places[slot]).toBe(place))
    for (let e = 0; e < experts; e++) for (let place = offsets[e]!; place < offsets[e + 1]!; place++) expect(chosen[order[place]!]).toBe(e)
    expect(offsets[experts]).toBe(rows * 2)
  })
  test("ties go to the lowest number", async () => {
    const found = await decide(device(), Router.topK({ active: 3 }), new Float32Array(rows * hidden))
    expect([...found.experts.subarray(0, 3)]).toEqual([0, 1, 2])
  })
})

describe("laws", () => {
  const selections: ReadonlyArray<Router.Select> = [
    { keep: "all" }, { keep: "top", active: 1 }, { keep: "top", active: 4 }, { fixed: [4, 1] },
    { union: [{ fixed: [5] }, { keep: "top", active: 2 }] }, { union: [{ keep: "top", active: 2 }, { fixed: [2, 0] }] }, { union: [{ fixed: [3] }, { keep: "all" }] }
  ]
  const any = fc.record({
    unit: fc.constantFrom<Router.Unit>({ of: "token" }, { of: "prefix", pool: "mean" }, { of: "prefix", pool: "decay", decay: 0.7 }, { of: "prefix", pool: "evidence", decay: 0.8, temperature: 4 }, { of: "prefix", pool: "evidence", decay: 1, temperature: 9, normalize: "whitened" }, { of: "prefix", pool: "bank", decays: [1, 0.5], normalize: "rms" }, { of: "prefix", pool: "bank", decays: [0.9, 1, 0.2], normalize: "whitened" }),
    score: fc.constantFrom<Router.Score>({ by: "linear" }, { by: "mlp", inner: 5 }, { by: "magnitude", temperature: 2 }, { by: "standardized" }, { by: "generated", embedding: 4, inner: 3 }, { by: "distance", metric: "euclidean", temperature: 5 }, { by: "distance", metric: "whitened", temperature: 5 }, { by: "distance", metric: "cosine", temperature: 0.2 }),
    select: fc.constantFrom(...selections), weight: fc.constantFrom<Router.Weight>("prob", "renorm", "softmaxKept"),
    activation: fc.constantFrom("softmax" as const, "sigmoid" as const), correction: fc.constant(true as const), scale: fc.constantFrom(0.5, 2.5),
    groups: fc.constantFrom<Router.Groups>({ count: 1, keep: 1, by: "max" }, { count: 3, keep: 3, by: "top2sum" })
  }, { requiredKeys: ["unit", "score", "select", "weight"] }).filter(({ groups, select }) => groups === undefined || Router.kept(select, experts).top <= 4)
  test("any combination equals the loop", async () => {
    await fc.assert(fc.asyncProperty(any, async (router) => {
      const oracle = naive(router), found = await decide(plainDevice({ precision: "f64" }), router)
      expect([...found.experts]).toEqual(oracle.flatMap(({ experts }) => experts))
      expect(apart(found.weights, oracle.flatMap(({ weights }) => weights))).toBeLessThan(1e-9)
    }), { numRuns: 25, seed: 1 })
  })
  test("conservation: weights of renorm and softmaxKept add to one, of prob to at most one, and to one over all", async () => {
    await fc.assert(fc.asyncProperty(any, async (router) => {
      const { weights } = await decide(plainDevice({ precision: "f64" }), router), active = Router.active(router, experts)
      for (let row = 0; row < rows; row++) {
        const sum = [...weights.subarray(row * active, (row + 1) * active)].reduce((a, b) => a + b) / (router.scale ?? 1)
        if (router.weight !== "prob" || (active === experts && router.activation !== "sigmoid")) expect(sum).toBeCloseTo(1, 12)
        else expect(sum).toBeLessThan(router.activation === "sigmoid" ? active : 1)
      }
    }), { numRuns: 15, seed: 2 })
  })
  const windows = fc.record({ perExpert: fc.constantFrom(0.3, 0.5, 1, 1.25, 6), scope: fc.constantFrom("batch" as const, "sequence" as const) })
  test("capacity: any combination equals queues at the experts' doors, and no expert takes more than it has room for", async () => {
    let dropped = 0
    await fc.assert(fc.asyncProperty(any, windows, async (unlimited, window) => {
      const router: Router.Router = Router.limited(unlimited, window)
      const oracle = naive(router), found = await decide(plainDevice({ precision: "f64" }), router), active = Router.active(router, experts)
      expect([...found.dropped!]).toEqual(oracle.flatMap(({ dropped }) => dropped))
      expect(apart(found.weights, oracle.flatMap(({ weights }) => weights))).toBeLessThan(1e-9)
      const sequences = window.scope === "batch" ? 1 : batch, room = Math.ceil(window.perExpert * rows / sequences * active / experts)
      const taken = Array.from({ length: sequences * experts }, () => 0)
      found.experts.forEach((expert, slot) => { if (found.dropped![slot] === 0) taken[Math.floor(slot / (found.experts.length / sequences)) * experts + expert]!++ })
      expect(Math.max(...taken)).toBeLessThanOrEqual(room)
      dropped += [...found.dropped!].filter((each) => each === 1).length
    }), { numRuns: 25, seed: 4 })
    expect(dropped).toBeGreaterThan(100)
  })
  test("capacity: with room for all the weights are those without; over a sequence other sequences change nothing, over a batch earlier ones do", async () => {
    const router = Router.topK({ active: 2 }), last = (weights: ArrayLike<number>) => Array.from(weights).slice((rows - tokens) * 2)
    expect((await decide(plainDevice(), Router.limited(router, { perExpert: experts, scope: "batch" }))).weights).toEqual((await decide(plainDevice(), router)).weights)
    const other = x.map((value, i) => i < (rows - tokens) * hidden ? x[i % hidden + (rows - tokens) * hidden]! : value) // all earlier rows ask what the last sequence's first row asks
    const moved = async (scope: "batch" | "sequence") => {
      const limited = Router.limited(router, { perExpert: 1, scope })
      return apart(last((await decide(plainDevice(), limited, other)).weights), last((await decide(plainDevice(), limited)).weights))
    }
    expect(await moved("sequence")).toBe(0)
    expect(await moved("batch")).toBeGreaterThan(0.3)
  })
  test("nesting: all keeps what the top of all keeps; renorm weighs as softmaxKept", async () => {
    const all = await decide(plainDevice(), Router.all()), top = await decide(plainDevice(), { ...Router.all(), select: { keep: "top", active: experts } })
    expect(top).toEqual(all)
    expect((await decide(plainDevice(), Router.topK({ active: 2, weight: "renorm" }))).weights).toEqual((await decide(plainDevice(), Router.topK({ active: 2 }))).weights)
  })
  test("scope: nothing decided changes when rows outside it do", async () => {
    await fc.assert(fc.asyncProperty(any, fc.integer({ min: 0, max: tokens - 2 }), async (router: Router.Router, at) => {
      const before = await decide(plainDevice(), router)
      // everything but what row `at` of sequence 1 may read becomes something else
      const mayRead = (row: number) => Router.scope(router) === "token" ? row === tokens + at : row >= tokens && row <= tokens + at
      const other = x.map((value, i) => mayRead(Math.floor(i / hidden)) ? value : 3 - value)
      const after = await decide(plainDevice(), router, other), active = Router.active(router, experts), row = tokens + at
      expect(after.experts.subarray(row * active, (row + 1) * active)).toEqual(before.experts.subarray(row * active, (row + 1) * active))
      expect(after.weights.subarray(row * active, (row + 1) * active)).toEqual(before.weights.subarray(row * active, (row + 1) * active))
      expect(after.logits.subarray(row * experts, (row + 1) * experts)).toEqual(before.logits.subarray(row * experts, (row + 1) * experts))
    }), { numRuns: 20, seed: 3 })
  })
  test("renorm of fixed experts whose probability underflows is still a weighting", async () => {
    const found = await decide(plainDevice(), { ...Router.fixed([2, 3]), weight: "renorm" }, x.map((value) => value * 1000))
    expect([...found.weights].every((value) => value >= 0 && value <= 1)).toBe(true)
  })
})

describe("one router by its own law", () => {
  const f64 = plainDevice({ precision: "f64" })
  const scoresOf = async (router: Router.Router, numbers: Readonly<Record<string, Float32Array>>, count: number) => {
    const input = Tensor.kept([rows, hidden]), tensors = Object.fromEntries(Object.entries(Router.tensors(router, { ...sizes, experts: count })).map(([name, shape]) => [name, Tensor.kept(shape, { label: name })]))
    const given = [{ tensor: input, data: x }, ...Object.entries(tensors).map(([name, tensor]) => ({ tensor, data: numbers[name]! }))]
    return (await runOnce(f64, given, () => ({ logits: route(router, input, { batch, tokens, experts: count, tensors }).logits }))).logits
  }
  test("Nexus: an expert that is added by its embedding alone changes no other's score", async () => {
    const router = Router.nexus({ active: 1, embedding: 4, inner: 3 }), numbers = values(router), before = await scoresOf(router, numbers, experts)
    const after = await scoresOf(router, { ...numbers, embeddings: Float32Array.of(...numbers["embeddings"]!, 1, -0.5, 2, 0.3) }, experts + 1)
    for (let row = 0; row < rows; row++) for (let e = 0; e < experts; e++) expect(after[row * (experts + 1) + e]).toBe(before[row * experts + e])
    expect(after.some((value, i) => i % (experts + 1) === experts && Math.abs(value) > 0.1)).toBe(true)
  })
  test("Arrow: a direction and its opposite are one", async () => {
    const router = Router.arrow({ active: 2 }), { directions } = values(router)
    expect(await scoresOf(router, { directions: directions!.map((value) => -value) }, experts)).toEqual(await scoresOf(router, { directions: directions! }, experts))
  })
  test("PHATGOOSE: neither the length nor the mean of a gate matters", async () => {
    const router = Router.phatgoose({ active: 2 }), { gates } = values(router)
    const apartBy = apart(await scoresOf(router, { gates: gates!.map((value) => 3 * value + 2) }, experts), [...await scoresOf(router, { gates: gates! }, experts)])
    expect(apartBy).toBeLessThan(1e-5)
  })
  test("hash reads the token alone, random the position alone; both spread over the experts", async () => {
    const [hash, random] = await Promise.all([Router.hash({ active: 1 }), Router.random({ active: 1 })].map(async (router) => (await decide(f64, router)).experts))
    for (let a = 0; a < rows; a++) for (let b = 0; b < a; b++) {
      if (bytes[a] === bytes[b]) expect(hash![a]).toBe(hash![b])
      if (a % tokens === b % tokens) expect(random![a]).toBe(random![b])
    }
    expect([new Set(hash).size, new Set(random).size]).toEqual([experts, experts])
  })
})

describe("programmers' mistakes name the axis", () => {
  const x = Tensor.kept([6, hidden])
  const record = (router: Router.Router, options: { batch: number; tokens: number }) => runOnce(plainDevice(), [], () => ({ logits: route(router, x, { ...options, experts, tensors: {} }).logits }))
  test.each([
    ["rows", Router.topK({ active: 1 }), { batch: 2, tokens: 4 }, /x axis 0 \(rows\) expected batch 2 · tokens 4, got 6/],
    ["tensor", Router.topK({ active: 1 }), { batch: 2, tokens: 3 }, /by linear needs the tensor weight/],
    ["experts", Router.topK({ active: 7 }), { batch: 2, tokens: 3 }, /7 active experts of 6 \(axis experts\)/],
    ["keys", Router.hash({ active: 1 }), { batch: 2, tokens: 3 }, /by lookup needs the tensor table/],
    ["scores", Router.likelihood(), { batch: 2, tokens: 3 }, /give them as `scores`/]
  ] as const)("%s", async (_, router, options, message) => {
    await expect(record(router, options)).rejects.toThrow(message)
  })
})
