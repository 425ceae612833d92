export * as Compress from "./Compress.ts"
export * as Merge from "./Merge.ts"
export * as Upcycle from "./Upcycle.ts"
