/**
 * What the sweep compares, as data: experts of two kinds, the rivals, and every way of routing with the settings it may choose between. Each method is given the same
 * number of training tokens after the experts (`sizes.router`), and the same number of settings to choose from.
 */
import { type Checkpoint, type Corpus, Pipeline, type Stage } from "@switchyard/core"
import { Arrow, Balance, Finetune, Ngram, Phatgoose, Prototypes, Router } from "@switchyard/routing"

export type Mixture = Stage.Node<Checkpoint.Checkpoint<"mixture">, any, any>
export type Texts = Readonly<Record<string, Stage.Node<Corpus.Corpus, any, any>>>
/** Low-rank experts share the seed's feed-forward; full ones have their own. */
export type Variant = "lowRank" | "full"

/** Leaves the licences in other languages out (but for one in Dutch): a few in Chinese or Japanese cost so many bits that which seed's expert had met them would decide everything. */
export const english: Readonly<Record<string, { readonly minimumAscii: number }>> = { law: { minimumAscii: 0.975 } }
/** Steps of 8 sequences of 256 bytes each: experts 4 · 60, a router (or the router and its experts) 32, the control as many as all of these together. */
export const sizes = {
  full: { expert: 60, router: 32, control: 272, shape: { batch: 8, tokens: 256 }, fitted: 4_096, documentBytes: 4_096, choose: 49_152, report: 49_152, switch: 16_384 },
  small: { expert: 2, router: 2, control: 10, shape: { batch: 2, tokens: 32 }, fitted: 256, documentBytes: 64, choose: 256, report: 256, switch: 128 }
} as const
type Amounts<A> = { readonly [K in keyof A]: A[K] extends number ? number : Amounts<A[K]> }
export type Sizes = Amounts<(typeof sizes)["full"]>
/** The sizes of a run; other steps for the experts lengthen the control with them. */
export const sizesOf = ({ small, steps }: { readonly small: boolean; readonly steps?: number }): Sizes => {
  const size = sizes[small ? "small" : "full"]
  return steps === undefined ? size : { ...size, expert: steps, control: 4 * steps + size.router }
}

/** What a method is built from. */
export interface Kit {
  readonly variant: Variant
  readonly sizes: Sizes
  readonly texts: Texts
  /** The experts under this router, newborn. */
  readonly mixture: (router: Router.Router) => Mixture
}
/** A way of routing as data. */
export interface Way {
  readonly group: "by token" | "by prefix" | "by likelihood" | "from prototypes" | "controls"
  readonly about: string
  readonly setting: string
  /** The numbers that `born` or the training gets; `chosen` is the one that `--tune` found best on the choose split. */
  readonly settings: ReadonlyArray<number>
  readonly chosen: number
  /** The mixture as it stands before any training of its router: newborn, or fitted. */
  readonly born: (kit: Kit, setting: number) => Mixture
  /** What its router is trained for beside the text, at the rate that is the setting; left out where nothing is trained. */
  readonly aims?: object
  /** The part of the experts' own rate at which the experts train on under it, as `--tune` found it. */
  readonly share: number
}
/** A row of the table: a way by itself, or with its experts trained on. */
export interface Method extends Pick<Way, "about" | "setting" | "settings" | "chosen"> {
  readonly group: Way["group"] | "jointly"
  readonly build: (kit: Kit, setting: number) => Mixture
}

export const rates: Readonly<Record<Variant, number>> = { lowRank: 4e-3, full: 1e-3 }
/** `more` says what is trained and for what; `steps` all that a router may have, where it says nothing else. */
const train = ({ sizes, texts }: Kit, mixture: Mixture, learningRate: number, more: object): Mixture =>
  Finetune.train(mixture as never, texts, { trainable: "routers", steps: sizes.router, learningRate, warmup: 4, ...sizes.shape, ...more } as never) as never
const told = { supervise: { weight: 1, detach: true } }
const even = { balance: [Balance.switchLoss({ weight: 0.01 })] }

