/** A folder that holds the other form, or that must not be replaced. */
import { Schema } from "effect"

export class FolderError extends Schema.TaggedError<FolderError>()("FolderError", { folder: Schema.String, problem: Schema.String, remedy: Schema.String }) {
  override get message() { return `${this.folder}: ${this.problem}. Remedy: ${this.remedy}.` }
}
