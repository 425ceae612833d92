/** What lm-evaluation-harness did on two tiny models: tools/fixtures/lm_eval.py wrote it. For tests. */
import { readFileSync } from "node:fs"
import type { Recipe, Row } from "./Recipe.ts"
import { tasks } from "../tasks.ts"

export const folder = new URL("../fixtures/lm-eval/", import.meta.url)

export interface Sample {
  readonly doc_id: number
  readonly answers: ReadonlyArray<readonly [logLikelihood: number, isGreedy?: boolean]>
  /** The first half of the SHA-256 of document, first prompt and target, and of all requests as JSON. */
  readonly hashes: readonly [document: string, prompt: string, target: string]
  readonly requests: string
  readonly values: Readonly<Record<string, unknown>>
  readonly arguments?: ReadonlyArray<ReadonlyArray<string>>
}
export interface Run {
  readonly model: "llama" | "mixtral"
  readonly shots: number | null
  readonly options: { readonly add_bos_token?: boolean }
  readonly samples: Readonly<Record<string, ReadonlyArray<Sample>>>
  readonly table: string
  readonly results: { readonly results: Readonly<Record<string, Readonly<Record<string, number | string>>>>; readonly groups?: unknown; readonly task_hashes: Readonly<Record<string, string>> } & Readonly<Record<string, unknown>>
}
export const harness = JSON.parse(readFileSync(new URL("harness.json", folder), "utf8")) as {
  readonly versions: Readonly<Record<string, string>>
  readonly gsm8k: Readonly<Record<string, ReadonlyArray<{ readonly prompt: string; readonly target: string }>>>
  readonly runs: ReadonlyArray<Run>
}

/** The recipe of a task of the recorded runs. */
export const recipeOf = (task: string): Recipe => task === "piqa_every_metric"
  ? { ...tasks["piqa"]!, metrics: ["acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "brier_score"] }
  : tasks[task]!

/** The documents of a recorded task's split, as its requests are made of them. */
export const rowsOf = (task: string, split: string): ReadonlyArray<Row> => {
  const { prepare = (row: Row) => row } = recipeOf(task)
  const name = task === "piqa_every_metric" ? "piqa" : task
  try {
    return readFileSync(new URL(`data/${name}/${split}.jsonl`, folder), "utf8").split("\n").filter((line) => line !== "").map((line) => prepare(JSON.parse(line) as Row))
  } catch { return [] }
}
