package audit

import (
	"crypto/ed25519"
	"encoding/base64"

	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A Sealer signs what the ledger holds, each second that it has grown: a checkpoint, by
// which records can be proven to whoever has the public key, and by which no record can be
// changed, taken out or cut off any more unnoticed, once somebody else has it. No call waits
// for it.
type Sealer struct {
	ledger *Ledger
	cfg    SealerConfig
	signer note.Signer
	public string // key
	hashes hashFile
	notes  *os.File

	quit, ended chan struct{}

	mu     sync.Mutex
	tree   frontier
	last   *Checkpoint // nil: none yet
	behind []byte      // of the copy: what it does not have yet
	err    error       // of the last time
}

// SealerConfig is what a Sealer can be told. Key is needed.
type SealerConfig struct {
	Key    string            // of [NewLogKey], the secret one
	Every  time.Duration     // default 1 s
	Signed func(*Checkpoint) // is told of each checkpoint; it must not wait
	Copy   string            // a file, in a second place, that gets each checkpoint too; "": none
	Logger *slog.Logger      // default: nothing is logged
}

// OriginOf names the ledger for [NewLogKey].
func (l *Ledger) Origin() string { return origin(l.id) }

// NewSealer goes on with what was signed. It is an error if the ledger is not that any more.
func NewSealer(l *Ledger, cfg SealerConfig) (_ *Sealer, err error) {
	if cfg.Every == 0 {
		cfg.Every = time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Sealer{ledger: l, cfg: cfg, quit: make(chan struct{}), ended: make(chan struct{})}
	defer func() {
		if err != nil {
			err = fmt.Errorf("seal the ledger: %w", err)
			_ = s.hashes.Close()
			_ = s.notes.Close()
		}
	}()
	if s.signer, err = note.NewSigner(cfg.Key); err != nil {
		return nil, err
	}
	if s.public, err = publicKey(cfg.Key); err != nil {
		return nil, err
	}
	open := func(name string, flag int) *os.File {
		f, e := os.OpenFile(filepath.Join(l.dir, name), os.O_RDWR|os.O_CREATE|flag, 0o600)
		err = errors.Join(err, e)
		return f
	}
	s.hashes, s.notes = hashFile{open(hashesName, 0)}, open(checkpointsName, 0)
	if err != nil {
		return nil, err
	}
	if err := s.resume(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(l.dir, keyName), []byte(s.public+"\n"), 0o600); err != nil {
		return nil, err
	}
	go s.run()
	return s, nil
}

// publicKey is the public key of a secret one.
func publicKey(secret string) (string, error) {
	s, err := note.NewSigner(secret)
	if err != nil {
		return "", err
	}
	parts := strings.SplitN(secret, "+", 5) // the last one may have a + itself
	raw, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return "", errors.New("the key that signs the ledger is none of Ed25519")
	}
	return note.NewEd25519VerifierKey(s.Name(), ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey))
}

// resume goes on behind the last checkpoint. Hashes that are missing, or not what was signed,
// are made again from the records; then these must be.
func (s *Sealer) resume() error {
	path := filepath.Join(s.ledger.dir, checkpointsName)
	notes, left, err := readNotes(path)
	if err != nil {
		return err
	}
	end, err := s.notes.Seek(int64(-left), io.SeekEnd)
	if err != nil {
		return err
	}
	if err := s.notes.Truncate(end); err != nil { // one that was not written whole
		return err
	}
	size := int64(0)
	if n := len(notes); n > 0 {
		v, err := note.NewVerifier(s.public)
		if err != nil {
			return err
		}
		if s.last, err = ParseCheckpoint(notes[n-1], v); err != nil {
			return fmt.Errorf("%s: the last one is not signed with this gate's key: %w", path, err)
		}
		if s.last.Origin != s.ledger.Origin() {
			return fmt.Errorf("%s: it is of the ledger %s, and this is %s", path, s.last.Origin, s.ledger.Origin())
		}
		size = s.last.Size
	}
	if uint64(size) > s.ledger.Head() {
		return fmt.Errorf("%w: %d records were, and it has %d; callgate audit verify tells more; restore it from a backup, or move the whole folder away to keep it as it is and begin a new ledger", errNotSigned, size, s.ledger.Head())
	}
	tree, err := s.hashes.frontier(size)
	if err == nil && (s.last == nil || tree.root() == s.last.Root) {
		s.tree = *tree
		return s.hashes.Truncate(tlog.StoredHashCount(size) * tlog.HashSize)
	}
	s.cfg.Logger.Warn("hashes of the ledger are missing, they are made again", "records", size)
	s.tree = frontier{}
	if err := s.hashes.Truncate(0); err != nil {
		return err
	}
	if err := s.grow(size); err != nil {
		return err
	}
	if s.last != nil && s.tree.root() != s.last.Root {
		return fmt.Errorf("%w; callgate audit verify tells which records", errNotSigned)
	}
	return nil
}

