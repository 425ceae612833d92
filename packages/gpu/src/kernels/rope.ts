/** Rotary positions in half-split layout (Su et al. 2021, Hugging Face's order): x [rows, heads, headSize]; the pair (j, j + headSize/2) turns by the angle of positions[row]; tables [positions, headSize/2]; direction 1 forward, −1 back. count = rows · heads · headSize / 2. */
import { make, perElement, reads, readsIndex, writes } from "../Kernel.ts"

export const rope = make("rope", {
  bindings: { x: reads, positions: readsIndex, cosines: reads, sines: reads, out: writes },
  params: { count: "u32", heads: "u32", headSize: "u32", direction: "f32" },
  flops: ({ count }) => 6 * count,
  dispatch: ({ count }) => perElement(count),
  source: new URL("./rope.wgsl", import.meta.url),
  run: ({ cosines, out, positions, sines, x }, { count, direction, headSize, heads }) => {
    const half = headSize / 2
    for (let i = 0; i < count; i++) {
      const j = i % half, head = Math.floor(i / half), at = head * headSize + j
      const angle = positions[Math.floor(head / heads)]! * half + j, cosine = cosines[angle]!, sine = direction * sines[angle]!
      const first = x[at]!, second = x[at + half]!
      out[at] = first * cosine - second * sine
      out[at + half] = second * cosine + first * sine
    }
  }
})
