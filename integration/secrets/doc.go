// Package secrets looks for keys and passphrases where they must not be. Its tests run the program with secrets that can
// be told from everything else, and search what it prints (also when it fails, and with the wrong key), what it leaves on
// disk, the arguments of the processes that it starts, and whether a crash would write its memory to a file.
//
// What the user puts into a command line or an environment of their own is not its matter.
package secrets
