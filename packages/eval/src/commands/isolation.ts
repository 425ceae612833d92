/**
 * `eval:isolation`: whether strangers in the same batch can change what a router makes of one sequence. Routers whose decisions read a token or
 * its prefix must not move; a capacity that the batch shares is shown to leak.
 */
import { Hub, Model, Random, Weights } from "@switchyard/core"
import { Router, routers } from "@switchyard/routing"
import { Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { Device } from "@switchyard/gpu"
import { attack, type Attack } from "../isolation.ts"
import * as Report from "../Report.ts"
import * as Inputs from "./inputs.ts"
import { present } from "./present.ts"
import { common, place, start, TargetError } from "./target.ts"

const target = "eval:isolation"
/** The most that the logits of an isolated sequence may move: sums in another order, no more. */
export const tolerance = 1e-5
/** Steps of the search where no limit is given. */
const usual = 300

export interface Flags { readonly model: Option.Option<string>; readonly limit: Option.Option<number>; readonly seed: number }
interface Subject { readonly name: string; readonly model: Model.Model; readonly weights: Weights.Weights; readonly router: Router.Router }
export interface Finding { readonly name: string; readonly scope: Router.Scope; readonly attacks: ReadonlyArray<Attack>; readonly moved: boolean; readonly verdict: string }

/** A small mixture with random weights under each router of the table. */
const presets = (seed: number): ReadonlyArray<Subject> => Object.entries<(typeof routers)[keyof typeof routers]>(routers).map(([name, { router }]) => {
  const experts = 4, hidden = 16
  const model: Model.Model = {
    family: "switchyard", vocabulary: 48, hidden, layers: 2, heads: 2, keyValueHeads: 2, headSize: 8, contextLength: 24, normEpsilon: 1e-5, ropeTheta: 10_000, tiedEmbeddings: true, extra: {},
    feedForward: { kind: "mixture", inner: 24, experts, active: Router.active(router, experts), expert: { kind: "full" }, router, routerTensors: Router.tensors(router, { experts, hidden, vocabulary: 48, contextLength: 24 }) }
  }
  const weights = Weights.fromMemory(new Map(Model.tensors(model).map(({ name, shape }) => {
    const data = new Float32Array(shape.reduce((product, axis) => product * axis, 1))
    const constant = /norm$|\.deviation$/.test(name), deviation = /embedding|\.router\./.test(name) ? 1 : 0.4
    return [name, { shape, data: constant ? data.fill(1) : Random.fillNormal(Random.make(seed, name), data, { deviation }) }]
  })))
  return { name, model, weights, router }
})
const given = (folder: string) => Effect.gen(function*() {
  const { model, weights } = yield* Hub.open(Inputs.modelName(folder)), form = model.feedForward
  if (form.kind === "dense") return yield* new TargetError({ target, problem: `${folder} holds a dense model, which routes nothing`, remedy: "Give a mixture's folder, or leave --model out" })
  const [name] = yield* Inputs.names(target, [folder])
  return [{ name: name!, model, weights, router: yield* Router.decode(form.router, "the model's router") }] satisfies ReadonlyArray<Subject>
})

/** What was found of one router, against what its description says. */
export const judge = (name: string, router: Router.Router, attacks: ReadonlyArray<Attack>): Finding => {
  const scope = Router.scope(router), worst = attacks.reduce((most, each) => each.change > most.change ? each : most), moved = worst.change > tolerance
  const says = worst.change === 0 ? "did not move" : `moved by ${worst.change.toPrecision(2)}${moved ? ` (${worst.name})` : ""}`
  const isolated = moved ? "LEAKS, although its scope says that it cannot" : "isolated"
  const shared = scope === "sequence" ? moved ? "depends on its padding" : "did not depend on its padding here" : moved ? "leaks" : "did not leak here"
  return { name, scope, attacks, moved, verdict: `${name} (${scope}): ${says}: ${promises(scope) ? isolated : `${shared}; refused where isolation is asked for`}` }
}
const promises = (scope: Router.Scope): boolean => scope === "token" || scope === "prefix"

/** The report and what was found of every router. Fails: `TargetError` on a dense model; `CheckpointError`, `RouterError`, `LanguageModelError`, the device's failures. */
export const isolation = (flags: Flags) => Effect.gen(function*() {
  const subjects = Option.isSome(flags.model) ? yield* given(flags.model.value) : presets(flags.seed), steps = Option.getOrElse(flags.limit, () => usual)
  const findings = yield* Effect.forEach(subjects, ({ model, name, router, weights }) => Effect.map(attack(model, { weights, router, seed: flags.seed, steps }), (attacks) => judge(name, router, attacks)))
  const rows = findings.flatMap(({ attacks, name }) => attacks.map((each) => ({ model: name, task: each.name, count: each.batches, standardError: null, change: each.change, choices: each.choices })))
  const report = Report.make({
    title: "Isolation of a sequence from its batch", seed: flags.seed,
    values: [
      ...rows.map(({ change, choices: _, ...row }): Report.Value => ({ ...row, metric: "largestChange", unit: "of the largest logit", value: change })),
      ...rows.map(({ change: _, choices, ...row }): Report.Value => ({ ...row, metric: "choicesChanged", unit: "share of positions", value: choices }))
    ],
    sections: [{
      title: "Largest change", text: `${findings.map(({ verdict }) => verdict).join(". ")}.`,
      figures: [{
        spec: {
          width: 560, height: { step: 26 }, data: { values: rows.map(({ change, model, task }) => ({ router: model, neighbours: task, change })) }, mark: { type: "point", filled: true, size: 60 },
          encoding: {
            x: { field: "change", type: "quantitative", title: "largest change of a logit, as a share of the largest logit", axis: { format: ".1~%" } },
            y: { field: "router", type: "nominal", title: null, sort: findings.map(({ name }) => name) }, color: { field: "neighbours", type: "nominal", sort: [...new Set(rows.map(({ task }) => task))] }
          }
        } as never,
        alt: "Largest change of a sequence's logits by router and kind of neighbours", howToRead: "A row is a router; a point is what one kind of neighbours did to the sequence's logits at most. Zero means that the batch does not matter."
      }]
    }],
    notes: [
      `One random sequence, alone and in batches of 8: among random neighbours; among copies of itself; among the same neighbours in other orders; padded to twice its length; and among neighbours found in ${steps} steps, each of which changes one neighbour and keeps what moves the sequence more. Under the same router each time.`,
      `largestChange: |Δ logit| over the largest |logit| of the sequence alone; up to ${tolerance} is a sum taken in another order. choicesChanged: positions whose most probable token is another.`,
      "A router of scope token or prefix must not move. One of scope sequence or batch does not type-check where isolation is asked for (LanguageModel.makeIsolated), and is refused there when it is read from a file."
    ]
  })
  return { report, findings }
})

const { store: _, ...flags } = common("isolation", `steps of the search for neighbours (default ${usual})`)
export const command = Command.make(target, {
  model: Flag.String("model").pipe(Flag.withMetavar("NAME"), Flag.optional, Flag.withDescription("a mixture's folder, .gguf file or Hub id, for its own router; without it every router of the table on a small random mixture")),
  ...flags
}, (given) => Effect.gen(function*() {
  const { findings, report } = yield* Effect.provide(isolation(given), Device.byName(given.device))
  yield* present(report, place(given.out), [...findings.map(({ verdict }) => verdict), ""])
  const broken = findings.filter(({ moved, scope }) => moved && promises(scope)).map(({ name }) => name)
  if (broken.length > 0) return yield* new TargetError({ target, problem: `${broken.join(", ")} moved, whose scope says that the batch does not matter`, remedy: "This is a fault of the executor: report it with the seed and the device" })
})).pipe(Command.withDescription("what neighbours in the batch can do to a sequence under each router: the buffer-overflow attack"))

await start(command, import.meta)
