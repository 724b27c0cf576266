package mcp

import (
	"crypto/sha256"
	"sync"

	"github.com/tidwall/gjson"
)

const (
	maxSchemasKept     = 512     // of a generation; there are two
	maxSchemaBytesKept = 4 << 20 // of their texts
)

// schemas keeps what was made of the schemas of a server's tools, so that a list that
// is asked for again compiles nothing that is as it was. It holds what was used last.
// The zero schemas is empty.
type schemas struct {
	mu         sync.Mutex
	young, old map[schemaKey]*schema
	bytes      int // of young
}

type schemaKey struct {
	sum     [sha256.Size]byte // of its bytes
	formats bool
}

// of is the schema that raw is, nil where it accepts everything.
func (k *schemas) of(raw gjson.Result, formats bool) *schema {
	s := newSchema(raw, formats)
	if s == nil || len(s.raw) > maxSchemaBytes {
		return s
	}
	key := schemaKey{sha256.Sum256([]byte(s.raw)), formats}
	k.mu.Lock()
	defer k.mu.Unlock()
	if known := k.young[key]; known != nil {
		return known
	}
	if known := k.old[key]; known != nil {
		s = known
	}
	if len(k.young) >= maxSchemasKept || k.bytes+len(s.raw) > maxSchemaBytesKept || k.young == nil {
		k.young, k.old, k.bytes = make(map[schemaKey]*schema), k.young, 0
	}
	k.young[key] = s
	k.bytes += len(s.raw)
	return s
}
