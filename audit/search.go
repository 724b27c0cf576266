package audit

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A Needle finds a value in what is kept, also where it stands escaped or encoded there.
type Needle struct {
	plain  [][]byte // in lower case
	coded  [][]byte // where case counts
	joined []byte   // without spaces and dashes; nil: it is no number
}

const shortestNeedle = 4 // bytes

// NewNeedle is the needle of value. It is an error if that is too short to mean anything.
func NewNeedle(value string) (*Needle, error) {
	value = strings.TrimSpace(value)
	if len(value) < shortestNeedle {
		return nil, errors.New("want a value of at least 4 bytes")
	}
	lower := strings.ToLower(value)
	quoted, err := json.Marshal(lower)
	if err != nil {
		return nil, err
	}
	n := new(Needle)
	for _, s := range []string{lower, string(quoted[1 : len(quoted)-1]), strings.ToLower(url.QueryEscape(value)), strings.ToLower(url.PathEscape(value)), hex.EncodeToString([]byte(value))} {
		n.add(&n.plain, s)
	}
	for shift := range 3 { // base64 depends on what stands before; its ends on what is around
		pad := strings.Repeat("\x00", shift)
		coded := base64.StdEncoding.EncodeToString([]byte(pad + value))
		from, to := (shift*8+5)/6, (shift+len(value))*8/6
		if to-from >= 8 {
			n.add(&n.coded, coded[from:to])
			n.add(&n.coded, strings.NewReplacer("+", "-", "/", "_").Replace(coded[from:to]))
		}
	}
	if joined := squeezed(nil, []byte(lower)); hasDigit(value) && len(joined) >= 8 {
		n.joined = joined
	}
	return n, nil
}

func (n *Needle) add(to *[][]byte, s string) {
	for _, known := range *to {
		if string(known) == s {
			return
		}
	}
	*to = append(*to, []byte(s))
}

// squeezed appends b without spaces and dashes.
func squeezed(to, b []byte) []byte {
	for _, c := range b {
		if c != ' ' && c != '-' {
			to = append(to, c)
		}
	}
	return to
}

// In says whether doc has the value.
func (n *Needle) In(doc []byte) bool {
	for _, b := range n.coded {
		if bytes.Contains(doc, b) {
			return true
		}
	}
	lower := bytes.ToLower(doc)
	for _, b := range n.plain {
		if bytes.Contains(lower, b) {
			return true
		}
	}
	return n.joined != nil && bytes.Contains(squeezed(make([]byte, 0, len(lower)), lower), n.joined)
}

// Runs are the runs in whose payloads the needle is, of packs that were written to since
// then. What was erased is passed over. An error is of a pack; whoever goes on gets the next.
func (p *Payloads) Runs(ctx context.Context, n *Needle, since time.Time) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := p.Flush(ctx); err != nil && !yield("", err) {
			return
		}
		nos, err := p.packs()
		if err != nil {
			yield("", err)
			return
		}
		found := make(map[string]bool)
		for _, no := range nos {
			info, err := os.Stat(filepath.Join(p.dir, packName(no)))
			if err == nil && info.ModTime().Before(since) {
				continue
			}
			r, err := openPack(p.dir, no, p.cfg.Master)
			if errors.Is(err, ErrNoPayload) {
				continue
			}
			if err == nil {
				err = r.search(ctx, p.small, n, func(run string) bool {
					if found[run] {
						return true
					}
					found[run] = true
					return yield(run, nil)
				})
				r.close()
			}
			if errors.Is(err, errEnough) || err != nil && !yield("", err) {
				return
			}
		}
	}
}

var errEnough = errors.New("no more are wanted")

// search tells of each page that has the needle, by its run.
func (r *packReader) search(ctx context.Context, small *squeezer, n *Needle, each func(run string) bool) error {
	known := make(map[uint32]bool) // slots that have it
	for at := int64(packHead); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		slot, size, plain, err := r.plain(at, small, known)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, ErrErased):
			return err
		case plain != nil && n.In(plain):
			known[slot] = true
			run, err := r.runOf(slot)
			if err != nil {
				return err
			}
			if !each(run) {
				return errEnough
			}
		}
		at += size
	}
}
