/**
 * The answer in a generated text, and whether it is right: lm-evaluation-harness's `regex` filter with `take_first`, and its `exact_match`.
 */
import * as PythonText from "./PythonText.ts"

/** `select`: which of the matches, from the end below 0. `pattern` is in JavaScript's words, with the flag g. */
export interface Filter { readonly name: string; readonly pattern: RegExp; readonly select: number }

/** What stands for an answer where there is none. */
export const invalid = "[invalid]"

/** The match that the filter selects: its group, or the first that is not empty where it has several. */
export const extractAnswer = ({ pattern, select }: Filter, text: string): string => {
  const groups = [...text.matchAll(pattern)].at(select)?.slice(1)
  if (groups === undefined) return invalid
  const found = groups.length === 1 ? groups[0] ?? "" : groups.find((group) => group !== undefined && group !== "")
  return found === undefined ? invalid : PythonText.strip(found)
}

/** 1 where the two are the same once `ignore` is cut out of both, whatever their case. */
export const exactMatch = (answer: string, target: string, ignore: ReadonlyArray<RegExp>): 0 | 1 => {
  const bare = (text: string): string => ignore.reduce((rest, pattern) => rest.replace(pattern, ""), text).toLowerCase()
  return bare(answer) === bare(target) ? 1 : 0
}
