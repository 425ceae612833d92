export * as Adapter from "./Adapter.ts"
