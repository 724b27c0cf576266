package audit

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A pack is a head of 64 bytes and pages. A page is its length and the number of its key's
// slot, 4 bytes each, a nonce of 12, and the page, compressed and sealed (AES-256-GCM) for
// this place. The file of keys beside it has a slot of 128 bytes for each run: the run, and
// its key, sealed by the master key for this slot. A slot whose key is zeros was erased.
const (
	packExtension = ".pack"
	keysExtension = ".keys"
	magicPack     = "callgate payloads\n"
	packHead      = 64
	pageHead      = 20
	slotSize      = 128
	maxRun        = 47 // bytes of a run's name
	sealedAt      = 48 // in a slot: the nonce, and the sealed key
	sealedSize    = 12 + 32 + 16
)

var errPackClosed = errors.New("the pack is closed")

func packName(no uint64) string { return fmt.Sprintf("%08d%s", no, packExtension) }
func keysName(no uint64) string { return fmt.Sprintf("%08d%s", no, keysExtension) }

func packNo(name string) (uint64, bool) {
	no, err := strconv.ParseUint(strings.TrimSuffix(name, keysExtension), 10, 32)
	return no, err == nil && name == keysName(no)
}

// runKey is the key of a run, in one pack.
type runKey struct {
	aead cipher.AEAD
	mac  [32]byte // of digests
}

func newRunKey(key []byte) (*runKey, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	k := new(runKey)
	if k.aead, err = cipher.NewGCM(block); err != nil {
		return nil, err
	}
	mac, err := hkdf.Expand(sha256.New, key, "callgate payload digest", len(k.mac))
	copy(k.mac[:], mac)
	return k, err
}

// A vault is what is known of a run in a pack.
type vault struct {
	*runKey
	pack *pack
	slot uint32
	used time.Time // guarded by Payloads.mu

	mu    sync.Mutex
	known map[known]ref
}

// A pack is the one that is being appended to.
type pack struct {
	no     uint64
	path   string
	began  time.Time
	master cipher.AEAD
	file   *os.File
	keys   *os.File
	slots  uint32 // guarded by Payloads.mu

	mu      sync.Mutex
	end     int64  // offset of the next page
	waiting []byte // what is not written yet: the bytes before end
	plain   []byte // to be used again
	dirty   bool   // something is not synced
	closed  bool
	err     error // of the first write that failed: nothing more is appended
}

func newPack(dir string, no uint64, master [32]byte, now time.Time) (_ *pack, err error) {
	k := &pack{no: no, path: filepath.Join(dir, packName(no)), began: now, end: packHead}
	if k.master, err = masterOf(master); err != nil {
		return nil, err
	}
	if k.keys, err = os.OpenFile(filepath.Join(dir, keysName(no)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, err
	}
	if k.file, err = os.OpenFile(k.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		head := make([]byte, packHead)
		copy(head, magicPack)
		binary.LittleEndian.PutUint32(head[24:], 1) // version
		binary.LittleEndian.PutUint64(head[32:], no)
		binary.LittleEndian.PutUint64(head[40:], uint64(now.UnixMicro()))
		_, err = k.file.WriteAt(head, 0)
	}
	if err == nil {
		err = osDisk{}.syncDir(dir)
	}
	if err != nil {
		_ = k.keys.Close()
		if k.file != nil {
			_ = k.file.Close()
		}
		return nil, err
	}
	return k, nil
}

func masterOf(key [32]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (k *pack) place(page uint32) uint64 { return k.no<<32 | uint64(page) }

func (k *pack) full(size int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.end >= size
}

func (k *pack) failed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.err != nil
}

// newVault makes a key for run. Payloads.mu is held.
func (k *pack) newVault(run string, now time.Time) (*vault, error) {
	if len(run) > maxRun {
		return nil, fmt.Errorf("the run's name has more than %d bytes", maxRun)
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it never fails
	rk, err := newRunKey(key)
	if err != nil {
		return nil, err
	}
	slot := make([]byte, sealedAt, slotSize)
	slot[0] = byte(len(run))
	copy(slot[1:], run)
	nonce := make([]byte, 12)
	_, _ = rand.Read(nonce)
	slot = append(slot, nonce...)
	slot = k.master.Seal(slot, nonce, key, slotPlace(k.no, k.slots))
	slot = binary.LittleEndian.AppendUint64(slot, uint64(now.UnixMicro()))
	slot = append(slot, make([]byte, slotSize-len(slot))...)
	if _, err := k.keys.WriteAt(slot, int64(k.slots)*slotSize); err != nil {
		return nil, err
	}
	v := &vault{runKey: rk, pack: k, slot: k.slots, known: make(map[known]ref)}
	k.slots++
	return v, nil
}

// slotPlace is what the key in a slot is sealed for.
func slotPlace(pack uint64, slot uint32) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(nil, pack), slot)
}

