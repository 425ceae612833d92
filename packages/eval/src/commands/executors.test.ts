import { describe, expect, test } from "@jest/globals"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Console, Effect } from "effect"
import { Command } from "effect/cli"
import { readFileSync } from "node:fs"
import { command as bench } from "./bench.ts"
import { command as compare } from "./compare.ts"
import { command as generate } from "./generate.ts"
import { command as isolation } from "./isolation.ts"
import { command as patches } from "./patches.ts"
import { command as perplexity } from "./perplexity.ts"
import { command as routing } from "./routing.ts"
import { command as theory } from "./theory.ts"

const json = (path: string) => JSON.parse(readFileSync(new URL(`../../${path}`, import.meta.url), "utf8"))
const targets = { generate, perplexity, compare, routing, isolation, theory, patches, bench } as const

describe("nx", () => {
  test.each(Object.entries(targets))("shows every flag of eval:%s, passes all arguments on, and never answers from its cache", async (name, command) => {
    const said: Array<string> = [], console: Console.Console = Object.assign(Object.create(globalThis.console), { log: (text: string) => { said.push(text) } })
    await Effect.runPromise(Effect.exit(Command.runWith(command as typeof perplexity, { version: "0.1.0" })(["--help"])).pipe(Effect.provideService(Console.Console, console), Effect.provide(NodeServices.layer)) as Effect.Effect<unknown>)
    const own = /FLAGS([^]*?)GLOBAL FLAGS/.exec(said.join("\n"))![1]!, flags = [...own.matchAll(/--([a-z-]+)/g)].map(([, flag]) => flag!)
    const { properties } = json(`nx/${name}.json`)
    expect(Object.keys(properties).filter((key) => key !== "__unparsed__").sort()).toEqual([...new Set(flags)].sort())
    expect(properties.__unparsed__.$default).toEqual({ $source: "unparsed" })
    expect(json("package.json").nx.targets[name]).toMatchObject({ executor: `./packages/eval/nx:${name}`, cache: false })
    expect(json("nx/executors.json").executors[name]).toMatchObject({ implementation: "./executor.cjs", schema: `./${name}.json` })
  })
})
