/** Types that the inferred types of stages mention; see core's names.ts. */
export type { LanguageModelError } from "./LanguageModel.ts"
export type { RouterError } from "./Router.ts"
export type { Adapter as AdapterOf, AdapterError } from "./Adapter.ts"
export type { TrainingError } from "./Training.ts"
