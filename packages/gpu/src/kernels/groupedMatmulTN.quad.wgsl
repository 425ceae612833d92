// out[group] = alpha · a[group rows]ᵀ · b[group rows]; z is the group, and the sum runs over its rows.
// For adapters with subgroups. Four lanes own 16 rows × 16 columns in registers: each lane loads four steps of four of the rows and
// hands them round the quad, and keeps its own four columns (column, column + 4, …). A workgroup owns 64 × 64. Quads beyond the end
// leave as a whole; rows and columns past the end read the last one and are not written.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let begin = offsets[workgroup.z];
  let steps = offsets[workgroup.z + 1u] - begin;
  let quad = lane & 3u;
  let row = workgroup.y * 64u + (lane >> 4u) * 16u;
  let first = workgroup.x * 64u + ((lane >> 2u) & 3u) * 16u;
  if (row >= p.rows || first >= p.columns) { return; }
  let column = first + quad;
  var fromA0 = begin * p.rows + min(row + quad, p.rows - 1u);
  var fromA1 = begin * p.rows + min(row + 4u + quad, p.rows - 1u);
  var fromA2 = begin * p.rows + min(row + 8u + quad, p.rows - 1u);
  var fromA3 = begin * p.rows + min(row + 12u + quad, p.rows - 1u);
  var fromB = begin * p.columns + min(vec4(column) + vec4(0u, 4u, 8u, 12u), vec4(p.columns - 1u));
  let nextA = p.rows;
  let nextB = vec4(p.columns);
  var sum0 = vec4<f32>();
  var sum1 = vec4<f32>();
  var sum2 = vec4<f32>();
  var sum3 = vec4<f32>();
  var sum4 = vec4<f32>();
  var sum5 = vec4<f32>();
  var sum6 = vec4<f32>();
  var sum7 = vec4<f32>();
  var sum8 = vec4<f32>();
  var sum9 = vec4<f32>();
  var sum10 = vec4<f32>();
  var sum11 = vec4<f32>();
  var sum12 = vec4<f32>();
  var sum13 = vec4<f32>();
  var sum14 = vec4<f32>();
  var sum15 = vec4<f32>();
  for (var k = 0u; k < steps; k += 4u) {
    let inside = vec4(k) + vec4(0u, 1u, 2u, 3u) < vec4(steps);
    let columns0 = vec4(b[fromB.x], b[fromB.y], b[fromB.z], b[fromB.w]);
    fromB += nextB;
    let columns1 = select(vec4<f32>(), vec4(b[fromB.x], b[fromB.y], b[fromB.z], b[fromB.w]), inside.y);
    fromB += nextB;
    let columns2 = select(vec4<f32>(), vec4(b[fromB.x], b[fromB.y], b[fromB.z], b[fromB.w]), inside.z);
    fromB += nextB;
    let columns3 = select(vec4<f32>(), vec4(b[fromB.x], b[fromB.y], b[fromB.z], b[fromB.w]), inside.w);
    fromB += nextB;
    let rows0 = select(vec4<f32>(), vec4(a[fromA0], a[fromA0 + nextA], a[fromA0 + 2u * nextA], a[fromA0 + 3u * nextA]), inside);
    fromA0 += 4u * nextA;
    sum0 = product(quadBroadcast(rows0, 0u), columns0, columns1, columns2, columns3, sum0);
    sum1 = product(quadBroadcast(rows0, 1u), columns0, columns1, columns2, columns3, sum1);
    sum2 = product(quadBroadcast(rows0, 2u), columns0, columns1, columns2, columns3, sum2);
    sum3 = product(quadBroadcast(rows0, 3u), columns0, columns1, columns2, columns3, sum3);
    let rows1 = select(vec4<f32>(), vec4(a[fromA1], a[fromA1 + nextA], a[fromA1 + 2u * nextA], a[fromA1 + 3u * nextA]), inside);
    fromA1 += 4u * nextA;
    sum4 = product(quadBroadcast(rows1, 0u), columns0, columns1, columns2, columns3, sum4);
    sum5 = product(quadBroadcast(rows1, 1u), columns0, columns1, columns2, columns3, sum5);
    sum6 = product(quadBroadcast(rows1, 2u), columns0, columns1, columns2, columns3, sum6);
    sum7 = product(quadBroadcast(rows1, 3u), columns0, columns1, columns2, columns3, sum7);
    let rows2 = select(vec4<f32>(), vec4(a[fromA2], a[fromA2 + nextA], a[fromA2 + 2u * nextA], a[fromA2 + 3u * nextA]), inside);
    fromA2 += 4u * nextA;
    sum8 = product(quadBroadcast(rows2, 0u), columns0, columns1, columns2, columns3, sum8);
    sum9 = product(quadBroadcast(rows2, 1u), columns0, columns1, columns2, columns3, sum9);
    sum10 = product(quadBroadcast(rows2, 2u), columns0, columns1, columns2, columns3, sum10);
    sum11 = product(quadBroadcast(rows2, 3u), columns0, columns1, columns2, columns3, sum11);
    let rows3 = select(vec4<f32>(), vec4(a[fromA3], a[fromA3 + nextA], a[fromA3 + 2u * nextA], a[fromA3 + 3u * nextA]), inside);
    fromA3 += 4u * nextA;
    sum12 = product(quadBroadcast(rows3, 0u), columns0, columns1, columns2, columns3, sum12);
    sum13 = product(quadBroadcast(rows3, 1u), columns0, columns1, columns2, columns3, sum13);
    sum14 = product(quadBroadcast(rows3, 2u), columns0, columns1, columns2, columns3, sum14);
    sum15 = product(quadBroadcast(rows3, 3u), columns0, columns1, columns2, columns3, sum15);
  }
  var sums = array<vec4<f32>, 16>(sum0, sum1, sum2, sum3, sum4, sum5, sum6, sum7, sum8, sum9, sum10, sum11, sum12, sum13, sum14, sum15);
  for (var i = 0u; i < 16u && row + i < p.rows; i++) { store((workgroup.z * p.rows + row + i) * p.columns, column, sums[i]); }
}

fn product(row: vec4<f32>, first: vec4<f32>, second: vec4<f32>, third: vec4<f32>, fourth: vec4<f32>, sum: vec4<f32>) -> vec4<f32> {
  return fma(vec4(row.w), fourth, fma(vec4(row.z), third, fma(vec4(row.y), second, fma(vec4(row.x), first, sum))));
}

fn store(start: u32, column: u32, sum: vec4<f32>) {
  for (var i = 0u; i < 4u && column + 4u * i < p.columns; i++) {
    out[start + column + 4u * i] = p.alpha * sum[i];
  }
}
