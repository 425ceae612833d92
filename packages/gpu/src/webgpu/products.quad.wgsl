// The tile of every matrix product, for adapters with subgroups: the same functions of the kernel as products.wgsl, and a larger tile.
// Four lanes own 16 rows × 16 columns in registers: each lane loads four steps of four of the rows and hands them round the quad, and
// keeps its own four columns (column, column + 4, …). A workgroup owns 64 × 64. Quads beyond the end leave as a whole; rows and columns
// past the end read the last one and are not written.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let z = workgroup.z;
  let rows = rowsOf(z);
  let quad = lane & 3u;
  let row = rows.x + workgroup.y * 64u + (lane >> 4u) * 16u;
  let first = workgroup.x * 64u + ((lane >> 2u) & 3u) * 16u;
  if (row >= rows.y || first >= p.columns) { return; }
  let column = first + quad;
  let end = p.columns - 1u;
  let last = rows.y - 1u;
  var fromA0 = startOfRow(z, min(row + quad, last));
  var fromA1 = startOfRow(z, min(row + 4u + quad, last));
  var fromA2 = startOfRow(z, min(row + 8u + quad, last));
  var fromA3 = startOfRow(z, min(row + 12u + quad, last));
  var fromB = vec4(startOfColumn(z, min(column, end)), startOfColumn(z, min(column + 4u, end)), startOfColumn(z, min(column + 8u, end)), startOfColumn(z, min(column + 12u, end)));
  let nextA = nextOfRow();
  let nextB = vec4(nextOfColumn());
  var sum0 = vec4<f32>(); var sum1 = vec4<f32>(); var sum2 = vec4<f32>(); var sum3 = vec4<f32>();
  var sum4 = vec4<f32>(); var sum5 = vec4<f32>(); var sum6 = vec4<f32>(); var sum7 = vec4<f32>();
  var sum8 = vec4<f32>(); var sum9 = vec4<f32>(); var sum10 = vec4<f32>(); var sum11 = vec4<f32>();
  var sum12 = vec4<f32>(); var sum13 = vec4<f32>(); var sum14 = vec4<f32>(); var sum15 = vec4<f32>();
  let steps = stepsOf(z);
  for (var k = 0u; k < steps; k += 4u) {
    let inside = vec4(k) + vec4(0u, 1u, 2u, 3u) < vec4(steps);
    let columns0 = vec4(ofColumn(fromB.x), ofColumn(fromB.y), ofColumn(fromB.z), ofColumn(fromB.w));
    fromB += nextB;
    let columns1 = select(vec4<f32>(), vec4(ofColumn(fromB.x), ofColumn(fromB.y), ofColumn(fromB.z), ofColumn(fromB.w)), inside.y);
    fromB += nextB;
    let columns2 = select(vec4<f32>(), vec4(ofColumn(fromB.x), ofColumn(fromB.y), ofColumn(fromB.z), ofColumn(fromB.w)), inside.z);
    fromB += nextB;
    let columns3 = select(vec4<f32>(), vec4(ofColumn(fromB.x), ofColumn(fromB.y), ofColumn(fromB.z), ofColumn(fromB.w)), inside.w);
    fromB += nextB;
    let rows0 = select(vec4<f32>(), vec4(ofRow(fromA0), ofRow(fromA0 + nextA), ofRow(fromA0 + 2u * nextA), ofRow(fromA0 + 3u * nextA)), inside);
    fromA0 += 4u * nextA;
    sum0 = product(quadBroadcast(rows0, 0u), columns0, columns1, columns2, columns3, sum0);
    sum1 = product(quadBroadcast(rows0, 1u), columns0, columns1, columns2, columns3, sum1);
    sum2 = product(quadBroadcast(rows0, 2u), columns0, columns1, columns2, columns3, sum2);
    sum3 = product(quadBroadcast(rows0, 3u), columns0, columns1, columns2, columns3, sum3);
    let rows1 = select(vec4<f32>(), vec4(ofRow(fromA1), ofRow(fromA1 + nextA), ofRow(fromA1 + 2u * nextA), ofRow(fromA1 + 3u * nextA)), inside);
    fromA1 += 4u * nextA;
    sum4 = product(quadBroadcast(rows1, 0u), columns0, columns1, columns2, columns3, sum4);
    sum5 = product(quadBroadcast(rows1, 1u), columns0, columns1, columns2, columns3, sum5);
    sum6 = product(quadBroadcast(rows1, 2u), columns0, columns1, columns2, columns3, sum6);
    sum7 = product(quadBroadcast(rows1, 3u), columns0, columns1, columns2, columns3, sum7);
    let rows2 = select(vec4<f32>(), vec4(ofRow(fromA2), ofRow(fromA2 + nextA), ofRow(fromA2 + 2u * nextA), ofRow(fromA2 + 3u * nextA)), inside);
    fromA2 += 4u * nextA;
    sum8 = product(quadBroadcast(rows2, 0u), columns0, columns1, columns2, columns3, sum8);
    sum9 = product(quadBroadcast(rows2, 1u), columns0, columns1, columns2, columns3, sum9);
    sum10 = product(quadBroadcast(rows2, 2u), columns0, columns1, columns2, columns3, sum10);
    sum11 = product(quadBroadcast(rows2, 3u), columns0, columns1, columns2, columns3, sum11);
    let rows3 = select(vec4<f32>(), vec4(ofRow(fromA3), ofRow(fromA3 + nextA), ofRow(fromA3 + 2u * nextA), ofRow(fromA3 + 3u * nextA)), inside);
    fromA3 += 4u * nextA;
    sum12 = product(quadBroadcast(rows3, 0u), columns0, columns1, columns2, columns3, sum12);
    sum13 = product(quadBroadcast(rows3, 1u), columns0, columns1, columns2, columns3, sum13);
    sum14 = product(quadBroadcast(rows3, 2u), columns0, columns1, columns2, columns3, sum14);
    sum15 = product(quadBroadcast(rows3, 3u), columns0, columns1, columns2, columns3, sum15);
  }
  var sums = array<vec4<f32>, 16>(sum0, sum1, sum2, sum3, sum4, sum5, sum6, sum7, sum8, sum9, sum10, sum11, sum12, sum13, sum14, sum15);
  for (var i = 0u; i < 16u && row + i < rows.y; i++) {
    for (var j = 0u; j < 4u && column + 4u * j < p.columns; j++) { write(z, row + i, column + 4u * j, sums[i][j]); }
  }
}

fn product(row: vec4<f32>, first: vec4<f32>, second: vec4<f32>, third: vec4<f32>, fourth: vec4<f32>, sum: vec4<f32>) -> vec4<f32> {
  return fma(vec4(row.w), fourth, fma(vec4(row.z), third, fma(vec4(row.y), second, fma(vec4(row.x), first, sum))));
}
