package audit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Errors of a payload that cannot be had. What wraps them says more.
var (
	ErrErased    = errors.New("the payload was erased")
	ErrNoPayload = errors.New("the payload is not there: it was not to be kept, was kept long enough, or was lost with the last second before a crash")
)

// A Payload is what a record says of a document that passed: a prompt, arguments, a
// reply. Digest is a commitment to it, by a key of its run: it proves what the document
// was to whoever is shown that and the key, and tells nothing to others; and nothing to
// anybody once the key is destroyed.
type Payload struct {
	At     uint64 `json:"at"`            // where it is kept: pack << 32 | offset of the page
	Block  uint32 `json:"block"`         // of the page
	Size   int64  `json:"size"`          // in bytes
	Digest string `json:"digest"`        // HMAC-SHA256, in hex
	Kept   bool   `json:"kept"`          // else there is only the digest
	Cut    bool   `json:"cut,omitempty"` // it went on, but this is all that is kept of it
}

// Payloads keeps the documents that passed, in packs: files that are only ever appended
// to, beside which a file has the keys. What a run has said before is not kept again, but
// referred to; nothing refers to another pack. So a run is erased by destroying its keys,
// and a time by deleting packs, and neither touches the ledger, whose records have only
// commitments.
//
// It is used by many goroutines at once. What was put is on disk within a second.
type Payloads struct {
	dir   string
	cfg   PayloadConfig
	small *squeezer

	mu     sync.Mutex
	vaults map[string]*vault // by run, of the current pack
	pack   *pack             // nil before the first one
	no     uint64            // of the next pack
	closed bool

	quit, ended chan struct{}
}

// PayloadConfig is what Payloads can be told. Master is needed; the rest has defaults.
type PayloadConfig struct {
	Master [32]byte      // seals the keys of runs
	Keep   time.Duration // packs that were last written to longer ago are deleted; 0: none is
	Logger *slog.Logger  // default: nothing is logged
	Now    func() time.Time

	// Held says which of runs are not to be deleted or erased; nil: none. Where it fails
	// nothing is.
	Held func(runs []string) ([]string, error)

	packSize int64         // default 256 MiB
	packAge  time.Duration // default a day
}

const (
	maxVaults   = 4 << 10 // runs whose blocks are remembered
	maxKnown    = 1 << 16 // blocks of one run that are
	flushEvery  = time.Second
	sweepEvery  = 10 * time.Minute
	maxUnstored = 64 << 20 // bytes that wait to be written; beyond it nothing more is taken
)

// OpenPayloads opens the payloads in dir, which it makes if need be. One process at a time
// may: whoever has the ledger.
func OpenPayloads(dir string, cfg PayloadConfig) (*Payloads, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.packSize == 0 {
		cfg.packSize = 256 << 20
	}
	if cfg.packAge == 0 {
		cfg.packAge = 24 * time.Hour
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open payloads: %w", err)
	}
	p := &Payloads{dir: dir, cfg: cfg, vaults: make(map[string]*vault), quit: make(chan struct{}), ended: make(chan struct{})}
	nos, err := p.packs()
	if err != nil {
		return nil, fmt.Errorf("open payloads: %w", err)
	}
	p.no = 1
	if n := len(nos); n > 0 {
		p.no = nos[n-1] + 1
	}
	if p.small, err = newSqueezer(); err != nil {
		return nil, err
	}
	go p.tend()
	return p, nil
}

// packs are the numbers of the packs that there are, in order.
func (p *Payloads) packs() ([]uint64, error) {
	files, err := filepath.Glob(filepath.Join(p.dir, "*"+keysExtension))
	if err != nil {
		return nil, err
	}
	var nos []uint64
	for _, file := range files {
		if no, ok := packNo(filepath.Base(file)); ok {
			nos = append(nos, no)
		}
	}
	slices.Sort(nos)
	return nos, nil
}

// Put keeps doc, which passed in run, and says what a record is to say of it. Without keep
// it is only told by its digest.
func (p *Payloads) Put(run string, doc []byte, keep bool) (Payload, error) {
	s := splits.Get().(*split)
	defer splits.Put(s)
	s.cut(doc)
	defer func() { s.doc = nil }()

	for {
		out, err := p.put(run, s, keep)
		if errors.Is(err, errPackClosed) {
			continue // there is another one by now
		}
		if err != nil {
			return Payload{}, fmt.Errorf("keep a payload: %w", err)
		}
		return out, nil
	}
}

