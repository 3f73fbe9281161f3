// Package retention decides which restore points a policy keeps and which it
// lets go.
//
// It is pure: [Decide] takes the restore points, a [Policy] and the present
// time, and gives back one [Decision] for each point with the reasons for it.
// It reads no clock, no repository and no configuration, and it removes
// nothing: the engine carries a decision out, and a dry run prints it.
//
// What holds whatever the policy says:
//
//   - the newest restore point of each source stays;
//   - a pinned restore point stays;
//   - a restore point made by hand, outside of any task, stays unless its
//     source was named;
//   - a source that was not asked for is not touched, and names are compared
//     whole: "docs" has nothing to do with "docs-old";
//   - order comes from sequence numbers. A wrong clock can put a point into the
//     wrong hour or month, but cannot make an older point the newest one;
//   - the zero policy keeps everything.
package retention
