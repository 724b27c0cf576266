package mcp

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"callgate/firewall"
)

// A ticket is what callgate gives a client to bring back with a later request, for
// which the client, or who has stolen it, must not be believed.
type ticket struct {
	Use      string `json:"u"`           // what it is for
	Owner    string `json:"o"`           // principal
	Server   string `json:"s"`           //
	Digest   string `json:"d,omitempty"` // of the request that it belongs to
	Value    string `json:"v,omitempty"` // the server's own
	Call     string `json:"c,omitempty"` // that it was given in
	Approval string `json:"a,omitempty"` // under which that call was made
	Until    int64  `json:"x"`           // Unix seconds
}

// A sealer makes tickets that nobody else can read, make or change. They end with
// the process, as sessions do.
type sealer struct {
	aead cipher.AEAD

	mu    sync.Mutex
	spent map[[sha256.Size]byte]int64 // tickets that were used, until they have run out
	swept int64
}

const (
	stateTime = 10 * time.Minute // for a client to come back with the input that a server asked for
	maxSpent  = 100_000
	maxSealed = 256 << 10 // bytes of a ticket as clients have it
)

func newSealer() *sealer {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	block, _ := aes.NewCipher(key)
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return &sealer{aead: aead, spent: make(map[[sha256.Size]byte]int64)}
}

func (s *sealer) seal(t ticket) string {
	doc, _ := json.Marshal(t)
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, doc, nil))
}

var errTicket = errors.New("not a ticket of this gate for this use")

// open reads a ticket of a use that belongs to owner and has not run out.
func (s *sealer) open(text, use, owner string, now time.Time) (ticket, error) {
	var t ticket
	if len(text) > maxSealed {
		return t, errTicket
	}
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return t, errTicket
	}
	doc, err := s.aead.Open(nil, nil, sealed, nil)
	if err != nil || json.Unmarshal(doc, &t) != nil || t.Use != use || t.Owner != owner || now.Unix() > t.Until {
		return ticket{}, errTicket
	}
	return t, nil
}

// spend says whether text, which open has read, is used for the first time.
func (s *sealer) spend(text string, t ticket, now time.Time) bool {
	sum := sha256.Sum256([]byte(text))
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := now.Unix(); at-s.swept >= 60 || len(s.spent) >= maxSpent {
		s.swept = at
		for sum, until := range s.spent {
			if until < at {
				delete(s.spent, sum)
			}
		}
	}
	if _, twice := s.spent[sum]; twice || len(s.spent) >= maxSpent {
		return false
	}
	s.spent[sum] = t.Until
	return true
}

// digestOf is of a request by what it acts on and its arguments.
func digestOf(call *firewall.Call, argsHash string) string {
	sum := sha256.Sum256([]byte(call.Method + "\x00" + call.Target + "\x00" + call.Resource + "\x00" + argsHash)) // names hold no control characters
	return hex.EncodeToString(sum[:16])
}
