/**
 * prefixPool whose past is kept: state [2, batch · columns] holds each sum and its weight. out[batch, t] = the sum after x[batch, t], divided by the weight when `mean`;
 * a row at place 0 begins anew, one at 0xffffffff is passed over (out 0). count = batch · columns, one thread each.
 */
import { make, perElement, reads, readsIndex, updates, writes } from "../Kernel.ts"

export const cachedPool = make("cachedPool", {
  bindings: { x: reads, places: readsIndex, state: updates, out: writes },
  params: { count: "u32", tokens: "u32", columns: "u32", decay: "f32", mean: "u32" },
  flops: ({ count, tokens }) => 3 * count * tokens,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./cachedPool.wgsl", import.meta.url),
  run: ({ out, places, state, x }, { columns, count, decay, mean, tokens }) => {
    for (let i = 0; i < count; i++) {
      const entry = Math.floor(i / columns)
      let sum = state[i]!, weight = state[count + i]!
      for (let t = 0; t < tokens; t++) {
        const place = places[entry * tokens + t]!, at = (entry * tokens + t) * columns + i % columns
        if (place === 0xffffffff) { out[at] = 0; continue }
        if (place === 0) sum = weight = 0
        sum = decay * sum + x[at]!
        weight = decay * weight + 1
        out[at] = mean ? sum / weight : sum
      }
      state[i] = sum
      state[count + i] = weight
    }
  }
})
