/** What one model gave every document: the raw material of every comparison. */
import { Table } from "@switchyard/core"
import type { DocumentScore } from "./metrics.ts"

/** One row for each document. Units: logLikelihood in nats, summed over the document's tokens. */
export const Scores = Table.define("scores", { version: 1, columns: { domain: "label", document: "text", tokens: "u32", bytes: "u32", logLikelihood: "f64" } })
export type Scores = typeof Scores

/** The table of these scores. */
export const fromDocuments = (scores: ReadonlyArray<DocumentScore>): Table.Table<Scores> => Table.make(Scores, {
  domain: scores.map(({ domain }) => domain), document: scores.map(({ document }) => document), tokens: scores.map(({ tokens }) => tokens),
  bytes: scores.map(({ bytes }) => bytes), logLikelihood: scores.map(({ logLikelihood }) => logLikelihood)
})

/** The scores of a table. */
export const toDocuments = (table: Table.Table<Scores>): ReadonlyArray<DocumentScore> => Table.rows(table)
