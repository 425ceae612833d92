/** Who hears how far scoring is: nobody, unless provided. */
import { Context } from "effect"

export const Progress = Context.Reference<{ readonly listen?: (done: number, total: number) => void }>("@switchyard/eval/Progress", { defaultValue: () => ({}) })