// grow takes up records up to the first size.
func (s *Sealer) grow(size int64) error {
	if s.tree.size >= size {
		return nil
	}
	list := make([]tlog.Hash, 0, 1<<10)
	write := func() error {
		at := (tlog.StoredHashCount(s.tree.size) - int64(len(list))) * tlog.HashSize
		b := make([]byte, 0, len(list)*tlog.HashSize)
		for i := range list {
			b = append(b, list[i][:]...)
		}
		list = list[:0]
		_, err := s.hashes.WriteAt(b, at)
		return err
	}
	tree := frontier{s.tree.size, append([]tlog.Hash(nil), s.tree.hashes...)}
	fail := func(err error) error {
		s.tree = tree // what is in the file behind it is written again
		return err
	}
	for e, err := range s.ledger.Entries(uint64(s.tree.size) + 1) {
		if err != nil {
			return fail(err)
		}
		list = s.tree.add(tlog.RecordHash(e.JSON), list)
		if s.tree.size == size {
			break
		}
		if len(list) >= 1<<10 {
			if err := write(); err != nil {
				return fail(err)
			}
		}
	}
	if s.tree.size < size {
		return fail(fmt.Errorf("records end at %d, and not at %d", s.tree.size, size))
	}
	if err := write(); err != nil {
		return fail(err)
	}
	return nil
}

// run seals until Close.
func (s *Sealer) run() {
	defer close(s.ended)
	tick := time.NewTicker(s.cfg.Every)
	defer tick.Stop()
	_ = s.Seal() // what the process before could not
	for {
		select {
		case <-tick.C:
			_ = s.Seal()
		case <-s.quit:
			return
		}
	}
}

// Seal signs what is durable now.
func (s *Sealer) Seal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.seal()
	if err != nil && s.err == nil {
		s.cfg.Logger.Error("the ledger is not signed", "error", err)
	} else if err == nil && s.err != nil {
		s.cfg.Logger.Info("the ledger is signed again")
	}
	s.err = err
	return err
}

func (s *Sealer) seal() error {
	head := int64(s.ledger.Head())
	if s.last != nil && head == s.last.Size || head == 0 {
		return nil
	}
	if err := s.grow(head); err != nil {
		return err
	}
	c := &Checkpoint{Origin: s.ledger.Origin(), Size: head, Root: s.tree.root()}
	if err := c.sign(s.signer); err != nil {
		return err
	}
	if err := s.hashes.Sync(); err != nil { // so that what is signed can be proven after a crash
		return err
	}
	at, err := s.notes.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := s.notes.Write(append(c.Note, '\n')); err != nil {
		return errors.Join(err, s.notes.Truncate(at))
	}
	if err := s.notes.Sync(); err != nil {
		return err
	}
	s.last = c
	s.copy(c)
	if s.cfg.Signed != nil {
		s.cfg.Signed(c)
	}
	return nil
}

// maxBehind is how much waits for a copy that cannot be written: the newest tells most.
const maxBehind = 1 << 20

// copy writes c to the second place, with what that has missed. That it cannot is logged;
// the ledger goes on, since its own checkpoints are there.
func (s *Sealer) copy(c *Checkpoint) {
	if s.cfg.Copy == "" {
		return
	}
	had := len(s.behind) > 0
	if len(s.behind) > maxBehind {
		s.behind = nil
	}
	s.behind = append(append(s.behind, c.Note...), '\n')
	f, err := os.OpenFile(s.cfg.Copy, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err == nil {
		var at int64
		if at, err = f.Seek(0, io.SeekEnd); err == nil {
			if _, err = f.Write(s.behind); err != nil {
				err = errors.Join(err, f.Truncate(at))
			}
		}
		err = errors.Join(err, f.Sync(), f.Close())
	}
	switch {
	case err == nil:
		s.behind = nil
		if had {
			s.cfg.Logger.Info("checkpoints are copied again", "to", s.cfg.Copy)
		}
	case !had:
		s.cfg.Logger.Error("checkpoints are not copied to their second place, it is tried again", "to", s.cfg.Copy, "error", err)
	}
}

// Last is the last checkpoint, nil if there is none, and why the one after it is missing.
func (s *Sealer) Last() (*Checkpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.err
}

// Key is the public key.
func (s *Sealer) Key() string { return s.public }

// Tile is the data of a tile of the tree (C2SP tlog-tiles: 256 hashes, or as many as width
// says) that the last checkpoint covers. The error is fs.ErrNotExist if it covers none such.
func (s *Sealer) Tile(level int, n int64, width int) ([]byte, error) {
	last, _ := s.Last()
	t := tlog.Tile{H: 8, L: level, N: n, W: width}
	if last == nil || level < 0 || level > 7 || n < 0 || width < 1 || width > 256 {
		return nil, fs.ErrNotExist
	}
	if have := last.Size >> (8 * level); have < n*256+int64(width) {
		return nil, fs.ErrNotExist
	}
	return tlog.ReadTileData(t, s.hashes)
}

// Close signs what there is, and ends. The ledger must still be open.
func (s *Sealer) Close() error {
	close(s.quit)
	<-s.ended
	return errors.Join(s.Seal(), s.hashes.Close(), s.notes.Close())
}
