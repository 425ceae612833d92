import { jestConfig } from "../jest.preset.js"
export default { ...jestConfig(import.meta.url), testMatch: ["<rootDir>/**/*.test.ts"], testTimeout: 240_000 }
