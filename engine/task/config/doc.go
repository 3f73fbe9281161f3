// Package config reads the one file that says what cairn does by itself: the
// server, its repositories, its sources, its tasks and whom it tells.
//
// [Parse] turns TOML into a [Config], [Config.Check] looks at what it means, and
// [Load] does both. None of them stops at the first mistake: they give back
// [Problems], every one of which has its line and column, says what is wrong and
// what to do about it. A configuration with an error is not to be run, not even
// in part; one with warnings is.
//
// The package is pure. It opens no file, resolves no name and reads no clock:
// whatever must be asked of the machine, such as whether a key file is there or
// a directory can be written, comes in as a function in [Checks], and its answer
// gets the place of the value that it is about. [Config.At] does the same for what the
// server finds out later, such as a port in use.
//
// [Config.Redacted] writes a configuration without its secrets, to be kept in
// restore points; [Compare] says what a reload changes; [Starter] is the file to
// begin with.
//
// What it never does: run, schedule or open anything, or change a file.
package config
