/** Wikitext's page as it was before it was cut into words: the rules of lm-evaluation-harness, one after the other. */
import * as PythonText from "./PythonText.ts"

const space = `[${PythonText.space}]`
const bracketed = (open: string, close: string, inside: string) => new RegExp(`${open}${space}*(${inside}*?)${space}*${close}`, "gu")

const rules: ReadonlyArray<readonly [pattern: string | RegExp, replacement: string]> = [
  ["s '", "s'"],
  [/\/' [0-9]\//g, "/'[0-9]/"],
  [" @-@ ", "-"], [" @,@ ", ","], [" @.@ ", "."],
  [" : ", ": "], [" ; ", "; "], [" . ", ". "], [" ! ", "! "], [" ? ", "? "], [" , ", ", "],
  [bracketed("\\(", "\\)", "[^\\)]"), "($1)"],
  [bracketed("\\[", "\\]", "[^\\]]"), "[$1]"],
  [bracketed("\\{", "\\}", "[^\\}]"), "{$1}"],
  [bracketed("\"", "\"", "[^\"]"), "\"$1\""],
  [bracketed("'", "'", "[^']"), "'$1'"],
  ["= = = =", "===="], ["= = =", "==="], ["= =", "=="],
  [" \u00b0 ", "\u00b0"], [" \n", "\n"], ["\n ", "\n"], [" N ", " 1 "], [" 's", "'s"]
]

/** The text that is scored in place of `page`. */
export const detokenize = (page: string): string => rules.reduce((text, [pattern, replacement]) => text.replaceAll(pattern, replacement), page)
