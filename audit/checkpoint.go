package audit

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A Checkpoint says what the first Size records of a ledger are (C2SP tlog-checkpoint).
type Checkpoint struct {
	Origin string // callgate/<id of the ledger>
	Size   int64
	Root   tlog.Hash
	Note   []byte // it, signed (C2SP signed-note)
}

// origin names a ledger.
func origin(id [16]byte) string { return "callgate/" + hex.EncodeToString(id[:]) }

func (c *Checkpoint) text() string {
	return c.Origin + "\n" + strconv.FormatInt(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// strict takes nothing that is written otherwise than base64 is.
var strict = base64.StdEncoding.Strict()

// sign signs c.
func (c *Checkpoint) sign(s note.Signer) error {
	var err error
	c.Note, err = note.Sign(&note.Note{Text: c.text()}, s)
	return err
}

// ParseCheckpoint reads a signed checkpoint. v is whoever must have signed it.
func ParseCheckpoint(text []byte, v note.Verifier) (*Checkpoint, error) {
	n, err := note.Open(text, note.VerifierList(v))
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	if _, err := strict.DecodeString(n.Sigs[0].Base64); err != nil {
		return nil, errors.New("checkpoint: its signature is not written as it was made")
	}
	lines := strings.SplitN(n.Text, "\n", 4)
	if len(lines) < 4 {
		return nil, errors.New("checkpoint: it has fewer than three lines")
	}
	c := &Checkpoint{Origin: lines[0], Note: text}
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || c.Size < 0 || lines[1] != strconv.FormatInt(c.Size, 10) {
		return nil, fmt.Errorf("checkpoint: %.20q is no size", lines[1])
	}
	root, err := strict.DecodeString(lines[2])
	if err != nil || copy(c.Root[:], root) != len(c.Root) || len(root) != len(c.Root) {
		return nil, errors.New("checkpoint: its third line is no hash")
	}
	return c, nil
}

// cutNotes cuts a file of checkpoints into its notes, and says where what is left begins,
// which is none.
func cutNotes(b []byte) (notes [][]byte, rest int) {
	for rest < len(b) {
		text := bytes.Index(b[rest:], []byte("\n\n"))
		if text < 0 {
			return notes, rest
		}
		end := rest + text + 2
		for end < len(b) && b[end] != '\n' { // lines of signatures
			line := bytes.IndexByte(b[end:], '\n')
			if line < 0 {
				return notes, rest
			}
			end += line + 1
		}
		if end >= len(b) { // without the empty line it may go on
			return notes, rest
		}
		notes = append(notes, b[rest:end])
		rest = end + 1
	}
	return notes, rest
}

// NewLogKey makes a key that the checkpoints of a ledger are signed with.
func NewLogKey(name string) (secret, public string, err error) {
	return note.GenerateKey(nil, name)
}

// readNotes are the checkpoints in a file, none if there is no file, and how many bytes
// stand behind them that are none.
func readNotes(path string) (notes [][]byte, left int, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	notes, rest := cutNotes(b)
	return notes, len(b) - rest, nil
}
