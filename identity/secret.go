package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// A Secret is a text that must not be seen. However it is printed, logged or
// encoded, it comes out as [secret]; only [Secret.Reveal] tells it. The zero
// Secret is empty.
type Secret struct {
	text *string // fmt cannot call methods of a field that it may not see, and does not follow pointers there
}

// NewSecret returns a Secret that reveals text.
func NewSecret(text string) Secret { return Secret{&text} }

// randomSecret is a secret of 256 random bits, base64url.
func randomSecret() Secret {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return NewSecret(base64.RawURLEncoding.EncodeToString(b))
}

// Reveal is the text itself.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Hash is the SHA-256 of the text, as an [Agent] keeps it; nil if s is empty. It
// protects only what cannot be guessed: a secret must have been made at random.
func (s Secret) Hash() []byte {
	if s.Reveal() == "" {
		return nil // so that an empty secret opens nothing
	}
	sum := sha256.Sum256([]byte(s.Reveal()))
	return sum[:]
}

// hasSecret is 1 if secret is one of the agent's at a time, and 0 if not. It takes
// as long for an agent that has none.
func (a *Agent) hasSecret(secret string, at time.Time) int {
	hash := NewSecret(secret).Hash()
	none := make([]byte, sha256.Size) // of no secret
	want, old := a.SecretHash, a.OldSecret
	if len(want) == 0 {
		want = none
	}
	if len(old) == 0 || !a.OldUntil.IsZero() && !at.Before(a.OldUntil) {
		old = none
	}
	return subtle.ConstantTimeCompare(hash, want) | subtle.ConstantTimeCompare(hash, old)
}

const hidden = "[secret]"

// String implements [fmt.Stringer].
func (Secret) String() string { return hidden }

// Format implements [fmt.Formatter], so that no verb shows more.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, hidden) }

// MarshalText implements [encoding.TextMarshaler], which JSON, YAML and log
// handlers ask.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue implements [slog.LogValuer].
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }
