package identity_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"callgate/identity"
)

func TestASecretIsNeverShown(t *testing.T) {
	const text = "do-not-show-me"
	s := identity.NewSecret(text)
	type holder struct {
		Open   identity.Secret
		closed identity.Secret
		list   []identity.Secret
	}
	h := holder{s, s, []identity.Secret{s}}
	for _, value := range []any{s, &s, h, &h, []any{s}, map[string]any{"k": s}} {
		for _, verb := range strings.Split("%v %+v %#v %s %q %x %X %d %t %p %T %c %U %e %b %o", " ") {
			if got := fmt.Sprintf(verb, value); strings.Contains(got, text) || strings.Contains(got, fmt.Sprintf("%x", text)) {
				t.Errorf("fmt %s of %T shows the secret: %s", verb, value, got)
			}
		}
		doc, err := json.Marshal(value)
		if err != nil || bytes.Contains(doc, []byte(text)) {
			t.Errorf("JSON of %T: %s, %v", value, doc, err)
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("text", "value", value)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("json", "value", value)
		if strings.Contains(log.String(), text) {
			t.Errorf("the log of %T shows the secret: %s", value, &log)
		}
	}
	if got := fmt.Sprint(s); got != "[secret]" {
		t.Errorf("prints as %q", got)
	}
	if got := s.Reveal(); got != text {
		t.Errorf("reveals %q", got)
	}
	if got := (identity.Secret{}).Reveal(); got != "" {
		t.Errorf("the zero Secret reveals %q", got)
	}
}
