import { expect, test } from "@jest/globals"
import { committed, differences, digests, stages } from "./digests.ts"

const remedy = "raise the version of the stage, then write the digests again: npm run pipeline -- pipelines/digests.ts"

test("each stage gives what its version gave when it was committed", async () => {
  const now = await digests(), found = differences(now, committed())
  expect(found.map(({ stage, versions, what }) => `${stage} (version ${versions.join(", now ")}) ${what}: ${versions[0] === versions[1] ? remedy : "write the digests again: npm run pipeline -- pipelines/digests.ts"}`)).toEqual([])
  // none was left out, save those that need the network: they give what checkpoint/load gives of the folder that was fetched
  expect([...new Set(stages())].filter((name) => !(name in now) && !name.startsWith("hub/"))).toEqual([])
}, 60_000)

test("a change of one part in a thousand of one output is noticed, the last bits of a processor are not", () => {
  const before = committed(), stage = "finetune/lora", { outputs, version } = before[stage]!, { exact, numbers } = outputs["main"]!
  const changed = (factor: number) => ({ ...before, [stage]: { version, outputs: { ...outputs, main: { exact, numbers: [numbers[0]!, ...numbers.slice(1).map((value) => value * factor)] } } } })
  expect(differences(changed(1 + 1e-6), before)).toEqual([])
  expect(differences(changed(1 + 1e-3), before)).toEqual([{ stage, versions: [version, version], what: "gives another main" }])
  expect(differences({ ...before, [stage]: { version: version + 1, outputs } }, before)).toMatchObject([{ what: "gives the same" }])
})
