package export

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A position is how far an exporter is in a ledger.
type position struct {
	Ledger string `json:"ledger"` // its id, in hexadecimal
	From   uint64 `json:"from"`   // where to begin to read: the first record of the oldest call that is not over
	Sent   uint64 `json:"sent"`   // what this record and those before made whole is told
}

func readPosition(file string, ledger [16]byte) (position, error) {
	start := position{Ledger: hex.EncodeToString(ledger[:]), From: 1}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return start, nil
	}
	if err != nil {
		return start, fmt.Errorf("read how far an export is: %w", err)
	}
	var p position
	if err := json.Unmarshal(text, &p); err != nil || p.From == 0 {
		return start, fmt.Errorf("read how far an export is: %s is not as it was written; take it away to have all told again", file)
	}
	if p.Ledger != start.Ledger {
		return start, nil
	}
	return p, nil
}

// write puts p into file, whole or not at all.
func (p position) write(file string) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
