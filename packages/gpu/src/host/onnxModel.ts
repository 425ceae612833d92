/**
 * ONNX models of one matrix product, written as the protocol-buffer bytes that the ONNX format prescribes (onnx.proto3): all dimensions
 * free, all operands inputs. A weight is never an initializer: the runtime would fold or pack it, and it changes every step.
 */

/** Which product: `Gemm` takes matrices and can add to its output; `FusedMatMul` (ONNX Runtime's own) takes batches. */
export interface Product {
  readonly operator: "Gemm" | "FusedMatMul"
  readonly transposeA: boolean
  readonly transposeB: boolean
  readonly alpha: number
  /** Gemm only: the third input `c` is added. */
  readonly accumulate: boolean
}

type Bytes = ReadonlyArray<number>
const varint = (value: number): Bytes => value < 128 ? [value] : [value % 128 + 128, ...varint(Math.floor(value / 128))]
const whole = (field: number, value: number): Bytes => [...varint(field * 8), ...varint(value)]
const nested = (field: number, bytes: Bytes): Bytes => [...varint(field * 8 + 2), ...varint(bytes.length), ...bytes]
const text = (field: number, value: string): Bytes => nested(field, [...new TextEncoder().encode(value)])
const single = (field: number, value: number): Bytes => [...varint(field * 8 + 5), ...new Uint8Array(Float32Array.of(value).buffer)]

const integerAttribute = (name: string, value: number): Bytes => nested(5, [...text(1, name), ...whole(3, value), ...whole(20, 2)])
const realAttribute = (name: string, value: number): Bytes => nested(5, [...text(1, name), ...single(2, value), ...whole(20, 1)])
/** A f32 tensor whose axes are named, not sized. */
const tensor = (name: string, axes: ReadonlyArray<string>): Bytes =>
  [...text(1, name), ...nested(2, nested(1, [...whole(1, 1), ...nested(2, axes.flatMap((axis) => [...nested(1, text(2, axis))]))]))]

/** The model's bytes. Inputs `a`, `b` (and `c` when it accumulates), output `y`. */
export const onnxModel = ({ accumulate, alpha, operator, transposeA, transposeB }: Product): Uint8Array => {
  const batched = operator === "FusedMatMul"
  const inputs = accumulate ? ["a", "b", "c"] : ["a", "b"]
  const axes = (name: string): ReadonlyArray<string> => [...batched ? [`${name}0`] : [], `${name}1`, `${name}2`]
  const node = [
    ...inputs.flatMap((name) => [...text(1, name)]), ...text(2, "y"), ...text(4, operator), ...text(7, batched ? "com.microsoft" : ""),
    ...integerAttribute("transA", Number(transposeA)), ...integerAttribute("transB", Number(transposeB)), ...realAttribute("alpha", alpha),
    ...batched ? [] : realAttribute("beta", accumulate ? 1 : 0)
  ]
  const graph = [...nested(1, node), ...text(2, "product"), ...inputs.flatMap((name) => [...nested(11, tensor(name, axes(name)))]), ...nested(12, tensor("y", axes("y")))]
  const operators = (domain: string, version: number): Bytes => nested(8, [...text(1, domain), ...whole(2, version)])
  return Uint8Array.from([...whole(1, 8), ...operators("", 13), ...operators("com.microsoft", 1), ...nested(7, graph)])
}
