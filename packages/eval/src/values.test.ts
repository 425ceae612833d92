import { expect, test } from "@jest/globals"
import type { DocumentScore } from "./metrics.ts"
import { allDomains, oracle, values } from "./values.ts"

/** Every document has 8 bytes in 4 tokens; `bits` of each by domain. */
const scored = (bits: Readonly<Record<string, ReadonlyArray<number>>>): ReadonlyArray<DocumentScore> => Object.entries(bits).flatMap(([domain, each]) =>
  each.map((value, at) => ({ domain, document: String(at), tokens: 4, bytes: 8, logLikelihood: -value * Math.LN2 })))
const law = scored({ law: [8, 16], code: [16, 16] }), code = scored({ law: [16, 16], code: [8, 8] })

test("domains count alike in the mean; differences are paired with the baseline and absent for the baseline itself", () => {
  const found = values({ law, code }, { baselines: ["code"] })
  const value = (model: string, task: string, metric: string) => found.find((row) => row.model === model && row.task === task && row.metric === metric)?.value
  expect(value("law", "law", "bitsPerByte")).toBeCloseTo(1.5, 12)
  expect(value("law", allDomains, "bitsPerByte")).toBeCloseTo(1.75, 12)
  expect(value("law", "law", "bitsPerToken")).toBeCloseTo(3, 12)
  expect(value("law", allDomains, "bitsPerByte − code")).toBeCloseTo(0.25, 12)
  expect(value("code", "law", "bitsPerByte − code")).toBeUndefined()
})

test("the oracle takes each document from its own domain's model, and names a domain without one", () => {
  const best = oracle({ law, code }, { law: "law", code: "code" })
  expect(values({ best }).filter(({ metric }) => metric === "bitsPerByte").map(({ value }) => Number(value.toFixed(9)))).toEqual([1.5, 1, 1.25])
  expect(() => oracle({ law, code }, { law: "law" })).toThrow("domain code")
})
