package identity

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
)

// A Seal closes secrets that must be stored and used again, so that only who has
// the seal key reads them. It is used by many goroutines at once.
type Seal struct{ identity *age.X25519Identity }

const maxSealed = 256 << 10 // bytes of a secret

// OpenSeal is the seal of the folder dir, in which [OpenKeys] has made or found
// the seal key, or of the key that is given instead.
func OpenSeal(dir string, given Secret) (*Seal, error) {
	id, err := sealKey(dir, given, false)
	if err != nil {
		return nil, err
	}
	return &Seal{id}, nil
}

// derive is a key for what name says, which all that have the seal key share.
func (s *Seal) derive(name string) []byte {
	h := hmac.New(sha256.New, []byte(s.identity.String()))
	io.WriteString(h, name) // never fails
	return h.Sum(nil)
}

// Close seals secret, for the place that has name: nowhere else can it be opened.
func (s *Seal) Close(name string, secret Secret) (string, error) {
	if len(secret.Reveal()) > maxSealed || strings.Contains(name, "\n") {
		return "", errors.New("seal: the secret is too large, or its name has a line break")
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, s.identity.Recipient())
	if err == nil {
		_, err = io.WriteString(w, name+"\n"+secret.Reveal())
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	return base64.StdEncoding.EncodeToString(sealed.Bytes()), nil
}

// Open is the secret that was sealed for the place that has name.
func (s *Seal) Open(name, sealed string) (Secret, error) {
	raw, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return Secret{}, errors.New("it is not what was sealed")
	}
	plain, err := age.Decrypt(bytes.NewReader(raw), s.identity)
	if err != nil {
		var other *age.NoIdentityMatchError
		if errors.As(err, &other) {
			return Secret{}, errors.New("it is sealed to another key: give the one it was made with (identity.seal_key)")
		}
		return Secret{}, fmt.Errorf("open the seal: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(plain, maxSealed+int64(len(name))+2))
	if err != nil {
		return Secret{}, fmt.Errorf("open the seal: %w", err)
	}
	at, secret, ok := strings.Cut(string(text), "\n")
	if !ok || at != name || len(secret) > maxSealed {
		return Secret{}, errors.New("it was sealed for another place")
	}
	return NewSecret(secret), nil
}
