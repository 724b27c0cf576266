package audit

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// proofHead is what a proof begins with (C2SP tlog-proof).
const proofHead = "c2sp.org/tlog-proof@v1"

// ErrUnsigned is the error of a record that no checkpoint covers yet.
var ErrUnsigned = errors.New("it is not signed yet: the ledger is each second; ask again")

// Prove is proofs of all records of a call, or of the one that stands at seq, from the ledger
// in dir: each has the record itself, its place in the tree and the last checkpoint, and
// needs nothing else. since is when to begin looking.
func Prove(dir string, id string, seq uint64, since time.Time) ([]byte, error) {
	notes, _, err := readNotes(filepath.Join(dir, checkpointsName))
	if err != nil {
		return nil, err
	}
	if len(notes) == 0 {
		return nil, ErrUnsigned
	}
	text, err := os.ReadFile(filepath.Join(dir, keyName))
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, err
	}
	c, err := ParseCheckpoint(notes[len(notes)-1], v)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(dir, hashesName))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []byte
	for e, err := range Files(dir, since) {
		if err != nil {
			var u *Unreadable
			if errors.As(err, &u) {
				continue // it is another record that cannot be read
			}
			return nil, err
		}
		if e.Seq != seq && (id == "" || !bytes.Contains(e.JSON, []byte(id)) || gjson.GetBytes(e.JSON, "call").Str != id) {
			continue
		}
		if e.Seq > uint64(c.Size) {
			return nil, fmt.Errorf("record %d: %w", e.Seq, ErrUnsigned)
		}
		proof, err := tlog.ProveRecord(c.Size, int64(e.Seq)-1, hashFile{f})
		if err != nil {
			return nil, fmt.Errorf("prove record %d: %w", e.Seq, err)
		}
		if out != nil {
			out = append(out, '\n')
		}
		out = appendProof(out, e, proof, c)
	}
	if out == nil {
		if s, err := listSegments(dir); err == nil && len(s) > 0 && s[0].first > 1 {
			return nil, fmt.Errorf("nothing of %s is in the ledger, and records 1 to %d are not there any more", cmpID(id, seq), s[0].first-1)
		}
		return nil, fmt.Errorf("nothing of %s is in the ledger", cmpID(id, seq))
	}
	return out, nil
}

func cmpID(id string, seq uint64) string {
	if id != "" {
		return "call " + id
	}
	return "record " + strconv.FormatUint(seq, 10)
}

func appendProof(b []byte, e Entry, proof tlog.RecordProof, c *Checkpoint) []byte {
	b = append(b, proofHead+"\nextra "...)
	b = base64.StdEncoding.AppendEncode(b, e.JSON)
	b = append(b, "\nindex "...)
	b = strconv.AppendUint(b, e.Seq-1, 10)
	b = append(b, '\n')
	for _, h := range proof {
		b = base64.StdEncoding.AppendEncode(b, h[:])
		b = append(b, '\n')
	}
	return append(append(b, '\n'), c.Note...)
}

// A Proven record is one that a proof shows to be in a ledger.
type Proven struct {
	Seq    uint64 `json:"seq"`
	Record []byte `json:"-"`
	Ledger string `json:"ledger"`
	Size   int64  `json:"size"` // of the ledger when it was signed
}

// CheckProof verifies what [Prove] made, by the public key of the ledger, and nothing else.
func CheckProof(text []byte, key string) ([]Proven, error) {
	v, err := note.NewVerifier(strings.TrimSpace(key))
	if err != nil {
		return nil, fmt.Errorf("the key: %w", err)
	}
	var list []Proven
	for i, part := range bytes.Split(append([]byte("\n"), text...), []byte("\n"+proofHead+"\n")) {
		if i == 0 {
			if len(bytes.TrimSpace(part)) > 0 {
				return nil, errors.New("it does not begin as a proof does")
			}
			continue
		}
		p, err := checkProof(bytes.TrimRight(part, "\n"), v)
		if err != nil {
			return list, fmt.Errorf("proof %d: %w", i, err)
		}
		list = append(list, *p)
	}
	if len(list) == 0 {
		return nil, errors.New("it holds no proof")
	}
	return list, nil
}

func checkProof(part []byte, v note.Verifier) (*Proven, error) {
	head, signed, ok := bytes.Cut(part, []byte("\n\n"))
	if !ok {
		return nil, errors.New("it is cut off")
	}
	c, err := ParseCheckpoint(append(bytes.Clone(signed), '\n'), v)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(head), "\n")
	if len(lines) < 2 {
		return nil, errors.New("it is cut off")
	}
	extra, ok1 := strings.CutPrefix(lines[0], "extra ")
	index, ok2 := strings.CutPrefix(lines[1], "index ")
	record, err1 := strict.DecodeString(extra)
	n, err2 := strconv.ParseInt(index, 10, 64)
	if !ok1 || !ok2 || err1 != nil || err2 != nil || n < 0 {
		return nil, errors.New("its record or index cannot be read")
	}
	var proof tlog.RecordProof
	for _, line := range lines[2:] {
		h, err := tlog.ParseHash(line)
		if err != nil || base64.StdEncoding.EncodeToString(h[:]) != line {
			return nil, errors.New("one of its hashes cannot be read")
		}
		proof = append(proof, h)
	}
	if err := tlog.CheckRecord(proof, c.Size, c.Root, n, tlog.RecordHash(record)); err != nil {
		return nil, errors.New("the record is not in the ledger that was signed, or not at that place")
	}
	return &Proven{Seq: uint64(n) + 1, Record: record, Ledger: c.Origin, Size: c.Size}, nil
}
