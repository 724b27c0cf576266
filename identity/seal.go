package identity

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
)

// A Seal closes secrets that must be stored and used again, so that only who has
// the seal key reads them. It is used by many goroutines at once.
//
// The seal key is an age identity: a key (AGE-SECRET-KEY-1…), or one that an age
// plugin has, such as those for the KMS of a cloud, a TPM or a YubiKey (AGE-PLUGIN-…).
// Then the program age-plugin-NAME in the PATH opens and closes, and callgate never
// sees the key.
type Seal struct {
	identity  age.Identity
	recipient age.Recipient
}

const maxSealed = 256 << 10 // bytes of a secret

// OpenSeal is the seal of the folder dir, in which [OpenKeys] has made or found
// the seal key, or of the key that is given instead.
func OpenSeal(dir string, given Secret) (*Seal, error) { return openSeal(dir, given, false) }

// seal is plain, closed.
func (s *Seal) seal(plain []byte) ([]byte, error) {
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, s.recipient)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return sealed.Bytes(), nil
}

// unseal is what was sealed, of at most limit bytes.
func (s *Seal) unseal(sealed []byte, limit int) ([]byte, error) {
	plain, err := age.Decrypt(bytes.NewReader(sealed), s.identity)
	if err != nil {
		var other *age.NoIdentityMatchError
		if errors.As(err, &other) {
			return nil, errors.New("sealed to another key: give the one it was made with (identity.seal_key)")
		}
		return nil, fmt.Errorf("open the seal: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(plain, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("open the seal: %w", err)
	}
	if len(text) > limit {
		return nil, errors.New("open the seal: more is in it than callgate puts there")
	}
	return text, nil
}

// Close seals secret, for the place that has name: nowhere else can it be opened.
func (s *Seal) Close(name string, secret Secret) (string, error) {
	if len(secret.Reveal()) > maxSealed || strings.Contains(name, "\n") {
		return "", errors.New("seal: the secret is too large, or its name has a line break")
	}
	sealed, err := s.seal([]byte(name + "\n" + secret.Reveal()))
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(sealed), nil
}

// Open is the secret that was sealed for the place that has name.
func (s *Seal) Open(name, sealed string) (Secret, error) {
	raw, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return Secret{}, errors.New("it is not what was sealed")
	}
	text, err := s.unseal(raw, maxSealed+len(name)+1)
	if err != nil {
		return Secret{}, err
	}
	at, secret, ok := strings.Cut(string(text), "\n")
	if !ok || at != name || len(secret) > maxSealed {
		return Secret{}, errors.New("it was sealed for another place")
	}
	return NewSecret(secret), nil
}
