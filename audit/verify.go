package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Verification is what [Verify] finds.
type Verification struct {
	Ledger      string `json:"ledger"` // callgate/<id>
	Segments    int    `json:"segments"`
	Records     int64  `json:"records"`          // that are there and whole
	First       uint64 `json:"first"`            // seq
	Last        uint64 `json:"last"`             // seq
	Dropped     uint64 `json:"dropped"`          // the first so many are not there any more, as a signed record says that retention took them
	Checkpoints int    `json:"checkpoints"`      // that hold
	Signed      int64  `json:"signed"`           // records up to the last of them
	Key         string `json:"key,omitempty"`    // by which
	GivenKey    bool   `json:"key_given"`        // else it is the one in the folder, which whoever can write there may have changed
	Unread      int64  `json:"unread,omitempty"` // bytes behind the checkpoints that were given, which are none
	Flaws       []Flaw `json:"flaws"`
}

// A Flaw is something that is not as it was written.
type Flaw struct {
	File   string `json:"file"`
	At     int64  `json:"at"`              // byte
	First  uint64 `json:"first,omitempty"` // records that are concerned
	Last   uint64 `json:"last,omitempty"`
	Reason string `json:"reason"`
}

func (f Flaw) String() string {
	s := f.File
	if f.At > 0 {
		s += fmt.Sprintf(" at byte %d", f.At)
	}
	if f.First > 0 {
		s += fmt.Sprintf(", records %d to %d", f.First, f.Last)
	}
	return s + ": " + f.Reason
}

// VerifyConfig is what Verify can be told.
type VerifyConfig struct {
	Key        string            // public; "" for the one in the folder
	Checkpoint []byte            // signed, that was kept elsewhere; nil: none
	Against    []byte            // more of them, as a file of checkpoints has them; nil: none
	Progress   func(bytes int64) // is told now and then how many more were read; may be nil

	patience time.Duration // with what may be about to be written; default 20 ms
}

// verifier goes over a ledger.
type verifier struct {
	cfg   VerifyConfig
	dir   string
	out   Verification
	id    [16]byte
	tree  frontier
	whole bool                    // all leaves so far are known
	want  map[int64][]*Checkpoint // by size
	prev  link                    // of the last batch in earlier segments
	next  uint64                  // seq of the next record

	gone    *Flaw  // records before those that are there
	dropped uint64 // the last of those that records say were dropped
	saidBy  uint64 // seq of the record that says so
}

// Verify reads all of the ledger in dir, and nothing else: every checksum, hash and link, in
// files and between them, and every checkpoint. It needs no lock, and may be asked while the
// ledger grows: of what comes meanwhile it takes some. The error is that nothing could be
// read; what is wrong with the ledger is in the Verification.
func Verify(dir string, cfg VerifyConfig) (*Verification, error) {
	v := &verifier{cfg: cfg, dir: dir, whole: true, next: 1, want: make(map[int64][]*Checkpoint)}
	v.out.Flaws = []Flaw{}
	if v.cfg.patience == 0 {
		v.cfg.patience = 20 * time.Millisecond
	}
	if v.cfg.Progress == nil {
		v.cfg.Progress = func(int64) {}
	}
	if err := v.checkpoints(); err != nil { // before the records, so that these have all that was signed
		return nil, err
	}
	segments, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	if len(segments) == 0 && len(v.want) == 0 {
		return nil, fmt.Errorf("there is no ledger in %s", dir)
	}
	for i, s := range segments {
		var follows *segment
		if i+1 < len(segments) {
			follows = &segments[i+1]
		}
		if err := v.segment(s, i == 0, follows); err != nil {
			return nil, err
		}
	}
	for size, list := range v.want {
		if uint64(size) >= v.next {
			v.flaw(Flaw{File: checkpointsName, First: v.next, Last: uint64(size), Reason: fmt.Sprintf("they were signed, and are not there: the ledger was cut off, or put back to an earlier time (%d checkpoints)", len(list))})
		}
	}
	if v.next > 1 {
		v.out.Last = v.next - 1
	}
	v.missing()
	return &v.out, nil
}

const maxFlaws = 1000

