/**
 * Chat templates: messages as the text that a model was trained to go on from, rendered as transformers' `apply_chat_template` renders them.
 *
 * A template is a program in Jinja that comes with a model; it is interpreted by `@huggingface/jinja`, which can reach nothing but what is handed to it here.
 */
import { Environment, Interpreter, Template } from "@huggingface/jinja"
import { Effect, Schema } from "effect"
import type { Tokenizer } from "./Tokenizer.ts"
import { nearest } from "./Weights.ts"

/** A message, as transformers takes them: further keys (`tool_calls`, `name`, `tool_call_id`, …) are the template's business. */
export interface Message { readonly role: string; readonly content?: unknown; readonly [key: string]: unknown }
/** A tool as JSON Schema: `{ type: "function", function: { name, description, parameters } }`. */
export type Tool = Readonly<Record<string, unknown>>
/**
 * Options: `addGenerationPrompt`: the text ends where the answer begins (false); `tools` that the model may call; `documents`; `name` of the template, where there are several
 * ("tool_use" where tools are given and there is one, else "default"); `now` for templates that write the date; `variables` of the template's own, such as `enable_thinking`.
 */
export interface Options {
  readonly addGenerationPrompt?: boolean
  readonly tools?: ReadonlyArray<Tool>
  readonly documents?: ReadonlyArray<Readonly<Record<string, unknown>>>
  readonly name?: string
  readonly now?: Date
  readonly variables?: Readonly<Record<string, unknown>>
}
export interface ChatTemplate {
  /** Names of the templates there are. */
  readonly names: ReadonlyArray<string>
  /** The text. It holds the model's special tokens as text, its beginning-of-text token too: encode it without adding another. Fails: `ChatTemplateError`, with what the template itself says where it refuses. */
  readonly render: (messages: ReadonlyArray<Message>, options?: Options) => Effect.Effect<string, ChatTemplateError>
}

/** There is no template, or it cannot be read, or it refuses what it is given. */
export class ChatTemplateError extends Schema.TaggedError<ChatTemplateError>()("ChatTemplateError", { file: Schema.String, problem: Schema.String, remedy: Schema.String }) {
  override get message() { return `${this.file}: ${this.problem}. Remedy: ${this.remedy}.` }
}

type Object = { readonly [key: string]: unknown }
const isObject = (value: unknown): value is Object => typeof value === "object" && value !== null && !Array.isArray(value)
const jinjaFile = "chat_template.jinja", configFile = "tokenizer_config.json"

/** The templates by name: chat_template.jinja is "default" and comes before the configuration's, a string or a list of named ones. */
const sourcesOf = (files: Tokenizer["files"], config: Object): ReadonlyMap<string, { readonly file: string; readonly source: string }> => {
  const found = new Map<string, { readonly file: string; readonly source: string }>(), add = (name: string, file: string, source: unknown) => {
    if (typeof source !== "string") throw new ChatTemplateError({ file, problem: `its chat_template ${JSON.stringify(name)} is not a text`, remedy: "fetch the tokenizer's files again" })
    found.set(name, { file, source })
  }
  const given = config["chat_template"]
  if (Array.isArray(given)) for (const each of given) add(isObject(each) && typeof each["name"] === "string" ? each["name"] : "(without a name)", configFile, isObject(each) ? each["template"] : undefined)
  else if (given !== undefined && given !== null) add("default", configFile, given)
  if (files[jinjaFile] !== undefined) add("default", jinjaFile, new TextDecoder().decode(files[jinjaFile]))
  return found
}

/** The special tokens that templates know by name. */
const tokensOf = (config: Object, map: Object): Record<string, string> => Object.fromEntries(["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"].flatMap((name) => {
  const token = config[name] ?? map[name], content = isObject(token) ? token["content"] : token
  return typeof content === "string" ? [[name, content]] : []
}))

