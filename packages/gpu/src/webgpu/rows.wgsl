// A row to a workgroup: its 64 lanes share the columns and reduce by a fixed tree in workgroup memory. Every lane gets the result.
// The twin for software adapters, rows.quad.wgsl, has the same functions. Call the reductions from control flow that is uniform in a row.
const lanesOfRow = 64u;

fn rowOf(workgroup: vec3<u32>, workgroups: vec3<u32>, lane: u32) -> u32 { return flatWorkgroup(workgroup, workgroups); }
fn laneOf(lane: u32) -> u32 { return lane; }

var<workgroup> lanes: array<f32, 64>;

fn sumOverRow(value: f32, lane: u32) -> f32 {
  lanes[lane] = value;
  workgroupBarrier();
  for (var half = 32u; half > 0u; half >>= 1u) {
    if (lane < half) { lanes[lane] += lanes[lane + half]; }
    workgroupBarrier();
  }
  let total = lanes[0];
  workgroupBarrier();
  return total;
}

fn maximumOverRow(value: f32, lane: u32) -> f32 {
  lanes[lane] = value;
  workgroupBarrier();
  for (var half = 32u; half > 0u; half >>= 1u) {
    if (lane < half) { lanes[lane] = max(lanes[lane], lanes[lane + half]); }
    workgroupBarrier();
  }
  let largest = lanes[0];
  workgroupBarrier();
  return largest;
}