func (v *verifier) flaw(f Flaw) {
	if len(v.out.Flaws) < maxFlaws {
		v.out.Flaws = append(v.out.Flaws, f)
	}
}

// checkpoints reads those in the folder, and the one that is given.
func (v *verifier) checkpoints() error {
	v.out.Key, v.out.GivenKey = strings.TrimSpace(v.cfg.Key), v.cfg.Key != ""
	notes, left, err := readNotes(filepath.Join(v.dir, checkpointsName))
	if err == nil && left > 0 { // it may be about to be written
		time.Sleep(v.cfg.patience)
		notes, left, err = readNotes(filepath.Join(v.dir, checkpointsName))
	}
	if err != nil {
		return err
	}
	if !v.out.GivenKey {
		text, err := os.ReadFile(filepath.Join(v.dir, keyName))
		if errors.Is(err, os.ErrNotExist) {
			if len(notes) > 0 || v.cfg.Checkpoint != nil {
				v.flaw(Flaw{File: keyName, Reason: "it is missing, so that no checkpoint can be verified; give the public key"})
			}
			return nil
		}
		if err != nil {
			return err
		}
		v.out.Key = strings.TrimSpace(string(text))
	}
	key, err := note.NewVerifier(v.out.Key)
	if err != nil {
		if v.out.GivenKey {
			return fmt.Errorf("the key: %w", err)
		}
		v.flaw(Flaw{File: keyName, Reason: "it is no key: " + err.Error()})
		return nil
	}
	at, last := int64(0), int64(-1)
	for _, text := range notes {
		c, err := ParseCheckpoint(text, key)
		switch {
		case err != nil:
			v.flaw(Flaw{File: checkpointsName, At: at, Reason: err.Error()})
		case c.Size <= last:
			v.flaw(Flaw{File: checkpointsName, At: at, Reason: fmt.Sprintf("it is of %d records, and the one before of %d", c.Size, last)})
		default:
			last = c.Size
			v.want[c.Size] = append(v.want[c.Size], c)
		}
		at += int64(len(text)) + 1
	}
	if left > 0 {
		v.flaw(Flaw{File: checkpointsName, At: at, Reason: "what stands there is no checkpoint"})
	}
	if err := v.against(key); err != nil {
		return err
	}
	if v.cfg.Checkpoint != nil {
		c, err := ParseCheckpoint(v.cfg.Checkpoint, key)
		if err != nil {
			return fmt.Errorf("the checkpoint that is given: %w", err)
		}
		v.want[c.Size] = append(v.want[c.Size], c)
	}
	return nil
}

// against takes up the checkpoints that a second place has: each must hold.
func (v *verifier) against(key note.Verifier) error {
	notes, rest := cutNotes(v.cfg.Against)
	if len(v.cfg.Against) > 0 && len(notes) == 0 {
		return errors.New("the checkpoints that are given: there is none in the file")
	}
	if left := len(v.cfg.Against) - rest; left > 0 { // its writer may have been cut off
		v.out.Unread = int64(left)
	}
	for i, text := range notes {
		c, err := ParseCheckpoint(text, key)
		if err != nil {
			return fmt.Errorf("checkpoint %d of those that are given: %w", i+1, err)
		}
		v.want[c.Size] = append(v.want[c.Size], c)
	}
	return nil
}

// segment goes over one file. The error is of the disk.
func (v *verifier) segment(s segment, first bool, follows *segment) error {
	name := s.name()
	f, err := os.Open(s.path(v.dir))
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	v.out.Segments++
	b := make([]byte, sector)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return err
	}
	h, err := decodeHead(b[:n], s)
	if err != nil {
		if errors.Is(err, errNoHead) {
			if none, zerr := zeroFrom(f, sector, size); zerr != nil {
				return zerr
			} else if none && (follows == nil || follows.first == s.first) { // never begun
				v.out.Segments--
				return nil
			}
		}
		v.flaw(Flaw{File: name, Reason: err.Error()})
		v.lose(s.first, follows)
		return nil
	}
	if !v.begins(name, s, h, first) {
		v.lose(s.first, follows)
		return nil
	}
	return v.batches(f, name, size, h, headLink(b), follows)
}

