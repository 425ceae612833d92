/**
 * Provenance: the record beside every kept result. It says what made it, from what, on what, at what cost, and the hash of every
 * file, so that `verify` can prove that nothing has changed since. It also carries the headers: a plan reads nothing else.
 */
import { Schema } from "effect"

const Content = Schema.Struct({ path: Schema.String, bytes: Schema.Int, sha256: Schema.String })
const Quantity = Schema.optionalKey(Schema.Finite)
const Cost = Schema.Struct({ flops: Quantity, hostBytes: Quantity, deviceBytes: Quantity, bytesRead: Quantity, bytesWritten: Quantity, largestBuffer: Quantity })
const Port = Schema.Struct({ kind: Schema.String, header: Schema.Json, files: Schema.Array(Content) })

export const Provenance = Schema.Struct({
  format: Schema.Literal(1),
  key: Schema.String,
  pipeline: Schema.String,
  stage: Schema.String,
  version: Schema.Int,
  options: Schema.Json,
  /** null where the stage is not seeded */
  seed: Schema.NullOr(Schema.Finite),
  /** by input (`base`, `experts.law`, `models.0`): its key (of a side output `key#port`), and the hash of its list of files */
  inputs: Schema.Record(Schema.String, Schema.Struct({ key: Schema.String, sha256: Schema.String })),
  /** hashes of the outside files that stand among the options, by path */
  files: Schema.Record(Schema.String, Schema.String),
  outputs: Schema.Record(Schema.String, Port),
  device: Schema.optionalKey(Schema.String),
  node: Schema.String,
  machine: Schema.String,
  started: Schema.String,
  seconds: Schema.Finite,
  /** of the whole process: processor time during the stage, and the most memory it had held by its end */
  process: Schema.Struct({ cpuSeconds: Schema.Finite, peakBytes: Schema.Finite }),
  planned: Cost,
  actual: Cost
})
export type Provenance = typeof Provenance.Type