const evidence = { of: "prefix", pool: "evidence", decay: 1, temperature: 16 } as const
const two = { keep: "top", active: 2 } as const
const mean = { of: "prefix", pool: "mean" } as const
/** Counted in the very sequences that each expert was trained on: no further text is read. */
const counted = (kit: Kit, options: Parameters<typeof Router.ngram>[0]): Mixture => Ngram.fit(kit.mixture(Router.ngram(options)) as never, kit.texts, { tokens: kit.sizes.expert * kit.sizes.shape.batch * kit.sizes.shape.tokens, window: kit.sizes.shape.tokens }) as never
const fitting = ({ sizes }: Kit) => ({ tokens: sizes.fitted, window: sizes.shape.tokens })
const fitted = (kit: Kit, router: Router.Router): Mixture => Prototypes.fit(kit.mixture(router) as never, kit.texts, fitting(kit)) as never
const prefixMlp = (kit: Kit): Mixture => Prototypes.standardize(kit.mixture(Router.prefixMlp({ active: 2, weight: "renorm", normalize: "whitened" })) as never, kit.texts, fitting(kit)) as never
const election = (kit: Kit, active: number, trial: number): Mixture => kit.mixture(Router.likelihood({ active, trial: Math.min(trial, kit.sizes.shape.tokens / 2) }))

const rate = { setting: "learning rate", settings: [1e-2, 3e-3] } as const

export const ways: Readonly<Record<string, Way>> = {
  "token, prob, top 1": { group: "by token", about: "linear, weight p of the chosen (Switch), load balanced", ...rate, chosen: 1e-2, aims: even, share: 0.25, born: (kit) => kit.mixture(Router.topK({ active: 1, weight: "prob" })) },
  "token, prob, top 2": { group: "by token", about: "linear, weights p of the chosen, load balanced", ...rate, chosen: 1e-2, aims: even, share: 0.25, born: (kit) => kit.mixture(Router.topK({ active: 2, weight: "prob" })) },
  "token, renorm, top 2": { group: "by token", about: "linear, weights of the chosen made to add to one (Mixtral), load balanced", ...rate, chosen: 1e-2, aims: even, share: 0.0625, born: (kit) => kit.mixture(Router.topK({ active: 2, weight: "renorm" })) },
  "prefix, language loss": { group: "by prefix", about: "linear on the running mean of states, trained by the text alone", ...rate, chosen: 1e-2, aims: {}, share: 0.25, born: (kit) => kit.mixture(Router.prefix({ active: 2, weight: "renorm" })) },
  "prefix, told": { group: "by prefix", about: "linear on the running mean, told the domain", ...rate, chosen: 1e-2, aims: told, share: 0.0625, born: (kit) => kit.mixture(Router.prefix({ active: 2, weight: "renorm" })) },
  "prefix MLP, language loss": { group: "by prefix", about: "one hidden layer on a running and two decaying means, whitened, trained by the text alone", ...rate, chosen: 1e-2, aims: {}, share: 0.0625, born: (kit) => prefixMlp(kit) },
  "prefix MLP, told": { group: "by prefix", about: "one hidden layer on a running and two decaying means, whitened, told the domain", ...rate, chosen: 1e-2, aims: told, share: 0.0625, born: (kit) => prefixMlp(kit) },
  "evidence MLP, told": { group: "by prefix", about: "one hidden layer on each state, whose log-odds add up, told the domain", ...rate, chosen: 1e-2, aims: told, share: 0.0625, born: (kit) => kit.mixture({ unit: evidence, score: { by: "mlp", inner: 64 }, select: two, weight: "renorm" }) },
  "Nexus, told": { group: "by prefix", about: "directions generated from domain embeddings, on the running mean, told the domain", ...rate, chosen: 3e-3, aims: told, share: 0.0625, born: (kit) => Prototypes.embed(kit.mixture(Router.nexus({ active: 2, embedding: 128, unit: mean, weight: "renorm" })) as never, kit.texts, fitting(kit)) as never },
  "n-grams": { group: "by likelihood", about: "posterior of the text so far under hashed n-grams of up to 3 bytes, counted in each expert's text", setting: "temperature", settings: [2, 8], chosen: 2, share: 0.0625, born: (kit, temperature) => counted(kit, { active: 2, temperature }) },
  "n-grams, fading": { group: "by likelihood", about: "n-grams' posterior, older text counting less", setting: "decay", settings: [0.98, 0.95], chosen: 0.98, share: 0.0625, born: (kit, decay) => counted(kit, { active: 2, temperature: 4, decay }) },
  "n-grams, top 1": { group: "by likelihood", about: "n-grams' posterior, one expert", setting: "order", settings: [3, 2], chosen: 3, share: 0.0625, born: (kit, orders) => counted(kit, { active: 1, orders }) },
  "likelihood, ending": { group: "by likelihood", about: "all experts run on the first bytes, then the two likeliest alone", setting: "trial (tokens)", settings: [16, 48], chosen: 48, share: 0.0625, born: (kit, trial) => election(kit, 2, trial) },
  "likelihood, ending, top 1": { group: "by likelihood", about: "all experts run on the first bytes, then the likeliest alone", setting: "trial (tokens)", settings: [16, 48], chosen: 48, share: 0.0625, born: (kit, trial) => election(kit, 1, trial) },
  "centroids, whitened": { group: "from prototypes", about: "nearest centroid of the running mean", setting: "temperature", settings: [1, 16], chosen: 16, share: 0.0625, born: (kit, temperature) => fitted(kit, Router.prototypes({ active: 2, metric: "whitened", temperature, unit: mean, weight: "renorm" })) },
  "centroids, euclidean": { group: "from prototypes", about: "nearest centroid of the running mean", setting: "temperature", settings: [0.1, 1], chosen: 1, share: 0.0625, born: (kit, temperature) => fitted(kit, Router.prototypes({ active: 2, temperature, unit: mean, weight: "renorm" })) },
  "Arrow": { group: "from prototypes", about: "strongest direction of each expert's change, by token", setting: "temperature", settings: [1, 0.25], chosen: 1, share: 0.25, born: (kit, temperature) => Arrow.fit(kit.mixture(Router.arrow({ active: 2, temperature, weight: "renorm" })) as never) as never },
  "PHATGOOSE": { group: "from prototypes", about: "gates trained after the experts, each on its own text, by token", ...rate, chosen: 3e-3, share: 0.25, born: (kit, lr) => Phatgoose.fit(kit.mixture(Router.phatgoose({ active: 2 })) as never, kit.texts, { steps: kit.sizes.router, learningRate: lr, ...kit.sizes.shape } as never) as never },
  "hash": { group: "controls", about: "chance by token id", setting: "—", settings: [0], chosen: 0, share: 0.25, born: (kit) => kit.mixture(Router.hash({ active: 2 })) },
  "random": { group: "controls", about: "chance by position", setting: "—", settings: [0], chosen: 0, share: 0.25, born: (kit) => kit.mixture(Router.random({ active: 2 })) }
}

