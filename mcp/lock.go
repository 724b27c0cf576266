package mcp

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Lock is the definitions that may be used, as a file that is kept with the
// configuration. It is never changed once made; a nil Lock has none.
type Lock struct {
	entries map[lockEntry]bool
	named   map[lockEntry]bool // without their hashes
}

// lockEntry is one line of the file.
type lockEntry struct {
	Server string `json:"server"`
	Kind   string `json:"kind"`
	Name   string `json:"name,omitempty"`
	SHA256 string `json:"sha256"`
}

const lockVersion = 1

// ParseLock reads a lock file.
func ParseLock(text []byte) (*Lock, error) {
	var doc struct {
		Version int         `json:"version"`
		Pins    []lockEntry `json:"pins"`
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	err := dec.Decode(&doc)
	if err == nil {
		if _, more := dec.Token(); more != io.EOF {
			err = errors.New("something follows the JSON")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("it is no lock file as callgate mcp pins --lock writes it: %w", err)
	}
	if doc.Version != lockVersion {
		return nil, fmt.Errorf("it has version %d; this callgate reads version %d", doc.Version, lockVersion)
	}
	l := &Lock{make(map[lockEntry]bool, len(doc.Pins)), make(map[lockEntry]bool, len(doc.Pins))}
	for i, e := range doc.Pins {
		sum, err := hex.DecodeString(e.SHA256)
		switch {
		case err != nil || len(sum) != 32 || e.SHA256 != strings.ToLower(e.SHA256):
			return nil, fmt.Errorf("entry %d: sha256 must be 64 of 0-9 and a-f", i+1)
		case kindOrder(e.Kind) < 0:
			return nil, fmt.Errorf("entry %d: %q is no kind", i+1, clip(e.Kind))
		case e.Server == "" || (e.Name == "") != (e.Kind == PinInstructions):
			return nil, fmt.Errorf("entry %d: it needs a server and, unless it is of instructions, a name", i+1)
		}
		l.entries[e] = true
		e.SHA256 = ""
		l.named[e] = true
	}
	return l, nil
}

// FormatLock writes a lock file of all that is accepted, one definition a line, in
// an order that stays.
func FormatLock(pins []Pin) []byte {
	seen := make(map[lockEntry]bool)
	var list []lockEntry
	for i := range pins {
		p := &pins[i]
		if p.Accepted == nil {
			continue
		}
		e := lockEntry{p.Server, p.Kind, p.Name, p.Accepted.SHA256}
		if !seen[e] {
			seen[e] = true
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b lockEntry) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(kindOrder(a.Kind), kindOrder(b.Kind)), cmp.Compare(a.Name, b.Name), cmp.Compare(a.SHA256, b.SHA256))
	})
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\"version\": %d, \"pins\": [", lockVersion)
	for i, e := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		doc, _ := json.Marshal(e) // texts alone
		b.WriteString("\n  ")
		b.Write(doc)
	}
	b.WriteString("\n]}\n")
	return b.Bytes()
}

func (l *Lock) has(server, kind, name, sum string) bool {
	return l != nil && l.entries[lockEntry{server, kind, name, sum}]
}

// names says whether the file has a definition of the name, by any hash.
func (l *Lock) names(server, kind, name string) bool {
	return l != nil && l.named[lockEntry{Server: server, Kind: kind, Name: name}]
}
