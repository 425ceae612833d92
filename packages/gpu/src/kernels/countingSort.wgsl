// Stable sort of small keys by one workgroup, without atomics: tiles of 256 keys are taken in order; within a tile a key's rank is the
// number of equal keys before it, and the last of them moves the bin's end. While sorting, offsets[key + 1] is where the next place of
// that key goes, so that it ends as the start of the following bin; keys at or above `bins` have `after` instead.
var<workgroup> tile: array<u32, 256>;
var<workgroup> totals: array<u32, 256>;
var<workgroup> after: u32;

struct Place { rank: u32, last: bool }

// How many of the tile's equal keys stand before this lane's, and whether none stands behind.
fn placeInTile(key: u32, lane: u32, filled: u32) -> Place {
  var place = Place(0u, true);
  for (var other = 0u; other < filled; other++) {
    let same = tile[other] == key;
    place.rank += select(0u, 1u, same && other < lane);
    place.last = place.last && !(same && other > lane);
  }
  return place;
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
  // how many of each key
  for (var bin = lane; bin <= p.bins; bin += 256u) { offsets[bin] = 0u; }
  if (lane == 0u) { after = 0u; }
  storageBarrier();
  for (var start = 0u; start < p.count; start += 256u) {
    let filled = min(256u, p.count - start);
    var key = p.bins;
    if (lane < filled) { key = min(keys[start + lane], p.bins); }
    tile[lane] = key;
    workgroupBarrier();
    let place = placeInTile(key, lane, filled);
    if (lane < filled && place.last && key < p.bins) { offsets[key + 1u] += place.rank + 1u; }
    storageBarrier();
    workgroupBarrier();
  }
  // exclusive sums: offsets[bin + 1] becomes where bin starts; a lane takes a run of bins
  let run = (p.bins + 255u) / 256u;
  let begin = min(lane * run, p.bins);
  let end = min(begin + run, p.bins);
  var total = 0u;
  for (var bin = begin; bin < end; bin++) { total += offsets[bin + 1u]; }
  totals[lane] = total;
  workgroupBarrier();
  if (lane == 0u) {
    var sum = 0u;
    for (var other = 0u; other < 256u; other++) {
      let length = totals[other];
      totals[other] = sum;
      sum += length;
    }
    after = sum;
  }
  workgroupBarrier();
  var next = totals[lane];
  for (var bin = begin; bin < end; bin++) {
    let length = offsets[bin + 1u];
    offsets[bin + 1u] = next;
    next += length;
  }
  storageBarrier();
  workgroupBarrier();
  // places
  for (var start = 0u; start < p.count; start += 256u) {
    let filled = min(256u, p.count - start);
    var key = p.bins;
    if (lane < filled) { key = min(keys[start + lane], p.bins); }
    tile[lane] = key;
    workgroupBarrier();
    let place = placeInTile(key, lane, filled);
    var base = after;
    if (key < p.bins) { base = offsets[key + 1u]; }
    if (lane < filled) { order[base + place.rank] = start + lane; }
    storageBarrier();
    workgroupBarrier();
    if (lane < filled && place.last) {
      if (key < p.bins) { offsets[key + 1u] = base + place.rank + 1u; } else { after = base + place.rank + 1u; }
    }
    storageBarrier();
    workgroupBarrier();
  }
}
