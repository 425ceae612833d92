/**
 * The tasks of `switchyard-eval`, as lm-evaluation-harness 0.4.13 defines them. To add one, add a literal; lmEval/Recipe.ts says what each line means.
 *
 * `spare` follows the harness: an example more is drawn, and the question left out, where a task names neither a test split nor a split of
 * examples, even when its examples come from another split than its questions.
 */
import { capitalize, strip, stripLeft } from "./lmEval/PythonText.ts"
import { detokenize } from "./lmEval/detokenize.ts"
import { mmluSubjects } from "./lmEval/mmluSubjects.ts"
import type { MultipleChoice, Recipe, Row } from "./lmEval/Recipe.ts"

const text = (row: Row, column: string): string => {
  const value = row[column]
  if (typeof value !== "string") throw new Error(`column ${column} is no text`)
  return value
}
const index = (row: Row, column: string): number => {
  const value = Number(row[column])
  if (!Number.isInteger(value)) throw new Error(`column ${column} is no whole number`)
  return value
}
const texts = (value: unknown, column: string): ReadonlyArray<string> => {
  if (!Array.isArray(value) || !value.every((each) => typeof each === "string")) throw new Error(`column ${column} is no list of texts`)
  return value
}

// ---- hellaswag
const clean = (text: string): string => strip(text).replaceAll(" [title]", ". ").replace(/\[[^\n]*?\]/g, "").replaceAll("  ", " ")

// ---- choices with labels: ARC and OpenBookQA
const labelled = (row: Row) => {
  const choices = row["choices"] as { readonly text?: unknown; readonly label?: unknown } | undefined
  return { text: texts(choices?.text, "choices.text"), label: texts(choices?.label, "choices.label") }
}
const byLabel = (row: Row, answer: string): number => {
  const found = labelled(row).label.indexOf(answer)
  if (found < 0) throw new Error(`answerKey ${JSON.stringify(answer)} is none of the labels`)
  return found
}
/** The layout in which AI2 gives them out: the stem and its choices in one object. */
const fromStem = (stem: string) => (row: Row): Row => {
  const { question } = row
  if (typeof question !== "object" || question === null) return row
  const { choices, stem: asked } = question as { readonly stem: unknown; readonly choices: ReadonlyArray<{ readonly text: string; readonly label: string }> }
  return { id: row["id"], [stem]: asked, choices: { text: choices.map(({ text }) => text), label: choices.map(({ label }) => label) }, answerKey: row["answerKey"] }
}
const arc = (name: string): MultipleChoice => ({
  version: 1.0, output: "multiple_choice", split: "test", examples: { split: "train", sampler: { by: "random", spare: false } }, configuration: name,
  text: (row) => `Question: ${text(row, "question")}\nAnswer:`, choices: (row) => labelled(row).text, gold: (row) => byLabel(row, text(row, "answerKey")),
  metrics: ["acc", "acc_norm"], read: fromStem("question"),
  files: { test: [`arc/${name}-Test.jsonl`, `${name}/${name}-Test.jsonl`], train: [`arc/${name}-Train.jsonl`, `${name}/${name}-Train.jsonl`] }
})

// ---- mmlu
const letters = ["A", "B", "C", "D"]
const mmlu = (subject: string): MultipleChoice => ({
  version: 1.0, alias: subject, output: "multiple_choice", split: "test", examples: { split: "dev", sampler: { by: "firstN" } }, configuration: subject,
  description: `The following are multiple choice questions (with answers) about ${subject.replaceAll("_", " ")}.\n\n`,
  text: (row) => `${strip(text(row, "question"))}\n${texts(row["choices"], "choices").slice(0, 4).map((choice, at) => `${letters[at]}. ${choice}`).join("\n")}\nAnswer:`,
  choices: () => letters, gold: (row) => index(row, "answer"),
  metrics: ["acc"],
  // CSV: question, four choices, and the answer as a letter or a number
  read: (row) => row["choices"] !== undefined ? row : {
    question: row["question"] ?? row["0"], subject, choices: [0, 1, 2, 3].map((at) => row[`choice${at}`] ?? row[String(at + 1)]),
    answer: ((given: unknown) => letters.includes(String(given)) ? letters.indexOf(String(given)) : Number(given))(row["answer"] ?? row["5"])
  },
  files: { test: [`mmlu/test/${subject}_test.csv`], dev: [`mmlu/dev/${subject}_dev.csv`] }
})

