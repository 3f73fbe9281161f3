package keys_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"github.com/cairn-backup/cairn/chunkstore/keys"
)

var repository = [16]byte{1, 2, 3}

func newMaster(t *testing.T) keys.Master {
	t.Helper()
	m, err := keys.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// mustOpen seals for a recipient and opens with an unlocker.
func mustOpen(t *testing.T, r age.Recipient, u keys.Unlocker, kind string) {
	t.Helper()
	m := newMaster(t)
	sealed, err := m.Seal(repository, r)
	if err != nil {
		t.Fatal(err)
	}
	if got := keys.Kind(sealed); got != kind {
		t.Errorf("kind is %q, not %q", got, kind)
	}
	identities, err := u.Identities()
	if err != nil {
		t.Fatal(err)
	}
	got, err := keys.Open(sealed, repository, identities)
	if err != nil || got != m {
		t.Errorf("open: %v", err)
	}
	if _, err := keys.Open(sealed, [16]byte{9}, identities); !errors.Is(err, keys.ErrDamaged) {
		t.Errorf("open in another repository: %v", err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open(sealed, repository, []age.Identity{other}); !errors.Is(err, keys.ErrWrongKey) {
		t.Errorf("open with another key: %v", err)
	}
}

func TestAPassphraseOpensItsSlot(t *testing.T) {
	r, err := age.NewScryptRecipient("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	r.SetWorkFactor(4)
	mustOpen(t, r, keys.Passphrase("correct horse"), "passphrase")
	sealed, err := newMaster(t).Seal(repository, r)
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := keys.Passphrase("battery staple").Identities()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open(sealed, repository, wrong); !errors.Is(err, keys.ErrWrongKey) {
		t.Errorf("wrong passphrase: %v", err)
	}
	if _, err := keys.Passphrase("").Identities(); err == nil {
		t.Error("an empty passphrase was taken")
	}
	if _, err := keys.PassphraseRecipient(""); err == nil {
		t.Error("an empty passphrase was taken")
	}
}

func TestANewIdentityFileOpensItsSlot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	r, err := keys.CreateIdentityFile(path, time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	mustOpen(t, r, keys.IdentityFile(path), "mlkem768x25519")
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the key file's mode: %v, %v", info.Mode(), err)
	}
	if _, err := keys.CreateIdentityFile(path, time.Time{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a key file was overwritten: %v", err)
	}
	identities, err := keys.IdentityFile(path).Identities()
	if err != nil || len(identities) != 1 {
		t.Fatal(identities, err)
	}
	again, err := keys.RecipientOf(identities[0])
	if err != nil {
		t.Fatal(err)
	}
	mustOpen(t, again, keys.IdentityFile(path), "mlkem768x25519")
}

func TestAnAgeIdentityOpensItsSlot(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte("# mine\n\n"+identity.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := keys.ParseRecipient(identity.Recipient().String() + "\n")
	if err != nil {
		t.Fatal(err)
	}
	mustOpen(t, r, keys.IdentityFile(path), "X25519")
}

func TestSSHKeysOpenTheirSlots(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for kind, private := range map[string]any{"ssh-ed25519": ed, "ssh-rsa": rsaKey} {
		signer, err := ssh.NewSignerFromKey(private)
		if err != nil {
			t.Fatal(err)
		}
		block, err := ssh.MarshalPrivateKey(private, "")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "id")
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := keys.ParseRecipient(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
		if err != nil {
			t.Fatal(err)
		}
		mustOpen(t, r, keys.IdentityFile(path), kind)
		identities, err := keys.IdentityFile(path).Identities()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := keys.RecipientOf(identities[0]); err != nil {
			t.Error(err)
		} else {
			mustOpen(t, again, keys.IdentityFile(path), kind)
		}
		locked, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("secret"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keys.ParseIdentities(pem.EncodeToMemory(locked)); err == nil || !strings.Contains(err.Error(), "passphrase") {
			t.Errorf("a protected %s key: %v", kind, err)
		}
	}
}

func TestWhatIsNoKeyIsRefused(t *testing.T) {
	if _, err := keys.IdentityFile(filepath.Join(t.TempDir(), "none")).Identities(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for _, text := range []string{"", "hello\n", "age-encryption.org/v1\n-> X25519", "-----BEGIN AGE ENCRYPTED FILE-----\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if ids, err := keys.ParseIdentities([]byte(text)); err == nil {
			t.Errorf("%q gave %d identities", text, len(ids))
		}
	}
	for _, text := range []string{"", "age1", "ssh-ed25519 AAAA", "ssh-dss AAAA", "hello", "AGE-SECRET-KEY-1XXX"} {
		if r, err := keys.ParseRecipient(text); err == nil {
			t.Errorf("%q gave %v", text, r)
		}
	}
}

func TestASlotThatIsNoAgeFileIsAnError(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	ids := []age.Identity{identity}
	sealed, err := newMaster(t).Seal(repository, identity.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	for n := range sealed {
		if _, err := keys.Open(sealed[:n], repository, ids); err == nil {
			t.Errorf("%d bytes of a slot opened", n)
		}
		changed := bytes.Clone(sealed)
		changed[n] ^= 1
		if _, err := keys.Open(changed, repository, ids); err == nil {
			t.Errorf("opened with byte %d changed", n)
		}
	}
	if _, err := keys.Open(sealed, repository, nil); !errors.Is(err, keys.ErrWrongKey) {
		t.Errorf("no identity: %v", err)
	}
	// A good age file, for us, with something else inside.
	var other bytes.Buffer
	w, err := age.Encrypt(&other, identity.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Open(other.Bytes(), [16]byte{}, ids); !errors.Is(err, keys.ErrDamaged) {
		t.Errorf("rubbish inside: %v", err)
	}
}

func TestSubKeysAreWhatTheyWere(t *testing.T) {
	var m keys.Master
	for i := range m {
		m[i] = byte(i)
	}
	golden := map[string]string{}
	for _, p := range []keys.Purpose{keys.ChunkIDs, keys.Chunker, keys.Packs, keys.Config, keys.Index, keys.Points, keys.Sessions, keys.Tombstones, keys.Ledger} {
		k := m.Derive(p)
		golden[string(p)] = hex.EncodeToString(k[:8])
	}
	plain := keys.ForPlain(repository)
	golden["plain"] = hex.EncodeToString(plain[:8])
	sub := keys.Sub(m, []byte("points/1"))
	golden["one object"] = hex.EncodeToString(sub[:8])
	for name, want := range map[string]string{
		"chunk ids":      "e7ffdc8020684b65",
		"chunker":        "783c385c10914fc3",
		"config":         "5ccb80743fc26b38",
		"index objects":  "a00aaa67a9ae3e56",
		"ledger":         "a3946bf7aeeb309b",
		"one object":     "180bf9cd69bf40fb",
		"packs":          "9f0c78468a753d8e",
		"plain":          "84290a78aa951d13",
		"restore points": "785fb41eb2448f78",
		"sessions":       "a2ea3757f8bb7359",
		"tombstones":     "5bff3c7f2ff48317",
	} {
		if golden[name] != want {
			t.Errorf("%q is %s, was %s", name, golden[name], want)
		}
		delete(golden, name)
	}
	for name, got := range golden {
		t.Errorf("%q has no golden value: %s", name, got)
	}
}

func FuzzParseIdentities(f *testing.F) {
	f.Add([]byte("# x\nAGE-SECRET-KEY-1QQQ\n"))
	f.Add([]byte("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if ids, err := keys.ParseIdentities(text); err == nil && len(ids) == 0 {
			t.Error("neither identities nor an error")
		}
	})
}

func FuzzOpenSlot(f *testing.F) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := keys.Master{}.Seal(repository, identity.Recipient())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Fuzz(func(t *testing.T, slot []byte) {
		keys.Kind(slot)
		if _, err := keys.Open(slot, repository, []age.Identity{identity}); err == nil && !bytes.Equal(slot, sealed) {
			t.Error("a forged slot opened")
		}
	})
}