/** The name under which a way is run with its experts trained on. */
export const joint = (way: string): string => `${way} + experts`

/** The experts' training under a router; a slow second moment, because few rows reach each of them. */
const follow = { beta2: 0.99, warmup: 8 } as const
/** As many steps as by itself: a router that is trained has half of them alone, and the other half together with the experts; under any other the experts have all. */
const jointly = (kit: Kit, { aims, born, chosen }: Way, share: number): Mixture => {
  const learningRate = share * rates[kit.variant], newborn = born(kit, chosen), half = kit.sizes.router / 2
  return aims === undefined ? train(kit, newborn, learningRate, { trainable: "experts", ...follow })
    : train(kit, train(kit, newborn, chosen, { ...aims, steps: half }), learningRate, { ...aims, trainable: ["routers", "experts"], steps: half, ...follow })
}

/** Each way by itself, then each with its experts trained on. */
export const methods: Readonly<Record<string, Method>> = {
  ...Pipeline.each(ways, (way): Method => ({ ...way, build: (kit, setting) => way.aims === undefined ? way.born(kit, setting) : train(kit, way.born(kit, setting), setting, way.aims) })),
  ...Object.fromEntries(Object.entries(ways).map(([name, way]): [string, Method] => [joint(name), {
    group: "jointly", about: "trained with its experts", setting: "share of the experts' rate", settings: [0.25, 0.0625], chosen: way.share, build: (kit, share) => jointly(kit, way, share)
  }]))
}
/** Shown beside them, not entered: every expert is active for every token. */
export const ceiling = { about: "posterior under all experts, all of them run and mixed", build: (kit: Kit): Mixture => kit.mixture(Router.likelihood({ temperature: 1 })) }
