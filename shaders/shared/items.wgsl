// One invocation per item, in workgroups of WG that may be folded into two dimensions, and divided among several dispatches.
//#use clock
override WG: u32 = 64u;
fn group(wid: vec3<u32>, nwg: vec3<u32>) -> u32 { return clock.first_group + wid.y * nwg.x + wid.x; }
fn item(wid: vec3<u32>, nwg: vec3<u32>, lane: u32) -> u32 { return group(wid, nwg) * WG + lane; }
