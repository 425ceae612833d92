/**
 * The README.md of a written checkpoint: what it is and every step that made it, with the header that the Hub reads (library, task, bases and how this model
 * comes from them, tags, licence). No licence is invented: one stands here only when a step names it (`facts.licence`: what the source's own card says).
 */
import * as Family from "./Family.ts"
import * as Model from "./Model.ts"

interface Step { readonly stage: string; readonly key: string; readonly inputs: Readonly<Record<string, string>>; readonly facts: Readonly<Record<string, unknown>> }

const count = (value: number): string => value.toLocaleString("en-US")

const textsOf = (lineage: ReadonlyArray<Step>, fact: string): ReadonlyArray<string> => [...new Set(lineage.map(({ facts }) => facts[fact]).filter((value): value is string => typeof value === "string"))]

/** Whether a router runs every expert to choose among them. */
const runsAll = (router: unknown): boolean => (router as { readonly score?: { readonly by?: unknown } } | null)?.score?.by === "likelihood"

/** How the Hub says that a model comes from its bases; undefined where it is the base itself. */
const relationOf = (lineage: ReadonlyArray<Step>, bases: number): string | undefined => {
  const made = lineage.map(({ stage }) => stage).filter((stage) => !/^(checkpoint|hub|export)\//.test(stage))
  return bases > 1 || made.some((stage) => stage.startsWith("merge/") || stage === "upcycle/fromModels") ? "merge" : made.length > 0 ? "finetune" : undefined
}

const list = (key: string, values: ReadonlyArray<string>): ReadonlyArray<string> => values.length === 0 ? [] : [`${key}:`, ...values.map((value) => `- ${/^[A-Za-z][\w./-]*$/.test(value) ? value : JSON.stringify(value)}`)]
/** Text that may stand in a table's cell. */
const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ")

/** The text of the card, with the Hub's YAML header. */
export const modelCard = (layout: string, model: Model.Model, lineage: ReadonlyArray<Step>): string => {
  const form = model.feedForward, licences = textsOf(lineage, "licence"), names = textsOf(lineage, "licenceName"), bases = textsOf(lineage, "id"), relation = bases.length === 0 ? undefined : relationOf(lineage, bases.length)
  const stages = lineage.map(({ stage }) => stage), any = (prefix: string) => stages.some((stage) => stage.startsWith(prefix))
  const tags = ["switchyard", ...form.kind === "mixture" ? ["moe"] : [], ...any("merge/") ? ["merge"] : [], ...any("upcycle/") ? ["upcycled"] : []]
  const header = [
    "---",
    `library_name: ${layout === Family.own ? "switchyard" : "transformers"}`,
    "pipeline_tag: text-generation",
    ...list("base_model", bases),
    ...relation === undefined ? [] : [`base_model_relation: ${relation}`],
    ...list("tags", tags),
    ...licences.length === 1 ? [`license: ${JSON.stringify(licences[0])}`, ...names.length === 1 ? [`license_name: ${JSON.stringify(names[0])}`] : []] : [],
    "---"
  ]
  const size = form.kind === "dense" ? [`- feed-forward: dense, inner width ${form.inner}`] : [
    `- feed-forward: ${form.experts} experts, ${form.active} active per token, inner width ${form.inner}${form.expert.kind === "lowRank" ? `, each a change of rank ${form.expert.rank} of a shared one` : ""}`,
    `- active weights per token: ${count(Model.activeParameters(model))}${runsAll(form.router) ? ", once the experts are chosen; to choose, all of them run" : ""}`,
    `- router: \`${JSON.stringify(form.router)}\``
  ]
  const steps = lineage.map(({ stage, key, inputs, facts }, i) => {
    const from = Object.entries(inputs).map(([name, of]) => `${name} \`${of.slice(0, 12)}\``).join(", ")
    return `| ${i + 1} | ${stage} | \`${key.slice(0, 12)}\` | ${cell(from)} | ${Object.keys(facts).length === 0 ? "" : `\`${cell(JSON.stringify(facts))}\``} |`
  })
  return [
    ...header, "", "# Model card", "",
    `- layout: ${layout}`, `- weights: ${count(Model.parameters(model))}`, `- layers ${model.layers}, hidden ${model.hidden}, heads ${model.heads}, vocabulary ${model.vocabulary}, context ${model.contextLength}`, ...size,
    ...licences.length > 1 ? [`- licences of the sources: ${licences.join(", ")}`] : [], "",
    "## How it was made", "", ...steps.length === 0 ? ["No steps are recorded."] : ["| | stage | key | from | facts |", "|---|---|---|---|---|", ...steps], "",
    "Keys are hashes of each step's description and inputs; `lineage.json` has them whole.", ""
  ].join("\n")
}
