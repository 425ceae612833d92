/** A report with every kind of part in it, for the tests of its renderings. The numbers are made up by a formula. */
import * as Plot from "./Plot.ts"
import * as Report from "./Report.ts"

const domains = ["fiction", "speech", "law", "code"]
const models = ["seed", "expert fiction", "expert speech", "expert law", "expert code", "oracle", "control", "mixture", "compressed"]
const wave = (at: number) => Math.abs(Math.sin(at * 12.9898) * 43758.5453) % 1

export const exampleReport = (): Report.Report => {
  const quality = models.map((model, at) => ({
    model, value: 2.6 - 0.05 * at, standardError: 0.02 + 0.01 * wave(at), parameters: at === 0 ? 760_000 : at < 6 ? 840_000 : at === 7 ? 1_400_000 : 1_050_000,
    activeFlops: at < 6 ? 1_500_000 + 20_000 * at : 1_900_000
  }))
  const layers = Array.from({ length: 6 }, (_, layer) => {
    const byDomain = Object.fromEntries(domains.map((domain, d) => {
      const raw = Array.from({ length: 4 }, (_, expert) => 0.1 + wave(layer * 16 + d * 4 + expert) * 0.3 + (expert === d ? 0.2 * layer : 0))
      const sum = raw.reduce((a, b) => a + b, 0)
      return [domain, raw.map((share) => share / sum)]
    }))
    return { layer, byDomain, load: [0, 1, 2, 3].map((expert) => domains.reduce((sum, domain) => sum + byDomain[domain]![expert]! / 4, 0)) }
  })
  const curve = (from: number, to: number, run: number) => {
    const tokens = Float64Array.from({ length: 400 }, (_, at) => (at + 1) * 256)
    return { tokens, loss: Float32Array.from(tokens, (_, at) => to + (from - to) * Math.exp(-at / 90) + 0.15 * (wave(at + run * 1000) - 0.5)) }
  }
  return Report.make({
    title: "Domain experts: quickstart", banner: "one seed, short budget", seed: 0, split: "report",
    values: models.flatMap((model, at) => [
      ...domains.map((task, d): Report.Value => ({ model, task, metric: "bitsPerByte", value: 2.9 - 0.06 * at - 0.1 * d + 0.1 * wave(at * 7 + d), unit: "bits/byte", count: 24, standardError: 0.031 })),
      { model, task: "all domains", metric: "bitsPerByte", value: 2.6 - 0.05 * at, unit: "bits/byte", count: 96, standardError: 0.0164 },
      ...model === "seed" ? [] : [{ model, task: "all domains", metric: "bitsPerByte − seed", value: -0.05 * at, unit: "bits/byte", count: 96, standardError: at === 1 ? null : 0.004 }]
    ]),
    sections: [
      {
        title: "Quality against size and work", text: "Each model on the same held-out documents.",
        figures: [{ spec: Plot.qualityBySize(quality, { quality: "bits per byte" }), alt: "Quality against parameters and FLOPs per token", howToRead: "Lower is better, further left is smaller or cheaper. The bars are one standard error over documents." }]
      },
      { title: "Training", figures: [{ spec: Plot.lossCurves({ "expert fiction": curve(2.2, 1.7, 0), "expert speech": curve(2.1, 1.5, 1), "expert law": curve(2.4, 1.4, 2), "expert code": curve(2.8, 1.2, 3), routers: curve(1.6, 1.45, 4), control: curve(2.3, 1.55, 5) }), alt: "Training loss", howToRead: "Each line is one training run; a flat line has stopped learning." }] },
      {
        title: "Routing", figures: [
          { spec: Plot.expertLoad(layers), alt: "Expert load by layer", howToRead: "A row is a layer; its cells add up to 100 %. Even cells mean a balanced router." },
          { spec: Plot.domainHeat(layers), alt: "Expert by domain", howToRead: "A row is a domain; dark cells off the beaten diagonal mean that a domain borrows another's expert." }
        ]
      },
      { title: "By position", figures: [{ spec: Plot.byPosition(["seed", "mixture"].flatMap((name, n) => Array.from({ length: 16 }, (_, at) => ({ series: name, position: 16 * (at + 1), value: 3 - n * 0.3 - Math.log2(at + 1) * 0.2 }))), { quantity: "bits per byte" }), alt: "Bits per byte by position", howToRead: "Falling lines use their context." }] }
    ],
    plan: [
      { stage: "finetune/lora", flops: 2.1e12, deviceBytes: 3.1e8, bytesWritten: 420_000 }, { stage: "finetune/lora", flops: 2.1e12, deviceBytes: 3.1e8, bytesWritten: 420_000 },
      { stage: "upcycle/fromAdapters", bytesRead: 4.2e6, bytesWritten: 5.6e6 }, { stage: "evaluate/compare", flops: 8e11, deviceBytes: 1.2e8 }],
    actual: [
      { stage: "finetune/lora", flops: 2.2e12, deviceBytes: 3.0e8, bytesWritten: 420_000, seconds: 14.2 }, { stage: "finetune/lora", flops: 2.0e12, deviceBytes: 3.1e8, bytesWritten: 420_000, seconds: 13.9 },
      { stage: "upcycle/fromAdapters", bytesRead: 4.2e6, bytesWritten: 5.6e6, seconds: 0.4 }, { stage: "evaluate/compare", flops: 7.9e11, deviceBytes: 1.2e8, seconds: 9 }],
    lineage: { seed: { model: { family: "llama", hidden: 128, layers: 6 }, key: "0123456789abcdef" }, mixture: { from: ["seed", "expert fiction"], router: { unit: "prefix" }, proof: { largestDifference: 0.0000021 } } },
    notes: ["The control is one adapter of the mixture's active size, trained on the mix for as many tokens.", "A <note> with markup & signs."]
  })
}
