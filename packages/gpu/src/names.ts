/** Types that the inferred types of stages mention; see core's names.ts. */
export type { Arena, Device as DeviceService, DeviceError, DeviceLost, Failure as DeviceFailure } from "./Device.ts"
export type { PromptError } from "./Generate.ts"
export type { Program } from "./Recording.ts"