const single: Readonly<Record<string, Recipe>> = {
  wikitext: {
    version: 2.0, output: "loglikelihood_rolling", split: "test", examples: { split: "train", sampler: { by: "random", spare: false } }, configuration: "wikitext-2-raw-v1",
    target: (row) => detokenize(text(row, "page")), counted: (row) => text(row, "page"),
    metrics: ["word_perplexity", "byte_perplexity", "bits_per_byte"],
    files: { test: ["wikitext-2/test.txt", "wikitext-2-raw/wiki.test.raw", "wikitext/wiki.test.raw"] }
  },
  lambada_openai: {
    version: 1.0, output: "loglikelihood", split: "test", examples: { split: "test", sampler: { by: "random", spare: false } },
    text: (row) => text(row, "text").split(" ").slice(0, -1).join(" "), target: (row) => ` ${text(row, "text").split(" ").at(-1)!}`,
    metrics: ["perplexity", "acc"], files: { test: ["lambada/lambada_test.jsonl", "lambada/lambada_test_en.jsonl"] }
  },
  hellaswag: {
    version: 1.0, output: "multiple_choice", split: "validation", examples: { split: "train", sampler: { by: "random", spare: true } },
    prepare: (row) => ({
      ...row, query: clean(`${text(row, "activity_label")}: ${text(row, "ctx_a")} ${capitalize(text(row, "ctx_b"))}`), choices: texts(row["endings"], "endings").map(clean), gold: index(row, "label")
    }),
    text: (row) => text(row, "query"), choices: (row) => texts(row["choices"], "choices"), gold: (row) => index(row, "label"),
    metrics: ["acc", "acc_norm"], files: { validation: ["hellaswag/hellaswag_val.jsonl"], train: ["hellaswag/hellaswag_train.jsonl"] }
  },
  arc_easy: arc("ARC-Easy"),
  arc_challenge: arc("ARC-Challenge"),
  piqa: {
    version: 1.0, output: "multiple_choice", split: "validation", examples: { split: "train", sampler: { by: "random", spare: true } },
    text: (row) => `Question: ${text(row, "goal")}\nAnswer:`, choices: (row) => [text(row, "sol1"), text(row, "sol2")], gold: (row) => index(row, "label"),
    metrics: ["acc", "acc_norm"], files: { validation: ["piqa/valid.jsonl"], train: ["piqa/train.jsonl"] },
    labels: [".jsonl", "-labels.lst"], read: (row, at, labels) => "label" in row || labels[at] === undefined ? row : { ...row, label: Number(labels[at]) }
  },
  openbookqa: {
    version: 1.0, output: "multiple_choice", split: "test", examples: { split: "train", sampler: { by: "random", spare: false } }, configuration: "main",
    text: (row) => text(row, "question_stem"), choices: (row) => labelled(row).text, gold: (row) => byLabel(row, stripLeft(text(row, "answerKey"))),
    metrics: ["acc", "acc_norm"], read: fromStem("question_stem")
  },
  winogrande: {
    version: 1.0, output: "multiple_choice", split: "validation", examples: { split: "train", sampler: { by: "random", spare: true } }, configuration: "winogrande_xl",
    inputs: (row) => {
      const sentence = text(row, "sentence"), blank = sentence.indexOf("_")
      if (blank < 0) throw new Error("column sentence has no blank _")
      return { contexts: ["option1", "option2"].map((option) => sentence.slice(0, blank) + text(row, option)), gold: index(row, "answer") - 1, target: strip(sentence.slice(blank + 1)) }
    },
    choices: (row) => ["option1", "option2"].map((option) => text(row, "sentence").split("_")[0]! + text(row, option)), gold: (row) => index(row, "answer") - 1,
    metrics: ["acc"], files: { validation: ["winogrande/dev.jsonl", "winogrande_1.1/dev.jsonl"], train: ["winogrande/train_xl.jsonl", "winogrande_1.1/train_xl.jsonl"] }
  },
  boolq: {
    version: 2.0, output: "multiple_choice", split: "validation", examples: { split: "train", sampler: { by: "random", spare: true } }, configuration: "boolq",
    text: (row) => `${text(row, "passage")}\nQuestion: ${text(row, "question")}?\nAnswer:`, choices: () => ["no", "yes"], gold: (row) => index(row, "label"),
    metrics: ["acc"], read: (row) => typeof row["label"] === "boolean" ? { ...row, label: Number(row["label"]) } : row, files: { validation: ["BoolQ/val.jsonl"], train: ["BoolQ/train.jsonl"] }
  },
  gsm8k: {
    version: 3.0, output: "generate_until", split: "test", examples: { split: "train", sampler: { by: "random", spare: false } }, numFewShot: 5, configuration: "main",
    text: (row) => `Question: ${text(row, "question")}\nAnswer:`, target: (row) => text(row, "answer"),
    until: ["Question:", "</s>", "<|im_end|>"], ignore: [/,/g, /\$/g, /[^]*#### /g, /\.(?=\n?$)/g], // Python's $ also stands before a line's end that ends the text
    filters: [{ name: "strict-match", pattern: /#### (-?[0-9.,]+)/g, select: 0 }, { name: "flexible-extract", pattern: /(-?[$0-9.,]{2,})|(-?[0-9]+)/g, select: -1 }],
    metrics: ["exact_match"]
  }
}

/** Every task by its name. */
export const tasks: Readonly<Record<string, Recipe>> = {
  ...single, ...Object.fromEntries(Object.values(mmluSubjects).flat().map((subject) => [`mmlu_${subject}`, mmlu(subject)]))
}

/** A group of tasks or groups; `mean`: the metrics whose mean by size it reports. */
export interface Group { readonly alias?: string; readonly version: number; readonly members: ReadonlyArray<string>; readonly mean: ReadonlyArray<"acc"> }
/** Every group by its name. */
export const groups: Readonly<Record<string, Group>> = {
  mmlu: { version: 2, members: Object.keys(mmluSubjects).map((field) => `mmlu_${field}`), mean: ["acc"] },
  ...Object.fromEntries(Object.entries(mmluSubjects).map(([field, subjects]): [string, Group] =>
    [`mmlu_${field}`, { alias: field.replaceAll("_", " "), version: 2, members: subjects.map((subject) => `mmlu_${subject}`), mean: ["acc"] }]))
}
