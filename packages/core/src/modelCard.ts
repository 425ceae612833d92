/**
 * The README.md of a written checkpoint: what it is and every step that made it. No licence is invented: one stands here only
 * when a step names it (`facts.licence`).
 */
import * as Family from "./Family.ts"
import * as Model from "./Model.ts"

interface Step { readonly stage: string; readonly key: string; readonly inputs: Readonly<Record<string, string>>; readonly facts: Readonly<Record<string, unknown>> }

const count = (value: number): string => value.toLocaleString("en-US")

/** The text of the card, with the Hub's YAML header. */
export const modelCard = (layout: string, model: Model.Model, lineage: ReadonlyArray<Step>): string => {
  const form = model.feedForward, licences = [...new Set(lineage.map((step) => step.facts["licence"]).filter((licence) => typeof licence === "string"))]
  const header = [
    "---",
    `library_name: ${layout === Family.own ? "switchyard" : "transformers"}`,
    "pipeline_tag: text-generation",
    `tags: [switchyard${form.kind === "mixture" ? ", moe" : ""}]`,
    ...licences.length === 1 ? [`license: ${JSON.stringify(licences[0])}`] : [],
    "---"
  ]
  const size = form.kind === "dense" ? [`- feed-forward: dense, inner width ${form.inner}`] : [
    `- feed-forward: ${form.experts} experts, ${form.active} active per token, inner width ${form.inner}${form.expert.kind === "lowRank" ? `, each a change of rank ${form.expert.rank} of a shared one` : ""}`,
    `- active weights per token: ${count(Model.activeParameters(model))}`,
    `- router: \`${JSON.stringify(form.router)}\``
  ]
  const steps = lineage.map(({ stage, key, inputs, facts }, i) => {
    const from = Object.entries(inputs).map(([name, of]) => `${name} \`${of.slice(0, 12)}\``).join(", ")
    return `${i + 1}. **${stage}** \`${key.slice(0, 12)}\`${from === "" ? "" : ` from ${from}`}${Object.keys(facts).length === 0 ? "" : `: \`${JSON.stringify(facts)}\``}`
  })
  return [
    ...header, "", "# Model card", "",
    `- layout: ${layout}`, `- weights: ${count(Model.parameters(model))}`, `- layers ${model.layers}, hidden ${model.hidden}, heads ${model.heads}, vocabulary ${model.vocabulary}, context ${model.contextLength}`, ...size,
    ...licences.length > 1 ? [`- licences of the sources: ${licences.join(", ")}`] : [], "",
    "## How it was made", "", ...steps.length === 0 ? ["No steps are recorded."] : steps, "",
    "Keys are hashes of each step's description and inputs; `lineage.json` has them whole.", ""
  ].join("\n")
}
