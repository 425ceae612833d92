export * as Model from "./Model.ts"
export * as Random from "./Random.ts"
