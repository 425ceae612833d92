// Stable sort of keys into few bins, without atomics: a workgroup to a bin, the last to the keys at or above `bins`. Every lane takes a run of the keys
// and counts those below the bin and those in it; what all lanes have below and the lanes before it have in the bin is where its own keys go.
var<workgroup> below: array<u32, 256>;
var<workgroup> inside: array<u32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let bin = flatWorkgroup(workgroup, workgroups);
  if (bin > p.bins) { return; }
  let run = (p.count + 255u) / 256u;
  let begin = min(lane * run, p.count);
  let end = min(begin + run, p.count);
  var less = 0u;
  var same = 0u;
  for (var i = begin; i < end; i++) {
    let key = min(keys[i], p.bins);
    less += select(0u, 1u, key < bin);
    same += select(0u, 1u, key == bin);
  }
  below[lane] = less;
  inside[lane] = same;
  workgroupBarrier();
  var next = 0u;
  for (var other = 0u; other < 256u; other++) { next += below[other] + select(0u, inside[other], other < lane); }
  if (lane == 0u) { offsets[bin] = next; }
  for (var i = begin; i < end; i++) {
    if (min(keys[i], p.bins) == bin) {
      order[next] = i;
      next++;
    }
  }
}
