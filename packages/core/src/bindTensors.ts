/**
 * A model's tensors, found in what the files hold: under the family's names, or where transformers 5 keeps them, fused over experts.
 *
 * Every tensor of the model must be found with its shape, and every tensor of the files must be used: anything else is an error by name.
 */
import { Effect, Schema } from "effect"
import { isFloat } from "./Dtype.ts"
import * as Family from "./Family.ts"
import * as Model from "./Model.ts"
import { type Pack, packsOf, unpack } from "./packedTensors.ts"
import * as Weights from "./Weights.ts"

const names = Schema.Array(Schema.String)

/** The tensors of a folder are not those that its config.json announces. */
export class TensorMismatch extends Schema.TaggedError<TensorMismatch>()("TensorMismatch", { folder: Schema.String, missing: names, unexpected: names, misshapen: names }) {
  override get message() {
    const list = (what: string, of: ReadonlyArray<string>) => of.length === 0 ? [] : [`${of.length} ${what}: ${of.slice(0, 6).join(", ")}${of.length > 6 ? ", …" : ""}`]
    return `${this.folder}: ${[...list("missing", this.missing), ...list("unexpected", this.unexpected), ...list("misshapen", this.misshapen)].join("; ")}. Remedy: correct config.json, or fetch the folder again.`
  }
}

/** Where a canonical tensor lies: the stored tensor, and for a fused one the expert and which of how many blocks of its rows; or the pack that it is a part of. */
interface Place { readonly stored: string; readonly expert?: number; readonly part?: number; readonly parts?: number; readonly pack?: Pack }

/** Weights by canonical name, from weights by the names of a family's files (`family` undefined: our own layout). Fails: TensorMismatch. */
export const bindTensors = (folder: string, family: Family.Family | undefined, model: Model.Model, stored: Weights.Weights): Effect.Effect<Weights.Weights, TensorMismatch> => {
  const places = new Map<string, Place>(), infos = new Map<string, Weights.TensorInfo>(), used = new Set<string>()
  const missing: Array<string> = [], misshapen: Array<string> = []
  const packs = family === undefined ? new Map<string, Pack>() : packsOf(family, model)
  for (const { name, shape } of Model.tensors(model)) {
    const packed = family === undefined ? undefined : Family.packedIn(family, name)?.file
    if (packed !== undefined) {
      const info = stored.infos.get(packed), pack = packs.get(packed)!
      if (info === undefined) missing.push(packed)
      else if (info.shape.join() !== pack.shape.join()) misshapen.push(`${packed} [${info.shape.join(", ")}] instead of [${pack.shape.join(", ")}]`)
      else if (!isFloat(info.dtype)) misshapen.push(`${packed} of dtype ${info.dtype}, which is not read as numbers`)
      used.add(packed)
      places.set(name, { stored: packed, pack })
      infos.set(name, { dtype: info?.dtype ?? "F32", shape })
      continue
    }
    const own = family === undefined ? name : Family.toFile(family, name), other = family === undefined ? undefined : Family.alternative(family, name)
    const plain = own !== undefined && stored.infos.has(own)
    const place: Place | undefined = plain ? { stored: own } : other !== undefined && stored.infos.has(other.file) ? { ...other.parts === undefined ? {} : other, stored: other.file } : undefined
    if (place === undefined) {
      missing.push(own ?? name)
      continue
    }
    used.add(place.stored)
    const info = stored.infos.get(place.stored)!
    const experts = model.feedForward.kind === "mixture" ? model.feedForward.experts : 1
    const expected = place.parts === undefined ? shape : [experts, shape[0]! * place.parts, ...shape.slice(1)]
    if (info.shape.join() !== expected.join()) misshapen.push(`${place.stored} [${info.shape.join(", ")}] instead of [${expected.join(", ")}]`)
    else if (!isFloat(info.dtype)) misshapen.push(`${place.stored} of dtype ${info.dtype}, which is not read as numbers`)
    places.set(name, place)
    infos.set(name, { dtype: info.dtype, shape })
  }
  const left = [...stored.infos.keys()].filter((name) => !used.has(name) && !(family !== undefined && Family.isRecomputed(family, name)))
  const head = model.tiedEmbeddings && family !== undefined ? Family.toFile(family, "head") : undefined, embedding = places.get("embedding")?.stored
  const copied = head !== undefined && embedding !== undefined && left.includes(head) ? isCopy(stored, embedding, head) : Effect.succeed(false)
  return Effect.flatMap(copied, (isCopied) => {
    const unexpected = left.filter((name) => !(isCopied && name === head))
    return missing.length + unexpected.length + misshapen.length > 0 ? Effect.fail(new TensorMismatch({ folder, missing: [...new Set(missing)], unexpected, misshapen: [...new Set(misshapen)] })) : Effect.succeed(bound(stored, places, infos))
  })
}

/** Whether a head that files carry although the config ties it to the embedding is the embedding: by shape and three rows. */
const isCopy = (stored: Weights.Weights, embedding: string, head: string): Effect.Effect<boolean> => {
  const { shape } = stored.infos.get(embedding)!, rows = shape[0]!
  if (stored.infos.get(head)!.shape.join() !== shape.join()) return Effect.succeed(false)
  const same = (row: number) => Effect.zipWith(stored.read(embedding, { from: row, to: row + 1 }), stored.read(head, { from: row, to: row + 1 }), (a, b) => a.every((value, i) => value === b[i]))
  return Effect.orElseSucceed(Effect.map(Effect.all([0, rows >> 1, rows - 1].map(same)), (found) => found.every(Boolean)), () => false)
}

const bound = (stored: Weights.Weights, places: ReadonlyMap<string, Place>, infos: ReadonlyMap<string, Weights.TensorInfo>): Weights.Weights =>
  Weights.make(infos, (name, rows, { shape }) => {
    const { stored: from, expert = 0, pack, part = 0, parts } = places.get(name)!
    if (pack !== undefined) return unpack(stored, pack, name, rows)
    if (parts === undefined) return stored.read(from, rows)
    const columns = Weights.rowLength(shape), start = part * shape[0]! // [1, parts · rows, columns]
    return Effect.map(stored.read(from, { from: expert, to: expert + 1 }), (values) => values.subarray((start + rows.from) * columns, (start + rows.to) * columns))
  })
