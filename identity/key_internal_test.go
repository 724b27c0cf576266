package identity

import (
	"strings"
	"testing"
	"time"
)

// One thumbprint in 64 begins with "-": of 1,000 keys, about 16 would.
func TestIDsOfKeysAreNoFlags(t *testing.T) {
	for range 1000 {
		k, err := newKey(EdDSA, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(k.id, "-") {
			t.Fatalf("%s would be taken for a flag", k.id)
		}
	}
}
