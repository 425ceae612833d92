/**
 * Which expert each domain belongs to: as said, or as the upcycle that made the mixture recorded it in the lineage, where no expert has been dropped or merged since.
 */
import type { Checkpoint } from "@switchyard/core"
import { Effect } from "effect"
import { TrainingError } from "./Training.ts"

/** The expert of each domain, in the domains' order. Fails: TrainingError when one is not known or not there. */
export const expertsOf = (checkpoint: Checkpoint.Any, domains: ReadonlyArray<string>, given?: Readonly<Record<string, number>>): Effect.Effect<ReadonlyArray<number>, TrainingError> => Effect.gen(function*() {
  const form = checkpoint.model.feedForward, experts = form.kind === "mixture" ? form.experts : 0
  const names = given === undefined ? recorded(checkpoint) : undefined, labels = given ?? (names === undefined ? undefined : Object.fromEntries(names.map((name, expert) => [name, expert])))
  const refuse = (problem: string, remedy: string) => new TrainingError({ option: "labels", problem, remedy })
  if (labels === undefined) return yield* refuse("the mixture's lineage does not say which domain each expert was trained on", "give labels: { domain: expert }")
  if (names !== undefined && names.length !== experts) {
    return yield* refuse(`the upcycle recorded ${names.length} experts, ${names.join(", ")}, and the mixture has ${experts}: which ones they are now may differ from layer to layer`, "give labels: { domain: expert }")
  }
  for (const domain of domains) {
    const expert = labels[domain]
    if (expert === undefined) return yield* refuse(`no expert is known for ${JSON.stringify(domain)}, only for ${Object.keys(labels).join(", ")}`, "give labels for every text")
    if (!(Number.isInteger(expert) && expert >= 0 && expert < experts)) return yield* refuse(`${domain}: there is no expert ${expert} among ${experts}`, `give an expert from 0 to ${experts - 1}`)
  }
  return domains.map((domain) => labels[domain]!)
})

/** The experts' names in the last step of the lineage that has them, in order. */
const recorded = ({ lineage }: Checkpoint.Any): ReadonlyArray<string> | undefined =>
  lineage.map(({ facts }) => facts["experts"]).findLast((experts): experts is ReadonlyArray<string> => Array.isArray(experts) && experts.every((name) => typeof name === "string"))
