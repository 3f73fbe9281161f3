package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"
)

// Unlocker offers the identities that may open a key slot.
type Unlocker interface {
	Identities() ([]age.Identity, error)
}

// maxIdentityFile bounds what is read of an identity file: a 16,384-bit RSA key takes 13 KB.
const maxIdentityFile = 1 << 20

// Passphrase unlocks the slots of a passphrase.
func Passphrase(passphrase string) Unlocker { return passphraseUnlocker(passphrase) }

type passphraseUnlocker string

// Identities returns the one identity; the error is of an empty passphrase.
func (p passphraseUnlocker) Identities() ([]age.Identity, error) {
	identity, err := age.NewScryptIdentity(string(p))
	if err != nil {
		return nil, fmt.Errorf("use the passphrase: %w", err)
	}
	return []age.Identity{identity}, nil
}

// IdentityFile unlocks the slots of the identities in a file: age identities, one a line, with empty lines and
// comments that begin with "#"; or one SSH private key (ed25519 or RSA) that is not itself protected by a passphrase.
func IdentityFile(path string) Unlocker { return identityFile(path) }

type identityFile string

// Identities reads the file. fs.ErrNotExist when it is missing.
func (path identityFile) Identities() ([]age.Identity, error) {
	f, err := os.Open(string(path))
	if err != nil {
		return nil, fmt.Errorf("read the key file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxIdentityFile))
	if err != nil {
		return nil, fmt.Errorf("read the key file %s: %w", path, err)
	}
	identities, err := ParseIdentities(text)
	if err != nil {
		return nil, fmt.Errorf("read the key file %s: %w", path, err)
	}
	return identities, nil
}

// ParseIdentities reads the content of an identity file.
func ParseIdentities(text []byte) ([]age.Identity, error) {
	switch {
	case bytes.HasPrefix(text, []byte("-----BEGIN AGE ENCRYPTED FILE")), bytes.HasPrefix(text, []byte("age-encryption.org/")):
		return nil, errors.New("the file is encrypted with age: decrypt it first (age -d)")
	case bytes.HasPrefix(bytes.TrimSpace(text), []byte("-----BEGIN")):
		identity, err := agessh.ParseIdentity(text)
		var protected *ssh.PassphraseMissingError
		if errors.As(err, &protected) {
			return nil, errors.New("the SSH key is protected by a passphrase: use a key without one")
		}
		if err != nil {
			return nil, err
		}
		return []age.Identity{identity}, nil
	}
	return age.ParseIdentities(bytes.NewReader(text))
}

// PassphraseRecipient makes the recipient of a slot that Passphrase unlocks, with age's default cost.
func PassphraseRecipient(passphrase string) (age.Recipient, error) {
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, fmt.Errorf("use the passphrase: %w", err)
	}
	return r, nil
}

// ParseRecipient reads a recipient as people write it: an age recipient (age1...) or an SSH public key (ssh-ed25519
// AAAA..., ssh-rsa AAAA...).
func ParseRecipient(s string) (age.Recipient, error) {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "ssh-") {
		r, err := agessh.ParseRecipient(s)
		if err != nil {
			return nil, fmt.Errorf("read the SSH public key: %w", err)
		}
		return r, nil
	}
	recipients, err := age.ParseRecipients(strings.NewReader(s))
	if err != nil {
		return nil, fmt.Errorf("read the recipient (age1... or ssh-...): %w", err)
	}
	if len(recipients) != 1 {
		return nil, fmt.Errorf("read the recipient: %d given where one was expected", len(recipients))
	}
	return recipients[0], nil
}

// RecipientOf gives the recipient that an identity opens, for identities of the kinds that IdentityFile reads.
func RecipientOf(identity age.Identity) (age.Recipient, error) {
	switch i := identity.(type) {
	case *age.X25519Identity:
		return i.Recipient(), nil
	case *age.HybridIdentity:
		return i.Recipient(), nil
	case *agessh.Ed25519Identity:
		return i.Recipient(), nil
	case *agessh.RSAIdentity:
		return i.Recipient(), nil
	}
	return nil, fmt.Errorf("no recipient is known for an identity of type %T", identity)
}

// CreateIdentityFile makes a new age identity and writes it to a file that must not exist yet, readable for its owner
// alone. It returns the recipient. The identity is of age's hybrid kind (ML-KEM-768 with X25519): a repository copied
// today stays closed to the computers of later years.
func CreateIdentityFile(path string, now time.Time) (age.Recipient, error) {
	identity, err := age.GenerateHybridIdentity()
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the key file: %w", err)
	}
	_, err = fmt.Fprintf(f, "# cairn key, made %s. Without it the repository cannot be read: keep a copy elsewhere.\n%s\n",
		now.UTC().Format(time.RFC3339), identity)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		os.Remove(path)
		return nil, fmt.Errorf("write the key file %s: %w", path, err)
	}
	return identity.Recipient(), nil
}
