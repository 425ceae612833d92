// A row to four lanes, sixteen rows to a workgroup, no barriers: software adapters make a coroutine of every subgroup that meets one
// (80 µs a row on SwiftShader, 4 µs without). The same functions as rows.wgsl.
const lanesOfRow = 4u;

fn rowOf(workgroup: vec3<u32>, workgroups: vec3<u32>, lane: u32) -> u32 { return flatWorkgroup(workgroup, workgroups) * 16u + (lane >> 2u); }
fn laneOf(lane: u32) -> u32 { return lane & 3u; }

fn sumOverRow(value: f32, lane: u32) -> f32 {
  let pair = value + quadSwapX(value);
  return pair + quadSwapY(pair);
}

fn maximumOverRow(value: f32, lane: u32) -> f32 {
  let pair = max(value, quadSwapX(value));
  return max(pair, quadSwapY(pair));
}
