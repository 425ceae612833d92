/**
 * Routers of published systems as data: what they decide, without the losses and noise that they train with (losses are in
 * Balance.ts), and without capacities where the name does not say so. Each row is routed over real tokens and compared with a per-token loop in route.test.ts.
 */
import * as Router from "./Router.ts"

export interface Named {
  readonly router: Router.Router
  readonly paper: string
}

export const routers = {
  /** Two of eight, softmax over the two. */
  mixtral: { router: Router.topK({ active: 2 }), paper: "Jiang et al., Mixtral of Experts, 2024" },
  /** The best one, weighted by its probability, which is what gives the router a gradient. */
  switch: { router: Router.topK({ active: 1, weight: "prob" }), paper: "Fedus, Zoph, Shazeer, Switch Transformers, 2021" },
  /** Two, their probabilities divided by their sum; without GShard's capacity. */
  gshard: { router: Router.topK({ active: 2, weight: "renorm" }), paper: "Lepikhin et al., GShard, 2020" },
  /** The best one, dropped where its expert has taken 1.25 times its share of the batch: other people's rows decide. */
  switchCapacity: { router: Router.limited(Router.topK({ active: 1, weight: "prob" }), { perExpert: 1.25, scope: "batch" }), paper: "Fedus, Zoph, Shazeer, Switch Transformers, 2021" },
  /** Two, each expert with its equal share of every sequence and no more. */
  gshardCapacity: { router: Router.limited(Router.topK({ active: 2, weight: "renorm" }), { perExpert: 1, scope: "sequence" }), paper: "Lepikhin et al., GShard, 2020; a group of tokens is a sequence, and second choices queue with the first" },
  /** A shared expert for all tokens, probabilities as they are. */
  deepSeekMoE: { router: Router.shared({ shared: [0], active: 2 }), paper: "Dai et al., DeepSeekMoE, 2024; its shared expert has weight 1, ours its probability" },
  /** Sigmoids chosen with a correction of the load, within the better half of the groups; weights that add to 2.5. */
  deepSeekV3: { router: Router.sigmoid({ active: 2, groups: { count: 2, keep: 1, by: "top2sum" }, scale: 2.5 }), paper: "DeepSeek-AI, DeepSeek-V3, 2024; shared experts stand beside the router, in the model" },
  /** Probabilities as they are, of the best two in the best groups. */
  deepSeekV2: { router: { ...Router.topK({ active: 2, weight: "prob" }), groups: { count: 2, keep: 1, by: "max" } }, paper: "DeepSeek-AI, DeepSeek-V2, 2024: device-limited routing" },
  /** A learned bias of each expert's score, softmax over the chosen. */
  gptOss: { router: { ...Router.topK({ active: 2 }), score: { by: "linear", bias: true } }, paper: "OpenAI, gpt-oss model card, 2025" },
  /** Every expert for every token. */
  soft: { router: Router.all(), paper: "Jacobs et al., Adaptive mixtures of local experts, 1991" },
  /** Cosine to learned directions, one expert. */
  xMoE: { router: Router.prototypes({ active: 1, metric: "cosine", temperature: 0.07, weight: "prob" }), paper: "Chi et al., On the representation collapse of sparse mixture of experts, 2022; without its projection" },
  /** The nearest centroids of a clustering. */
  moirai: { router: Router.prototypes({ active: 2, metric: "euclidean", temperature: 8 }), paper: "Liu et al., Moirai-MoE, 2024" },
  /** Nearness in units of each coordinate's spread, over the text so far. */
  prefixPrototypes: { router: Router.prototypes({ active: 2, metric: "whitened", temperature: 8, unit: { of: "prefix", pool: "decay", decay: 0.9 } }), paper: "after Gururangan et al., c-BTM, 2023" },
  /** How long a token is along each expert's strongest direction. */
  arrow: { router: Router.arrow({ active: 2 }), paper: "Ostapenko et al., Towards modular LLMs by building and reusing a library of LoRAs, 2024: Arrow" },
  /** Gates trained for each expert alone. */
  phatgoose: { router: Router.phatgoose({ active: 2 }), paper: "Muqeeth et al., Learning to route among specialized experts for zero-shot generalization, 2024: PHATGOOSE" },
  /** Directions made from what describes the experts' domains. */
  nexus: { router: Router.nexus({ active: 1, embedding: 6, inner: 5, weight: "prob" }), paper: "Gritsch et al., Nexus, 2024; its shared expert is the model's" },
  /** Chance, by token. */
  hash: { router: Router.hash({ active: 1 }), paper: "Roller et al., Hash layers for large sparse models, 2021: random hash" },
  /** Chance, by position. */
  random: { router: Router.random({ active: 2 }), paper: "a control: experts whatever the text" },
  /** One decision for the text so far. */
  prefix: { router: Router.prefix({ active: 2 }), paper: "after Kudugunta et al., Beyond distillation: task-level MoE, 2021, made causal" },
  /** A small network over three pools of the text so far, from the mean of all of it to its last ten tokens. */
  prefixMlp: { router: Router.prefixMlp({ active: 2, inner: 8 }), paper: "after Kudugunta et al., Beyond distillation: task-level MoE, 2021, made causal, with a hidden layer" },
  /** Scores of single tokens that add up, each earlier one counting a little less. */
  evidence: { router: { ...Router.topK({ active: 2 }), unit: { of: "prefix", pool: "evidence", decay: 0.9, temperature: 3 } }, paper: "Wald, Sequential tests of statistical hypotheses, 1945: log-odds of witnesses add up; learned, and over experts" },
  /** The same by a small network over normalised states; all tokens count alike. */
  evidenceMlp: { router: { ...Router.topK({ active: 1 }), unit: { of: "prefix", pool: "evidence", decay: 1, temperature: 8, normalize: "rms" }, score: { by: "mlp", inner: 8 } }, paper: "as evidence" },
  /** The posterior of the text so far under a small model of each expert's text: log-odds of hashed n-grams, added up. */
  ngram: { router: Router.ngram({ active: 2, orders: 3, buckets: 64 }), paper: "after Li et al., Branch-Train-Merge, 2022, with n-grams (Jelinek, Mercer, 1980) in place of the experts" },
  /** The last two tokens alone. */
  bigram: { router: { ...Router.ngram({ active: 1, orders: 2, buckets: 97, weight: "prob" }), unit: { of: "token" } }, paper: "as ngram, of no more than the last two tokens" },
  /** Experts mixed by how well each predicted the text so far. */
  branchTrainMerge: { router: Router.likelihood({ decay: 0.98 }), paper: "Li et al., Branch-Train-Merge, 2022; inside one model instead of over whole models" },
  /** The same over the first tokens, then the two best for the rest of the text. */
  trial: { router: Router.likelihood({ active: 2, trial: 5 }), paper: "after Li et al., Branch-Train-Merge, 2022: an election that ends, so that losers are not paid for" }
} as const satisfies Record<string, Named>
