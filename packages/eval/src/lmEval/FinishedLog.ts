/**
 * Finished documents, one line each, appended as they are done: a run that was stopped asks the model only for what is missing.
 *
 * A line's key is the hash of the model's files, of how text becomes tokens and of the requests' own text, so that it holds for whoever asks the same.
 */
import { File, Key } from "@switchyard/core"
import { Effect } from "effect"
import { appendFile, mkdir, readFile } from "node:fs/promises"
import { dirname } from "node:path"
import type { Answer } from "./judgeChoices.ts"

export interface FinishedLog {
  /** The answers to a document's requests, if they are there. */
  readonly find: (key: string) => ReadonlyArray<Answer> | undefined
  readonly append: (entries: ReadonlyArray<{ readonly key: string; readonly task: string; readonly document: number; readonly answers: ReadonlyArray<Answer> }>) => Effect.Effect<void, File.FileError>
}

/** What answers depend on, hashed. */
export const keyOf = (facts: { readonly model: string; readonly bosPolicy: string; readonly prefix: number; readonly maximum: number; readonly storage?: string }, requests: ReadonlyArray<ReadonlyArray<string>>): string => Key.of([facts.model, facts.bosPolicy, facts.prefix, facts.maximum, requests, ...facts.storage === undefined ? [] : [facts.storage]])

/** A text as an answer. */
export const generated = (text: string): Answer => ({ logLikelihood: 0, isGreedy: false, text })

const entry = (line: string): readonly [string, ReadonlyArray<Answer>] | undefined => {
  try {
    const { answers, key } = JSON.parse(line) as { readonly key?: unknown; readonly answers?: ReadonlyArray<ReadonlyArray<unknown>> }
    if (typeof key !== "string" || !Array.isArray(answers)) return undefined
    if (answers.length === 1 && answers[0]!.length === 1 && typeof answers[0]![0] === "string") return [key, [generated(answers[0]![0])]]
    if (!answers.every(([sum, greedy]) => typeof sum === "number" && typeof greedy === "boolean")) return undefined
    return [key, answers.map(([logLikelihood, isGreedy]) => ({ logLikelihood: logLikelihood as number, isGreedy: isGreedy as boolean }))]
  } catch { return undefined } // the line that a crash cut short
}

/** The log in a file, which need not be there yet. Lines that cannot be read are as if they were not there. Fails: FileError. */
export const open = (path: string): Effect.Effect<FinishedLog, File.FileError> => Effect.gen(function*() {
  const text = yield* File.attempt("read", path, async () => readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => { if (error.code === "ENOENT") return ""; throw error }))
  const known = new Map(text.split("\n").flatMap((line) => { const found = entry(line); return found === undefined ? [] : [found] }))
  let torn = text !== "" && !text.endsWith("\n")
  return {
    find: (key) => known.get(key),
    append: (entries) => entries.length === 0 ? Effect.void : File.attempt("write", path, async () => {
      await mkdir(dirname(path), { recursive: true })
      const lines = entries.map(({ answers, document, key, task }) => `${JSON.stringify({ key, task, document, answers: answers.map(({ isGreedy, logLikelihood, text }) => text === undefined ? [logLikelihood, isGreedy] : [text]) })}\n`).join("")
      await appendFile(path, torn ? `\n${lines}` : lines)
      torn = false
      for (const { answers, key } of entries) known.set(key, answers)
    })
  }
})

/** A log that forgets: for runs that write nothing. */
export const none: FinishedLog = { find: () => undefined, append: () => Effect.void }
