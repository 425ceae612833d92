export * as Model from "./Model.ts"
export * as Random from "./Random.ts"
export * as Table from "./Table.ts"
export * as Tables from "./tables.ts"
