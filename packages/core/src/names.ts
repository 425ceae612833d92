/**
 * Types that the inferred types of stages and pipelines mention. The compiler writes declaration files only from names it can reach in the
 * package's index, and it does not look inside the namespaces there; users write `File.FileError`.
 */
export type { Artifact as ArtifactOf } from "./Artifact.ts"
export type { Checkpoint as CheckpointOf, CheckpointError, FolderError, Header as CheckpointHeader } from "./Checkpoint.ts"
export type { Corpus as CorpusOf, CorpusError } from "./Corpus.ts"
export type { CannotExpress, ConfigError, UnknownFamily } from "./Family.ts"
export type { FileError } from "./File.ts"
export type { GgufError } from "./GgufHeader.ts"
export type { HubError } from "./HubError.ts"
export type { StoreLocked } from "./Lock.ts"
export type { Definition as StageDefinition, DescriptionError, Input as StageInput, Node, Same } from "./Node.ts"
export type { ParquetError } from "./Parquet.ts"
export type { CannotFit, Planned, Problem as PlanProblem } from "./Plan.ts"
export type { SafetensorsError } from "./SafetensorsHeader.ts"
export type { Stage as StageOf } from "./Stage.ts"
export type { Store as StoreService, StoreError } from "./Store.ts"
export type { Definition as TableDefinition, Row as TableRow, Table as TableOf, TableError } from "./Table.ts"
export type { TokenizerError } from "./Tokenizer.ts"
export type { TensorMismatch } from "./bindTensors.ts"
export type { WeightsError } from "./Weights.ts"
