/**
 * What goes wrong between here and a model hub, as one typed error: which model, which file, which address, which answer, what to do.
 */
import { Schema } from "effect"

/**
 * `Invalid`: the id or revision is none. `Unauthorized`: 401 or 403. `NotFound`: 404. `Network`: no connection, or one that broke, or a server in
 * trouble. `WrongHash`: what arrived, or what the cache holds, is not what the hub promised. `Unsafe`: a name or link that leads out of its folder.
 * `Cache`: the cache lacks it or contradicts itself. `Answer`: the hub answered something that cannot be read.
 */
export const Reason = Schema.Literals(["Invalid", "Unauthorized", "NotFound", "Network", "WrongHash", "Unsafe", "Cache", "Answer"])
export type Reason = typeof Reason.Type

/** A model could not be had from a hub or from its cache. */
export class HubError extends Schema.TaggedError<HubError>()("HubError", {
  id: Schema.String, reason: Reason, problem: Schema.String, remedy: Schema.String,
  file: Schema.optionalKey(Schema.String), url: Schema.optionalKey(Schema.String), status: Schema.optionalKey(Schema.Int)
}) {
  override get message(): string {
    const where = [this.file, this.url === undefined ? undefined : `${this.url}${this.status === undefined ? "" : `, status ${this.status}`}`].filter((part) => part !== undefined)
    return `${this.id}${where.length === 0 ? "" : ` (${where.join("; ")})`}: ${this.problem}. Remedy: ${this.remedy}.`
  }
}
