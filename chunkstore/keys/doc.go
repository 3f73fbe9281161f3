// Package keys holds what unlocks a repository: one random master key, sealed once for each key slot, and the
// sub-keys that are derived from it.
//
// [Master] is the key and its derivations. [Master.Seal] makes a slot's content for one age recipient (a passphrase,
// an age key or an SSH key); [Open] gets the master key back with what an [Unlocker] offers. [Passphrase] and
// [IdentityFile] are the two unlockers; [PassphraseRecipient], [ParseRecipient] and [RecipientOf] make the recipients
// that match them, and [CreateIdentityFile] makes a new identity.
//
// For scripts and daemons use an identity file: it costs nothing to open. A passphrase costs each guess, and so its
// user, a good part of a second of scrypt.
//
// The package touches identity files and nothing else: it never stores a slot and never asks a terminal.
package keys