// pagePlace is what a page is sealed for.
func pagePlace(pack uint64, at uint32) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64([]byte("page"), pack), at)
}

// append appends a page for v and says at which offset. It will be written soon.
func (k *pack) append(v *vault, small *squeezer, plain []byte) (uint32, error) {
	if len(plain) > maxPage {
		return 0, fmt.Errorf("it is larger than %d bytes", maxPage)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.closed:
		return 0, errPackClosed
	case k.err != nil:
		return 0, k.err
	case len(k.waiting) > maxUnstored:
		return 0, errors.New("the disk does not keep up")
	case k.end > 1<<32-1:
		return 0, errors.New("the pack is full")
	}
	k.plain = small.enc.EncodeAll(plain, k.plain[:0])
	at := uint32(k.end)
	from := len(k.waiting)
	k.waiting = append(k.waiting, make([]byte, pageHead)...)
	head := k.waiting[from:]
	binary.LittleEndian.PutUint32(head[4:], v.slot)
	nonce := head[8:pageHead]
	_, _ = rand.Read(nonce)
	k.waiting = v.aead.Seal(k.waiting, nonce, k.plain, pagePlace(k.no, at))
	binary.LittleEndian.PutUint32(k.waiting[from:], uint32(len(k.waiting)-from))
	k.end += int64(len(k.waiting) - from)
	if cap(k.plain) > kept {
		k.plain = nil
	}
	if len(k.waiting) > kept {
		return at, k.write()
	}
	return at, nil
}

// write writes what waits. k.mu is held.
func (k *pack) write() error {
	if k.err != nil || len(k.waiting) == 0 {
		return k.err
	}
	_, err := k.file.WriteAt(k.waiting, k.end-int64(len(k.waiting)))
	if err != nil {
		k.err = fmt.Errorf("write to %s: %w", k.path, err)
		return k.err
	}
	k.waiting, k.dirty = k.waiting[:0], true
	return nil
}

// flush writes what waits, and makes it durable if that is wanted.
func (k *pack) flush(durable bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	if err := k.write(); err != nil || !durable || !k.dirty {
		return err
	}
	if err := errors.Join(k.keys.Sync(), k.file.Sync()); err != nil {
		k.err = fmt.Errorf("sync %s: %w", k.path, err)
		return k.err
	}
	k.dirty = false
	return nil
}

func (k *pack) close() error {
	err := k.flush(true)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	return errors.Join(err, k.file.Close(), k.keys.Close())
}

// open opens the pack of that number to read from it.
func (p *Payloads) open(no uint64) (*packReader, error) {
	p.mu.Lock()
	k := p.pack
	p.mu.Unlock()
	if k != nil && k.no == no {
		if err := k.flush(false); err != nil {
			return nil, err
		}
	}
	return openPack(p.dir, no, p.cfg.Master)
}

// packReader reads pages of a pack.
type packReader struct {
	no         uint64
	master     cipher.AEAD
	file, keys *os.File
	at         map[uint32]*runKey // by slot
}

