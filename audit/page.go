package audit

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// A page is what of one document was new to its run: blocks, compressed and sealed
// together. Blocks that were there before are referred to.
//
// A page is the number of its blocks, and of each block its length and its pieces: bytes
// with twice their length before them; or a reference, twice its value and 1 more. The value
// of one into the same page is twice the number of the block; of one into an earlier page
// twice the page's offset in the pack and 1 more, with the block's number behind it. All of
// these are varints.

// A ref is where a block is: in the pack's page at an offset, which one.
type ref struct{ page, no uint32 }

// here is the page of a ref into the page that is being made.
const here = 0

// page is one that is being made.
type page struct {
	blocks [][2]int // in body
	body   []byte
	made   []made
}

// made is a block of the page, to be known from now on.
type made struct {
	key known
	no  uint32
}

// known is enough of the hash of a block to tell it from all others.
type known [16]byte

// put adds the block b of s, and those that it needs, unless they are known.
func (p *page) put(s *split, b int, where map[known]ref) ref {
	at := &s.blocks[b]
	key := known(at.hash[:])
	if r, ok := where[key]; ok {
		return r
	}
	// From the first one of an array on that is not known: the others stand on it.
	var chain []int
	for c := b; c != none; c = s.blocks[c].prev {
		if _, ok := where[known(s.blocks[c].hash[:])]; ok {
			break
		}
		chain = append(chain, c)
	}
	var r ref
	for i := len(chain) - 1; i >= 0; i-- {
		r = p.one(s, chain[i], where)
	}
	return r
}

// one adds the block b of s, whose prev is known.
func (p *page) one(s *split, b int, where map[known]ref) ref {
	at := &s.blocks[b]
	kids := s.kids[at.kids:at.last]
	refs := make([]ref, 0, 8)
	for _, k := range kids {
		refs = append(refs, p.put(s, k, where))
	}
	from := len(p.body)
	if at.prev != none {
		p.refer(where[known(s.blocks[at.prev].hash[:])])
	}
	pos := at.at
	literal := func(end int) {
		if end > pos {
			p.body = binary.AppendUvarint(p.body, uint64(end-pos)<<1)
			p.body = append(p.body, s.doc[pos:end]...)
		}
	}
	for i, k := range kids {
		literal(s.blocks[k].from)
		p.refer(refs[i])
		pos = s.blocks[k].to
	}
	literal(at.to)
	r := ref{here, uint32(len(p.blocks))}
	p.blocks = append(p.blocks, [2]int{from, len(p.body)})
	key := known(at.hash[:])
	where[key] = r
	p.made = append(p.made, made{key, r.no})
	return r
}

func (p *page) refer(r ref) {
	if r.page == here {
		p.body = binary.AppendUvarint(p.body, uint64(r.no)<<2|1)
		return
	}
	p.body = binary.AppendUvarint(p.body, uint64(r.page)<<2|3)
	p.body = binary.AppendUvarint(p.body, uint64(r.no))
}

// appendTo appends the page, as it is stored but for compression and seal.
func (p *page) appendTo(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(p.blocks)))
	for _, at := range p.blocks {
		b = binary.AppendUvarint(b, uint64(at[1]-at[0]))
		b = append(b, p.body[at[0]:at[1]]...)
	}
	return b
}

var errPage = errors.New("its page is damaged")

// parsePage is the blocks of a page.
func parsePage(b []byte) ([][]byte, error) {
	n, b, err := cutUvarint(b)
	if err != nil || n > uint64(len(b)) {
		return nil, errPage
	}
	blocks := make([][]byte, n)
	for i := range blocks {
		var size uint64
		if size, b, err = cutUvarint(b); err != nil || size > uint64(len(b)) {
			return nil, errPage
		}
		blocks[i], b = b[:size], b[size:]
	}
	if len(b) > 0 {
		return nil, errPage
	}
	return blocks, nil
}

func cutUvarint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, errPage
	}
	return v, b[n:], nil
}

// A joiner puts a document together again from the blocks of pages.
type joiner struct {
	load  func(page uint32) ([][]byte, error)
	pages map[uint32][][]byte
	doc   []byte
	most  int // bytes that doc may have
}

// join appends what r stands for.
func (j *joiner) join(r ref, depth int) error {
	// The blocks that an array goes on by each begin with the one before: walk down to the
	// first, and then up again.
	var chain []ref
	for {
		chain = append(chain, r)
		b, err := j.block(r)
		if err != nil {
			return err
		}
		prev, _, ok := reference(b, r.page)
		if !ok {
			break
		}
		r = prev
	}
	for i := len(chain) - 1; i >= 0; i-- {
		b, err := j.block(chain[i])
		if err != nil {
			return err
		}
		if i < len(chain)-1 { // what is behind the first reference
			_, b, _ = reference(b, chain[i].page)
		}
		if err := j.pieces(b, chain[i].page, depth); err != nil {
			return err
		}
	}
	return nil
}

// reference is the reference that b, which is in page, begins with, and what is behind it.
func reference(b []byte, page uint32) (ref, []byte, bool) {
	v, rest, err := cutUvarint(b)
	if err != nil || v&1 == 0 {
		return ref{}, nil, false
	}
	if v&2 == 0 {
		return ref{page, uint32(v >> 2)}, rest, true
	}
	no, rest, err := cutUvarint(rest)
	return ref{uint32(v >> 2), uint32(no)}, rest, err == nil
}

func (j *joiner) pieces(b []byte, page uint32, depth int) error {
	if depth > 2<<10 {
		return errPage
	}
	for len(b) > 0 {
		if r, rest, ok := reference(b, page); ok {
			if err := j.join(r, depth+1); err != nil {
				return err
			}
			b = rest
			continue
		}
		n, rest, err := cutUvarint(b)
		if n >>= 1; err != nil || n > uint64(len(rest)) || uint64(len(j.doc))+n > uint64(j.most) {
			return errPage
		}
		j.doc, b = append(j.doc, rest[:n]...), rest[n:]
	}
	return nil
}

func (j *joiner) block(r ref) ([]byte, error) {
	blocks, ok := j.pages[r.page]
	if !ok {
		var err error
		if blocks, err = j.load(r.page); err != nil {
			return nil, err
		}
		j.pages[r.page] = blocks
	}
	if uint64(r.no) >= uint64(len(blocks)) {
		return nil, errPage
	}
	return blocks[r.no], nil
}

// squeezer compresses pages, with what prompts and replies usually hold as its dictionary.
type squeezer struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// dictionary is of this number: another text needs another one.
const dictionary = 1

const maxPage = 64 << 20 // bytes of a page that is not compressed

func newSqueezer() (*squeezer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false), zstd.WithEncoderDictRaw(dictionary, []byte(usual)))
	if err != nil {
		return nil, fmt.Errorf("make a compressor: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxPage), zstd.WithDecoderDictRaw(dictionary, []byte(usual)))
	if err != nil {
		return nil, fmt.Errorf("make a decompressor: %w", err)
	}
	return &squeezer{enc, dec}, nil
}

func (s *squeezer) close() {
	_ = s.enc.Close()
	s.dec.Close()
}
