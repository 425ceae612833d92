// Which lanes of a workgroup make a quad: each lane writes the four that it reads from. Asked of every device once, before quads are used.
enable subgroups;
@group(0) @binding(0) var<storage, read_write> lanes: array<vec4<u32>>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  lanes[lane] = vec4(quadBroadcast(lane, 0u), quadBroadcast(lane, 1u), quadBroadcast(lane, 2u), quadBroadcast(lane, 3u));
}
