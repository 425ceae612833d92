import { Schema } from "effect"

/** A corpus that cannot be made or used: empty, too short, not to be split, overlapping, or unreadable. */
export class CorpusError extends Schema.TaggedError<CorpusError>()("CorpusError", {
  reason: Schema.Literals(["empty", "short", "clusters", "overlap", "unreadable", "tokenizer"]),
  domain: Schema.String, problem: Schema.String, remedy: Schema.String
}) {
  override get message() { return `corpus ${this.domain}: ${this.problem}. ${this.remedy}` }
}
