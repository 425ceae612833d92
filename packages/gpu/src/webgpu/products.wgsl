// The tile of every matrix product. The kernel in front of it says what is multiplied; z is the entry of its batch, or the group:
//   rowsOf(z)            the rows of out that belong to z: the first, and the one behind the last
//   stepsOf(z)           how many products each element of out adds up
//   startOfRow(z, row), startOfColumn(z, column)   where the operands of a row and of a column of out begin
//   nextOfRow(), nextOfColumn()                    how far from one step's operand to the next one's
//   ofRow(at), ofColumn(at)                        the numbers there
//   write(z, row, column, sum)
// A thread owns 8 rows × 8 columns in registers, a workgroup 64 × 64. Rows and columns past the end read the last one and are not written.
// The twin for adapters with subgroups is products.quad.wgsl.
@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let z = workgroup.z;
  let rows = rowsOf(z);
  let row = rows.x + workgroup.y * 64u + local.y * 8u;
  let column = workgroup.x * 64u + local.x * 8u;
  if (row >= rows.y || column >= p.columns) { return; }
  let last = rows.y - 1u;
  let end = p.columns - 1u;
  var fromA0 = vec4(startOfRow(z, row), startOfRow(z, min(row + 1u, last)), startOfRow(z, min(row + 2u, last)), startOfRow(z, min(row + 3u, last)));
  var fromA1 = vec4(startOfRow(z, min(row + 4u, last)), startOfRow(z, min(row + 5u, last)), startOfRow(z, min(row + 6u, last)), startOfRow(z, min(row + 7u, last)));
  var fromB0 = vec4(startOfColumn(z, column), startOfColumn(z, min(column + 1u, end)), startOfColumn(z, min(column + 2u, end)), startOfColumn(z, min(column + 3u, end)));
  var fromB1 = vec4(startOfColumn(z, min(column + 4u, end)), startOfColumn(z, min(column + 5u, end)), startOfColumn(z, min(column + 6u, end)), startOfColumn(z, min(column + 7u, end)));
  let nextA = vec4(nextOfRow());
  let nextB = vec4(nextOfColumn());
  var left0 = vec4<f32>(); var right0 = vec4<f32>();
  var left1 = vec4<f32>(); var right1 = vec4<f32>();
  var left2 = vec4<f32>(); var right2 = vec4<f32>();
  var left3 = vec4<f32>(); var right3 = vec4<f32>();
  var left4 = vec4<f32>(); var right4 = vec4<f32>();
  var left5 = vec4<f32>(); var right5 = vec4<f32>();
  var left6 = vec4<f32>(); var right6 = vec4<f32>();
  var left7 = vec4<f32>(); var right7 = vec4<f32>();
  let steps = stepsOf(z);
  for (var k = 0u; k < steps; k++) {
    let leftColumns = vec4(ofColumn(fromB0.x), ofColumn(fromB0.y), ofColumn(fromB0.z), ofColumn(fromB0.w));
    let rightColumns = vec4(ofColumn(fromB1.x), ofColumn(fromB1.y), ofColumn(fromB1.z), ofColumn(fromB1.w));
    let value0 = vec4(ofRow(fromA0.x));
    left0 = fma(value0, leftColumns, left0); right0 = fma(value0, rightColumns, right0);
    let value1 = vec4(ofRow(fromA0.y));
    left1 = fma(value1, leftColumns, left1); right1 = fma(value1, rightColumns, right1);
    let value2 = vec4(ofRow(fromA0.z));
    left2 = fma(value2, leftColumns, left2); right2 = fma(value2, rightColumns, right2);
    let value3 = vec4(ofRow(fromA0.w));
    left3 = fma(value3, leftColumns, left3); right3 = fma(value3, rightColumns, right3);
    let value4 = vec4(ofRow(fromA1.x));
    left4 = fma(value4, leftColumns, left4); right4 = fma(value4, rightColumns, right4);
    let value5 = vec4(ofRow(fromA1.y));
    left5 = fma(value5, leftColumns, left5); right5 = fma(value5, rightColumns, right5);
    let value6 = vec4(ofRow(fromA1.z));
    left6 = fma(value6, leftColumns, left6); right6 = fma(value6, rightColumns, right6);
    let value7 = vec4(ofRow(fromA1.w));
    left7 = fma(value7, leftColumns, left7); right7 = fma(value7, rightColumns, right7);
    fromA0 += nextA; fromB0 += nextB;
    fromA1 += nextA; fromB1 += nextB;
  }
  var left = array<vec4<f32>, 8>(left0, left1, left2, left3, left4, left5, left6, left7);
  var right = array<vec4<f32>, 8>(right0, right1, right2, right3, right4, right5, right6, right7);
  for (var i = 0u; i < 8u && row + i < rows.y; i++) {
    for (var j = 0u; j < 4u && column + j < p.columns; j++) { write(z, row + i, column + j, left[i][j]); }
    for (var j = 4u; j < 8u && column + j < p.columns; j++) { write(z, row + i, column + j, right[i][j - 4u]); }
  }
}