// begins checks that a segment follows those before it.
func (v *verifier) begins(name string, s segment, h head, first bool) bool {
	if first {
		v.id, v.out.Ledger, v.out.First = h.ledger, origin(h.ledger), s.first
		if s.first > 1 && !v.early(name, s) {
			return true // the tree is not known; the rest may still be
		}
	}
	if h.ledger != v.id {
		v.flaw(Flaw{File: name, Reason: "it is of another ledger"})
		return false
	}
	if !first && s.first > v.next {
		v.flaw(Flaw{File: name, First: v.next, Last: s.first - 1, Reason: "no file has them"})
		v.whole = false
	}
	if !first && s.first == v.next && h.prev != v.prev {
		v.flaw(Flaw{File: name, At: 64, Reason: "it does not follow what stands before: a record there was changed, or a file put in the place of another"})
	}
	v.next, v.prev = s.first, h.prev
	return true
}

// early takes up the tree of records that are not there any more from the file of hashes,
// each of which must be that of the ones below it. The checkpoints tell whether they are
// those that were signed: then what was proven is proven still.
func (v *verifier) early(name string, s segment) bool {
	v.next = s.first
	f, err := os.Open(filepath.Join(v.dir, hashesName))
	if err == nil {
		defer f.Close()
		err = v.hashes(bufio.NewReaderSize(f, 1<<20), int64(s.first)-1)
	}
	if err != nil {
		v.whole = false
		v.flaw(Flaw{File: hashesName, First: 1, Last: s.first - 1, Reason: "the records are not there, nor are their hashes, so that checkpoints cannot be verified: " + err.Error()})
		return false
	}
	v.gone = &Flaw{File: name, First: 1, Last: s.first - 1, Reason: "they are not there, and no record that is signed says that retention dropped them: they were deleted"}
	return true
}

// hashes takes the first size records into the tree by their hashes.
func (v *verifier) hashes(f io.Reader, size int64) error {
	var list []tlog.Hash
	for v.tree.size < size {
		var leaf tlog.Hash
		if _, err := io.ReadFull(f, leaf[:]); err != nil {
			return err
		}
		list = v.tree.add(leaf, list[:0])
		for _, want := range list[1:] {
			var h tlog.Hash
			if _, err := io.ReadFull(f, h[:]); err != nil {
				return err
			}
			if h != want {
				return fmt.Errorf("a hash of records up to %d is not that of the hashes below it", v.tree.size)
			}
		}
		v.signed()
	}
	return nil
}

// missing says what became of records that are not there any more.
func (v *verifier) missing() {
	switch {
	case v.gone == nil:
	case v.dropped >= v.gone.Last && v.saidBy <= uint64(v.out.Signed):
		v.out.Dropped = v.gone.Last
	default:
		v.flaw(*v.gone)
	}
}

// lose says that the records of a segment cannot be read.
func (v *verifier) lose(first uint64, follows *segment) {
	v.whole = false
	if follows != nil && follows.first > first {
		v.flaw(Flaw{File: follows.name(), First: first, Last: follows.first - 1, Reason: "they cannot be read"})
		v.next = follows.first
	}
}

// batches goes over all batches of a segment, to its end.
func (v *verifier) batches(f *os.File, name string, size int64, h head, prev link, follows *segment) error {
	r, again := newBatches(f, sector), false
	for {
		if follows != nil && v.next >= follows.first {
			if size > r.at+sector {
				return nil // what comes was never promised
			}
			return v.end(f, name, size, r.at, prev, nil, nil)
		}
		bh, b, link, err := r.next()
		switch {
		case errors.Is(err, errBroken):
			var torn error
			if follows == nil {
				torn = (&tail{next: v.next}).torn(f, r.at)
			}
			if torn != nil && !again {
				time.Sleep(v.cfg.patience) // it may have been about to be written
				r, again = newBatches(f, r.at), true
				continue
			}
			return v.end(f, name, size, r.at, prev, follows, torn)
		case err != nil:
			return err
		case bh.first != v.next:
			v.flaw(Flaw{File: name, At: r.at, First: v.next, Reason: fmt.Sprintf("record %d stands where %d belongs", bh.first, v.next), Last: v.next})
			v.lose(v.next, follows)
			return nil
		case bh.prev != prev:
			v.flaw(Flaw{File: name, At: r.at + 32, First: bh.first, Last: bh.first + uint64(bh.count) - 1, Reason: "the batch does not follow the one before it"})
		}
		if err := v.records(name, r.at, bh, b, follows); err != nil {
			return err
		}
		v.cfg.Progress(int64(len(b)))
		r.at += int64(len(b))
		prev, v.prev, again = link, link, false
	}
}

