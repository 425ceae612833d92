/**
 * Exports: checkpoints in the layout of a Hugging Face family, the folders that other tools open. What a pipeline does with an export, it
 * does with the folder as read back: a report's row for it is measured on the very files that are handed out.
 */
import { Effect, Schema } from "effect"
import { join } from "node:path"
import * as Artifact from "./Artifact.ts"
import * as Checkpoint from "./Checkpoint.ts"
import * as Dtype from "./Dtype.ts"
import * as Family from "./Family.ts"
import * as Stage from "./Stage.ts"

/** The folder inside the kept result. */
const inside = "model"

/** Kept as a folder of the family's layout; counts as a checkpoint of its form. */
const artifact = <F extends Checkpoint.Form>(kept: Artifact.Artifact<Checkpoint.Checkpoint<F>>, form: F) => Artifact.make<Checkpoint.Checkpoint<F>>(kept.kinds[0]!, {
  save: () => Effect.void, // the stage has streamed the files already
  load: (directory) => Effect.map(Checkpoint.open(join(directory, inside)), (found) => {
    if (found.header.form !== form) throw new Error(`Export: ${directory} holds a ${found.header.form} model`)
    return found as Checkpoint.Checkpoint<F>
  })
})

const exporter = <F extends Checkpoint.Form>(name: string, kept: Artifact.Artifact<Checkpoint.Checkpoint<F>>, form: F) => Stage.make(name, {
  version: 1,
  inputs: [Stage.one("model", kept)],
  options: Schema.Struct({ family: Schema.optionalKey(Schema.String), dtype: Schema.optionalKey(Schema.Literals(["F32", "F16", "BF16"])) }),
  output: artifact(kept, form),
  *describe({ model: { key: _, ...header } }, { dtype, family }) {
    const found = header as unknown as Checkpoint.Header<F>, layout = yield* Family.choose(found.model, family)
    const bytes = dtype === undefined ? found.bytes : found.parameters * Dtype.bits[dtype] / 8
    return { header: { ...found, bytes, model: { ...found.model, family: layout === Family.own ? found.model.family : layout } } as never, cost: { bytesRead: found.bytes, bytesWritten: bytes } }
  },
  *run({ model }, { dtype, family }, context) {
    const folder = join(context.directory, inside)
    yield* Checkpoint.write(model as Checkpoint.Any, folder, { ...dtype === undefined ? {} : { dtype }, ...family === undefined ? {} : { family } })
    return (yield* Checkpoint.open(folder)) as never
  }
})

/** A dense model in its family's layout. Options: `family` (the model's own, else the first that fits), `dtype` (each tensor's own). Fails: CannotExpress, in `plan`, naming what the family cannot hold. */
export const dense = exporter("export/dense", Checkpoint.Dense, "dense")
/** A mixture in the layout of a family that can express it (Mixtral), else in our own. Options and failures as `dense`. */
export const mixture = exporter("export/mixture", Checkpoint.Mixture, "mixture")
