/**
 * config.json as text. transformers 5 refuses a whole number where a class declares a fraction ("router_jitter_noise": 0 instead of 0.0), and
 * JavaScript's numbers do not remember which they were: the keys that `families.ts` lists are written with a point.
 */
import { fractions } from "./families.ts"
import type { Config } from "./familyFeatures.ts"

/** A string that no config holds marks a number on its way through JSON.stringify. */
const mark = "\u0001 fraction "

/** The file's content. */
export const configText = (config: Config): string => {
  const text = JSON.stringify(config, (key, value: unknown) => fractions.has(key) && Number.isInteger(value) ? `${mark}${String(value)}` : value, 2)
  return `${text.replace(/"\\u0001 fraction (-?\d+)"/g, "$1.0")}\n`
}