const two = (value: number): string => String(value).padStart(2, "0")
const months = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]
const days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
/** Python's strftime, in English. An unknown directive stays as it is. */
const strftime = (now: Date, format: string): string => format.replace(/%(-?[a-zA-Z%])/g, (whole, directive: string) => {
  const hour = now.getHours() % 12 || 12, parts: Readonly<Record<string, string>> = {
    Y: String(now.getFullYear()), y: two(now.getFullYear() % 100), m: two(now.getMonth() + 1), d: two(now.getDate()), H: two(now.getHours()), I: two(hour), M: two(now.getMinutes()), S: two(now.getSeconds()),
    B: months[now.getMonth()]!, b: months[now.getMonth()]!.slice(0, 3), A: days[now.getDay()]!, a: days[now.getDay()]!.slice(0, 3), p: now.getHours() < 12 ? "AM" : "PM", "%": "%",
    "-m": String(now.getMonth() + 1), "-d": String(now.getDate()), "-H": String(now.getHours()), "-I": String(hour)
  }
  return parts[directive] ?? whole
})

/** The templates of a tokenizer's files. Fails: `ChatTemplateError` where there is none, or one that cannot be parsed. */
export const make = (tokenizer: Pick<Tokenizer, "files">): Effect.Effect<ChatTemplate, ChatTemplateError> => Effect.suspend(() => {
  const { files } = tokenizer, read = (name: string): Object => {
    if (files[name] === undefined) return {}
    try {
      const json: unknown = JSON.parse(new TextDecoder().decode(files[name]))
      if (isObject(json)) return json
    } catch { /* said below */ }
    throw new ChatTemplateError({ file: name, problem: "it is not a JSON object", remedy: "fetch the tokenizer's files again" })
  }
  try {
    const config = read(configFile), tokens = tokensOf(config, read("special_tokens_map.json")), sources = sourcesOf(files, config)
    if (sources.size === 0) throw new ChatTemplateError({ file: configFile, problem: "the model has no chat template", remedy: `give it as a prompt of plain text, or put a template in ${jinjaFile}` })
    const templates = new Map([...sources].map(([name, { file, source }]) => {
      try {
        return [name, { file, template: new Template(source) }] as const
      } catch (error) {
        throw new ChatTemplateError({ file, problem: `its chat template ${JSON.stringify(name)} cannot be parsed (${(error as Error).message})`, remedy: "check it against Jinja's syntax" })
      }
    }))
    return Effect.succeed({ names: [...templates.keys()], render: (messages, options = {}) => rendered(templates, tokens, messages, options) })
  } catch (error) {
    if (error instanceof ChatTemplateError) return Effect.fail(error)
    throw error
  }
})

/** Python's range. */
const range = (from: number, to?: number, step = 1): ReadonlyArray<number> => {
  const [begin, end] = to === undefined ? [0, from] : [from, to]
  return Array.from({ length: Math.max(0, Math.ceil((end - begin) / step)) }, (_, index) => begin + index * step)
}
/** What every template may use, with the date given in place of the clock's. */
const globals = (now: Date): Readonly<Record<string, unknown>> => ({
  true: true, false: false, none: null, True: true, False: false, None: null, range,
  raise_exception: (problem: string) => { throw new Error(problem) },
  strftime_now: (format: string) => strftime(now, format)
})

const rendered = (templates: ReadonlyMap<string, { readonly file: string; readonly template: Template }>, tokens: Readonly<Record<string, string>>, messages: ReadonlyArray<Message>, options: Options): Effect.Effect<string, ChatTemplateError> => {
  const { addGenerationPrompt = false, documents, now = new Date(), tools, variables = {} } = options, names = [...templates.keys()]
  const name = options.name ?? (tools !== undefined && templates.has("tool_use") ? "tool_use" : "default"), found = templates.get(name)
  if (found === undefined) return Effect.fail(new ChatTemplateError({ file: templates.get(names[0]!)!.file, problem: `it has no chat template ${JSON.stringify(name)}, only ${names.join(", ")}`, remedy: `say which; the nearest is ${nearest(name, names)}` }))
  return Effect.try({
    try: () => {
      const environment = new Environment()
      const given = { ...tokens, messages, tools: tools ?? null, documents: documents ?? null, add_generation_prompt: addGenerationPrompt, ...variables }
      for (const [name, value] of Object.entries({ ...globals(now), ...given })) environment.set(name, value)
      return String(new Interpreter(environment).run(found.template.parsed).value)
    },
    catch: (error) => new ChatTemplateError({ file: found.file, problem: `the chat template refuses the messages (${(error as Error).message})`, remedy: "give messages as the model's card shows them" })
  })
}
