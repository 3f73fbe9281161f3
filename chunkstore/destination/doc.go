// Package destination says what cairn asks of a place that holds repository objects: four verbs and a few optional
// abilities.
//
// [Destination] is the contract: create if absent, read a range, list, remove. A directory, an S3 bucket and an SFTP
// host can all keep it, because objects are written whole and never changed in place. What a place can do beyond that
// it says by implementing an ability ([Stater], [Replacer], [Clock], [Spacer], [Leftovers], [Devicer], [Directory]),
// which callers find by assertion.
//
// Names and bodies flow in, bytes and [Info] flow out. Package destinationtest is the suite that every implementation
// runs; package local is the implementation for a directory.
//
// The package never looks into an object: what the bytes mean, whether they are damaged and whether a name belongs
// to the repository is the chunk store's affair.
package destination