// records checks the hash of a batch's records, and takes them into the tree.
func (v *verifier) records(name string, at int64, bh batchHeader, b []byte, follows *segment) error {
	leaves := make([]byte, 1, 1+int(bh.count)*linkSize)
	frames := b[batchHead:]
	list := make([]tlog.Hash, 0, 64)
	for i := range bh.count {
		var payload []byte
		payload, frames, _, _ = cutFrame(frames)
		leaf := tlog.RecordHash(payload)
		leaves = append(leaves, leaf[:]...)
		if v.out.First == 0 {
			v.out.First = bh.first
		}
		if follows != nil && bh.first+uint64(i) >= follows.first {
			continue // it was never promised
		}
		v.out.Records++
		v.next = bh.first + uint64(i) + 1
		if v.gone != nil && bytes.Contains(payload, []byte(WhatDropped)) {
			if n := droppedBy(payload); n > v.dropped {
				v.dropped, v.saidBy = n, v.next-1
			}
		}
		if v.whole {
			list = v.tree.add(leaf, list[:0])
			v.signed()
		}
	}
	if rootOf(leaves) != bh.root {
		v.flaw(Flaw{File: name, At: at + 64, First: bh.first, Last: bh.first + uint64(bh.count) - 1, Reason: "the records are not those that the batch was written with"})
	}
	return nil
}

// signed checks the checkpoints of the tree as it is now.
func (v *verifier) signed() {
	list, ok := v.want[v.tree.size]
	if !ok {
		return
	}
	delete(v.want, v.tree.size)
	root := v.tree.root()
	for _, c := range list {
		switch {
		case c.Origin != v.out.Ledger:
			v.flaw(Flaw{File: checkpointsName, Reason: "a checkpoint is of " + c.Origin})
		case c.Root != root:
			v.flaw(Flaw{File: checkpointsName, First: uint64(max(v.out.Signed, 0)) + 1, Last: uint64(c.Size), Reason: "they are not what was signed: one of them was changed, taken out, put in or moved"})
		default:
			v.out.Checkpoints++
			v.out.Signed = c.Size
		}
	}
}

// end checks how a segment ends: by its seal, or by what was never promised.
func (v *verifier) end(f *os.File, name string, size, at int64, prev link, follows *segment, torn error) error {
	b := make([]byte, sector)
	n, err := f.ReadAt(b, at)
	if err != nil && err != io.EOF {
		return err
	}
	if s, ok := decodeSeal(b[:n]); ok {
		switch {
		case s.at != uint64(at) || s.no == 0 || s.next != v.next || s.last != prev:
			v.flaw(Flaw{File: name, At: at, Reason: "its seal is not its own: records before it were taken out, or the seal was"})
		case size > at+sector:
			v.flaw(Flaw{File: name, At: at + sector, Reason: "something stands behind its seal"})
		}
		if follows != nil && follows.first > v.next {
			v.lose(v.next, follows)
		}
		return nil
	}
	if follows != nil && follows.first > v.next {
		v.flaw(Flaw{File: name, At: at, First: v.next, Last: follows.first - 1, Reason: "the batch is damaged, or was taken out"})
		v.whole, v.next = false, follows.first
		return nil
	}
	if size == at+sector && !allZero(b[:n]) { // a file that was ended cleanly is as long as that
		v.flaw(Flaw{File: name, At: at, Reason: "its seal is damaged"})
	}
	if torn != nil {
		v.flaw(Flaw{File: name, At: at, First: v.next, Last: v.next, Reason: torn.Error()})
	}
	return nil
}