func (p *Payloads) put(run string, s *split, keep bool) (Payload, error) {
	v, err := p.vault(run)
	if err != nil {
		return Payload{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	out := Payload{Size: int64(len(s.doc)), Digest: v.digest(s.root()), Kept: keep}
	if !keep {
		out.At = v.pack.place(0)
		out.Block = v.slot
		return out, nil
	}
	key := known(s.root().hash[:])
	if r, ok := v.known[key]; ok {
		out.At, out.Block = v.pack.place(r.page), r.no
		return out, nil
	}
	if len(v.known) > maxKnown {
		clear(v.known)
	}
	pg := page{}
	root := pg.put(s, len(s.blocks)-1, v.known)
	at, err := v.pack.append(v, p.small, pg.appendTo(nil))
	for _, m := range pg.made {
		if err != nil {
			delete(v.known, m.key)
		} else {
			v.known[m.key] = ref{at, m.no}
		}
	}
	if err != nil {
		return Payload{}, err
	}
	out.At, out.Block = v.pack.place(at), root.no
	return out, nil
}

// vault is what is remembered of run, in the pack that is to be appended to.
func (p *Payloads) vault(run string) (*vault, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	now := p.cfg.Now()
	if p.pack != nil && (p.pack.full(p.cfg.packSize) || now.Sub(p.pack.began) > p.cfg.packAge || p.pack.failed()) {
		old := p.pack
		p.pack = nil
		clear(p.vaults)
		if err := old.close(); err != nil { // whoever is still at it, is told
			p.cfg.Logger.Error("payloads could not be stored", "pack", old.path, "error", err)
		}
	}
	if p.pack == nil {
		k, err := newPack(p.dir, p.no, p.cfg.Master, now)
		if err != nil {
			return nil, err
		}
		p.pack = k
		p.no++
	}
	v := p.vaults[run]
	if v == nil {
		if len(p.vaults) >= maxVaults {
			p.forget()
		}
		var err error
		if v, err = p.pack.newVault(run, now); err != nil {
			return nil, err
		}
		p.vaults[run] = v
	}
	v.used = now
	return v, nil
}

// forget drops the half of the vaults that were not used for longest. Their runs get new
// keys, if they go on.
func (p *Payloads) forget() {
	times := make([]time.Time, 0, len(p.vaults))
	for _, v := range p.vaults {
		times = append(times, v.used)
	}
	slices.SortFunc(times, time.Time.Compare)
	for run, v := range p.vaults {
		if !v.used.After(times[len(times)/2]) {
			delete(p.vaults, run)
		}
	}
}

// Get is the document that at tells of. The error is ErrErased or ErrNoPayload, or says
// what is wrong with it: what is returned is what was put.
func (p *Payloads) Get(at Payload) ([]byte, error) {
	if !at.Kept {
		return nil, ErrNoPayload
	}
	r, err := p.open(at.At >> 32)
	if err != nil {
		return nil, err
	}
	defer r.close()
	var key *runKey
	j := joiner{pages: make(map[uint32][][]byte), most: int(min(at.Size, maxDocument))}
	j.load = func(page uint32) ([][]byte, error) {
		blocks, k, err := r.page(page, p.small)
		if key == nil {
			key = k
		}
		return blocks, err
	}
	if err := j.join(ref{uint32(at.At), at.Block}, 0); err != nil {
		return nil, fmt.Errorf("read payload %d:%d: %w", at.At>>32, uint32(at.At), err)
	}
	if got := digestOf(key, j.doc); int64(len(j.doc)) != at.Size || !hmac.Equal([]byte(got), []byte(at.Digest)) {
		return nil, fmt.Errorf("read payload %d:%d: it is not what the record says", at.At>>32, uint32(at.At))
	}
	return j.doc, nil
}

// maxDocument is the most bytes that a document may have; none that passes is larger.
const maxDocument = 1 << 30

// digestOf is the digest of doc by the key of its run.
func digestOf(key *runKey, doc []byte) string {
	s := splits.Get().(*split)
	defer splits.Put(s)
	s.cut(doc)
	defer func() { s.doc = nil }()
	return key.digest(s.root())
}

// Erase destroys the keys of runs, and so what they said, and says how many there were. What
// the runs say from now on gets new ones.
func (p *Payloads) Erase(runs ...string) (int, error) {
	switch held, err := p.held(runs); {
	case err != nil:
		return 0, fmt.Errorf("erase payloads: %w", err)
	case len(held) > 0:
		return 0, fmt.Errorf("erase payloads: %w: run %s, and %d more", ErrHeld, held[0], len(held)-1)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, run := range runs {
		if v := p.vaults[run]; v != nil {
			v.mu.Lock() // whoever is at it is done first
			clear(v.known)
			v.mu.Unlock()
			delete(p.vaults, run)
		}
	}
	nos, err := p.packs()
	if err != nil {
		return 0, fmt.Errorf("erase payloads: %w", err)
	}
	n := 0
	for _, no := range nos {
		erased, err := eraseKeys(filepath.Join(p.dir, keysName(no)), runs)
		n += erased
		if err != nil {
			return n, fmt.Errorf("erase payloads: %w", err)
		}
	}
	return n, nil
}

func (p *Payloads) held(runs []string) ([]string, error) {
	if p.cfg.Held == nil || len(runs) == 0 {
		return nil, nil
	}
	return p.cfg.Held(runs)
}

// tend stores what was put and deletes what was kept long enough, until the end.
func (p *Payloads) tend() {
	defer close(p.ended)
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	var swept time.Time
	for {
		select {
		case <-tick.C:
		case <-p.quit:
			return
		}
		p.mu.Lock()
		k, now := p.pack, p.cfg.Now()
		p.mu.Unlock()
		if k != nil {
			if err := k.flush(true); err != nil {
				p.cfg.Logger.Error("payloads cannot be stored", "pack", k.path, "error", err)
			}
		}
		if p.cfg.Keep > 0 && now.Sub(swept) >= sweepEvery {
			swept = now
			if _, err := p.Sweep(); err != nil {
				p.cfg.Logger.Error("old payloads cannot be deleted", "error", err)
			}
		}
	}
}

// Sweep deletes packs that were kept long enough, and says how many.
func (p *Payloads) Sweep() (int, error) {
	if p.cfg.Keep == 0 {
		return 0, nil
	}
	p.mu.Lock()
	nos, err := p.packs()
	current := p.no
	if p.pack != nil {
		current = p.pack.no
	}
	p.mu.Unlock() // nothing is appended to those before it, and to find out what is held takes time
	if err != nil {
		return 0, err
	}
	n := 0
	for _, no := range nos {
		if no >= current {
			break
		}
		file := filepath.Join(p.dir, packName(no))
		info, err := os.Stat(file)
		if err == nil && p.cfg.Now().Sub(info.ModTime()) <= p.cfg.Keep {
			continue
		}
		runs, err := runsOf(filepath.Join(p.dir, keysName(no)))
		if err == nil {
			runs, err = p.held(runs)
		}
		if err != nil {
			return n, err
		}
		if len(runs) > 0 {
			continue
		}
		// The keys first: what is left of a pack without them is noise.
		if err := errors.Join(removed(filepath.Join(p.dir, keysName(no))), removed(file)); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func removed(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Flush stores what was put so far.
func (p *Payloads) Flush(context.Context) error {
	p.mu.Lock()
	k := p.pack
	p.mu.Unlock()
	if k == nil {
		return nil
	}
	return k.flush(true)
}

// Close stores what was put, and ends.
func (p *Payloads) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	k := p.pack
	p.pack = nil
	p.mu.Unlock()
	close(p.quit)
	<-p.ended
	var err error
	if k != nil {
		err = k.close()
	}
	p.small.close()
	return err
}

// digest is the commitment to what b stands for.
func (k *runKey) digest(b *block) string {
	h := hmac.New(sha256.New, k.mac[:])
	h.Write(b.hash[:])
	return hex.EncodeToString(h.Sum(nil))
}