func openPack(dir string, no uint64, master [32]byte) (_ *packReader, err error) {
	r := &packReader{no: no, at: make(map[uint32]*runKey)}
	if r.master, err = masterOf(master); err != nil {
		return nil, err
	}
	if r.file, err = os.Open(filepath.Join(dir, packName(no))); err == nil {
		if r.keys, err = os.Open(filepath.Join(dir, keysName(no))); err != nil {
			_ = r.file.Close()
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoPayload
	}
	if err != nil {
		return nil, fmt.Errorf("read payloads: %w", err)
	}
	return r, nil
}

func (r *packReader) close() {
	_ = r.file.Close()
	_ = r.keys.Close()
}

// page is the blocks of the page at an offset, and the key that it was sealed with.
func (r *packReader) page(at uint32, small *squeezer) ([][]byte, *runKey, error) {
	slot, _, plain, err := r.plain(int64(at), small, nil)
	if err != nil {
		return nil, nil, lost(err)
	}
	blocks, err := parsePage(plain)
	return blocks, r.at[slot], err
}

// plain is the page at an offset, its slot and its size; nothing where the slot is one to
// pass over. The error is io.EOF where the pack ends, or its rest is not whole.
func (r *packReader) plain(at int64, small *squeezer, pass map[uint32]bool) (slot uint32, size int64, plain []byte, err error) {
	head := make([]byte, pageHead)
	if _, err := r.file.ReadAt(head, at); err != nil {
		return 0, 0, nil, err
	}
	slot, size = binary.LittleEndian.Uint32(head[4:]), int64(binary.LittleEndian.Uint32(head))
	if info, err := r.file.Stat(); err != nil || size < pageHead || at+size > info.Size() {
		return 0, 0, nil, errors.Join(err, io.EOF)
	}
	if pass[slot] {
		return slot, size, nil, nil
	}
	sealed := make([]byte, size-pageHead)
	if _, err := r.file.ReadAt(sealed, at+pageHead); err != nil {
		return 0, 0, nil, err
	}
	key, err := r.key(slot)
	if err != nil {
		return slot, size, nil, err
	}
	packed, err := key.aead.Open(sealed[:0], head[8:pageHead], sealed, pagePlace(r.no, uint32(at)))
	if err != nil {
		return slot, size, nil, errPage
	}
	if plain, err = small.dec.DecodeAll(packed, nil); err != nil {
		return slot, size, nil, errPage
	}
	return slot, size, plain, nil
}

// runOf is the run whose slot it is.
func (r *packReader) runOf(slot uint32) (string, error) {
	b := make([]byte, 1+maxRun)
	if _, err := r.keys.ReadAt(b, int64(slot)*slotSize); err != nil {
		return "", err
	}
	return string(b[1 : 1+min(int(b[0]), maxRun)]), nil
}

// key is the key in a slot.
func (r *packReader) key(slot uint32) (*runKey, error) {
	if k := r.at[slot]; k != nil {
		return k, nil
	}
	b := make([]byte, slotSize)
	if _, err := r.keys.ReadAt(b, int64(slot)*slotSize); err != nil {
		return nil, lost(err)
	}
	sealed := b[sealedAt : sealedAt+sealedSize]
	if allZero(sealed) {
		return nil, ErrErased
	}
	plain, err := r.master.Open(nil, sealed[:12], sealed[12:], slotPlace(r.no, slot))
	if err != nil {
		return nil, errors.New("its key cannot be opened: it was sealed by another master key, or is damaged")
	}
	k, err := newRunKey(plain)
	if err != nil {
		return nil, err
	}
	r.at[slot] = k
	return k, nil
}

// lost is err, where that the file ends is that something is not there.
func lost(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrNoPayload
	}
	return err
}

// eraseKeys destroys the keys of runs in a file of keys, and says how many there were.
func eraseKeys(path string, runs []string) (int, error) {
	gone := make(map[string]bool, len(runs))
	for _, run := range runs {
		gone[run] = true
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n := 0
	b := make([]byte, slotSize)
	for at := int64(0); ; at += slotSize {
		if _, err := f.ReadAt(b, at); err != nil {
			if lost(err) == ErrNoPayload {
				break
			}
			return n, err
		}
		size := int(b[0])
		if size > maxRun || !gone[string(b[1:1+size])] || allZero(b[sealedAt:sealedAt+sealedSize]) {
			continue
		}
		if _, err := f.WriteAt(zeros[:sealedSize], at+sealedAt); err != nil {
			return n, err
		}
		n++
	}
	if n == 0 {
		return 0, nil
	}
	return n, f.Sync()
}

// runsOf are the runs that have keys in a file.
func runsOf(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var runs []string
	for ; len(b) >= slotSize; b = b[slotSize:] {
		if size := int(b[0]); size > 0 && size <= maxRun {
			runs = append(runs, string(b[1:1+size]))
		}
	}
	return runs, nil
}
