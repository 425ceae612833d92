/** AdamW (Loshchilov & Hutter 2019) in place. hyper = [learningRate, beta1, beta2, epsilon, weightDecay, 1 − beta1^step, 1 − beta2^step]; clip[0] scales the gradient; `decays` switches weight decay for this tensor. */
import { make, perElement, reads, updates } from "../Kernel.ts"

export const adamw = make("adamw", {
  bindings: { parameter: updates, first: updates, second: updates, gradient: reads, hyper: reads, clip: reads },
  params: { count: "u32", decays: "u32" },
  flops: ({ count }) => 14 * count,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./adamw.wgsl", import.meta.url),
  run: ({ clip, first, gradient, hyper, parameter, second }, { count, decays }) => {
    const [rate, beta1, beta2, epsilon, decay, correction1, correction2] = hyper as unknown as [number, number, number, number, number, number, number]
    const shrink = 1 - (decays ? rate * decay : 0)
    for (let i = 0; i < count; i++) {
      const g = gradient[i]! * clip[0]!
      const m = first[i] = beta1 * first[i]! + (1 - beta1) * g
      const v = second[i] = beta2 * second[i]! + (1 - beta2) * g * g
      parameter[i] = parameter[i]! * shrink - rate * (m / correction1) / (Math.sqrt(v / correction2) + epsilon)
    }
  }
})
