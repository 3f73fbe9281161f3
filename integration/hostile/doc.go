// Package hostile tries to make cairn do harm: its tests write trees and records that no backup writes (names with
// slashes, the same name twice, nodes that contain themselves, counts beyond all bounds), byte by byte and with the right
// seals, and look at what `restore`, `mount`, `verify` and the rest make of them.
//
// What must hold for each: nothing outside a restore's target is touched, no program panics or takes memory without
// bound, and what is sound beside it stays reachable. The threat model is docs/SECURITY.md.
package hostile
