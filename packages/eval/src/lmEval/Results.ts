/**
 * What a suite found, in lm-evaluation-harness's result file: its keys, its order. What it has no key for stands under `switchyard`.
 */
import { aggregate, metrics, type Value } from "./aggregate.ts"
import type { Group } from "../tasks.ts"
import type { Recipe } from "./Recipe.ts"
import { figuresOf } from "./requests.ts"
import { pooledStandardError, standardError, weightedBySize } from "./standardError.ts"

/** The harness whose numbers these are. */
export const compatible = "0.4.13"

export type Figures = Readonly<Record<string, string | number | Readonly<Record<string, number>>>>
export interface Results {
  readonly results: Readonly<Record<string, Figures>>
  readonly groups?: Readonly<Record<string, Figures>>
  readonly group_subtasks: Readonly<Record<string, ReadonlyArray<string>>>
  readonly configs: Readonly<Record<string, unknown>>
  readonly versions: Readonly<Record<string, number | string>>
  readonly "n-shot": Readonly<Record<string, number>>
  readonly higher_is_better: Readonly<Record<string, Readonly<Record<string, boolean>>>>
  readonly "n-samples": Readonly<Record<string, { readonly original: number; readonly effective: number }>>
}

/** One task's documents, scored. `original`: how many the split has. */
export interface Scored {
  readonly task: string
  readonly recipe: Recipe
  readonly shots: number
  readonly original: number
  readonly file: string
  readonly values: ReadonlyArray<Readonly<Record<string, Value>>>
}

const taskFigures = ({ recipe, task, values }: Scored, iterations: number): Figures => ({
  name: task, alias: recipe.alias ?? task, sample_len: values.length,
  ...Object.fromEntries(figuresOf(recipe).flatMap(({ filter, key, metric }) => {
    const all = values.map((value) => value[key]!)
    return [[`${metric},${filter}`, aggregate(metric, all)], [`${metric}_stderr,${filter}`, standardError(metric, all, iterations)]]
  }))
})

const sorted = <A>(record: Readonly<Record<string, A>>): Readonly<Record<string, A>> => Object.fromEntries(Object.entries(record).sort(([a], [b]) => a < b ? -1 : 1))

const configOf = ({ file, recipe, shots, task }: Scored) => ({
  task, ...recipe.alias === undefined ? {} : { task_alias: recipe.alias }, dataset_path: file, test_split: recipe.split, fewshot_split: recipe.examples.split, output_type: recipe.output, description: recipe.description ?? "",
  target_delimiter: " ", fewshot_delimiter: "\n\n", num_fewshot: shots, metric_list: recipe.metrics.map((metric) => ({ metric, aggregation: metrics[metric].aggregation, higher_is_better: metrics[metric].higherIsBetter })),
  ...recipe.output === "generate_until" ? { generation_kwargs: { until: recipe.until, do_sample: false, temperature: 0 }, filter_list: recipe.filters.map(({ name, pattern, select }) => ({ name, filter: [{ function: "regex", group_select: select, regex_pattern: pattern.source }, { function: "take_first" }] })) } : {},
  repeats: 1, metadata: { version: recipe.version }
})

/** Figures of every task, then of every group from its members' (groups come with the outermost first). Options: `iterations` of the bootstrap. */
export const make = (scored: ReadonlyArray<Scored>, groups: Readonly<Record<string, Group>>, iterations: number): Results => {
  const tasks = Object.fromEntries(scored.map((each) => [each.task, taskFigures(each, iterations)]))
  const leaves = (name: string): ReadonlyArray<string> => groups[name] === undefined ? [name] : groups[name].members.flatMap(leaves)
  const groupFigures = (name: string): Figures => {
    const { alias = name, mean } = groups[name]!, members = leaves(name).map((leaf) => tasks[leaf]!), sizes = members.map((member) => member["sample_len"] as number)
    const total = sizes.reduce((sum, size) => sum + size, 0)
    return {
      alias, name, sample_len: total,
      ...Object.fromEntries(mean.flatMap((metric) => [
        [`${metric},none`, weightedBySize(members.map((member) => member[`${metric},none`] as number), sizes)],
        [`${metric}_stderr,none`, pooledStandardError(members.map((member) => member[`${metric}_stderr,none`] as number | "N/A"), sizes)]
      ])),
      sample_count: Object.fromEntries(mean.map((metric) => [`${metric},none`, total]))
    }
  }
  const grouped = Object.fromEntries(Object.keys(groups).map((name) => [name, groupFigures(name)]))
  const shots: Record<string, number> = Object.fromEntries(scored.map(({ shots, task }) => [task, shots]))
  const higher: Record<string, Record<string, boolean>> = Object.fromEntries(scored.map(({ recipe, task }) => [task, Object.fromEntries(recipe.metrics.map((name) => [name, metrics[name].higherIsBetter]))]))
  for (const [name, { members }] of Object.entries(groups)) {
    const counts = new Set(members.flatMap((member) => shots[member] ?? []))
    if (counts.size === 1) shots[name] = [...counts][0]!
    const all = Object.assign({}, ...members.map((member) => higher[member] ?? {})) as Record<string, boolean>
    if (Object.keys(all).length > 0) higher[name] = all
  }
  return {
    results: { ...tasks, ...grouped }, ...Object.keys(grouped).length === 0 ? {} : { groups: grouped },
    group_subtasks: Object.fromEntries(Object.entries(groups).map(([name, { members }]) => [name, members])),
    configs: sorted(Object.fromEntries(scored.map((each) => [each.task, configOf(each)]))),
    versions: sorted({ ...Object.fromEntries(scored.map(({ recipe, task }) => [task, recipe.version])), ...Object.fromEntries(Object.entries(groups).map(([name, { version }]) => [name, String(version)])) }),
    "n-shot": sorted(shots), higher_is_better: sorted(higher),
    "n-samples": Object.fromEntries(scored.map(({ original, task, values }) => [task, { original, effective: values.length }]))
  }
}

/** A name as a folder: what a path may not hold becomes "__". */
export const sanitize = (name: string): string => name.replace(/["<>:/|\\?*[\]]+/g, "__")
