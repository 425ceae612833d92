/** Renderings of transformers' apply_chat_template, and what is said where there is no template or it refuses. */
import { describe, expect, test } from "@jest/globals"
import { Effect } from "effect"
import { readFileSync } from "node:fs"
import * as ChatTemplate from "./ChatTemplate.ts"

interface Case { readonly messages: ReadonlyArray<ChatTemplate.Message>; readonly options: { readonly add_generation_prompt?: boolean; readonly tools?: ReadonlyArray<ChatTemplate.Tool>; readonly [key: string]: unknown }; readonly text?: string; readonly refused?: string }
const fixture = JSON.parse(readFileSync(new URL("./fixtures/chat-templates.json", import.meta.url), "utf8")) as { readonly templates: ReadonlyArray<{ readonly name: string; readonly template: unknown; readonly cases: ReadonlyArray<Case> }> }
const bytes = (value: unknown) => new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value))
const files = (template: unknown) => ({ "tokenizer_config.json": bytes({ bos_token: "<s>", eos_token: { content: "</s>" }, chat_template: template }) })
const now = new Date(2024, 6, 4, 9, 5)
const render = (given: Readonly<Record<string, Uint8Array>>, { messages, options: { add_generation_prompt: addGenerationPrompt = false, tools, ...variables } }: Pick<Case, "messages" | "options">, more: ChatTemplate.Options = {}) =>
  Effect.runPromise(Effect.flatMap(ChatTemplate.make({ files: given }), (template) => template.render(messages, { addGenerationPrompt, now, variables, ...tools === undefined ? {} : { tools }, ...more })))

describe.each(fixture.templates)("a template like $name's", ({ cases, template }) => {
  test.each(cases.map((one, at) => [at, one] as const))("case %s is what transformers makes of it", async (_, one) => {
    if (one.refused !== undefined) await expect(render(files(template), one)).rejects.toThrow(one.refused)
    else expect(await render(files(template), one)).toBe(one.text)
  })
})
const hello: Case = { messages: [{ role: "user", content: "hi" }], options: {} }
test("chat_template.jinja comes before the configuration's", async () => {
  expect(await render({ ...files("config"), "chat_template.jinja": bytes("{{ messages[0].content + eos_token }}") }, hello)).toBe("hi</s>")
})
test("a named template, and one that there is none of", async () => {
  const named = files([{ name: "default", template: "a" }, { name: "rag", template: "b" }])
  expect(await render(named, hello, { name: "rag" })).toBe("b")
  await expect(render(named, hello, { name: "rug" })).rejects.toThrow(/no chat template "rug", only default, rag.*nearest is rag/)
})
test("dates as Python writes them", async () => {
  expect(await render(files("{{ strftime_now('%A %a %-d %d %m %B %b %Y %y %H:%M:%S %I %p %j%%') }}"), hello)).toBe("Thursday Thu 4 04 07 July Jul 2024 24 09:05:00 09 AM %j%")
})
test.each<readonly [string, Readonly<Record<string, Uint8Array>>, RegExp]>([
  ["no template", { "tokenizer_config.json": bytes({}) }, /tokenizer_config.json: the model has no chat template/],
  ["no files", {}, /the model has no chat template/],
  ["a template that is no text", files([{ name: "default", template: 7 }]), /"default" is not a text/],
  ["a template that does not parse", files("{% if %}"), /cannot be parsed/],
  ["a configuration that is not JSON", { "tokenizer_config.json": bytes("{") }, /is not a JSON object/],
  ["a template with a filter that there is none of", files("{{ messages[0].content | rot13 }}"), /refuses the messages .*rot13/]
])("%s", async (_, given, says) => { await expect(render(given, hello)).rejects.toThrow(says) })
