package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strconv"
	"strings"
)

// This file is the format of the ledger's files; docs/ledger.md tells it byte by
// byte.

const (
	sector     = 512 // batches begin on one, so that a torn write harms no other batch
	batchHead  = 104 // bytes before a batch's frames
	frameHead  = 8   // bytes before a frame's payload
	padding    = 1 << 31
	version    = 1
	extension  = ".seg"
	maxBatch   = 16 << 20    // bytes of one batch; far more than waits on any disk that works
	maxSegment = 64 << 20    // a batch begins in a segment that is smaller
	prealloc   = 1 << 20     // bytes that a segment is extended by
	linkSize   = sha256.Size // bytes of a link of the chain
	sumAt      = sector - 4  // of the checksum in a segment's head and in a seal
	magicHead  = "callgate ledger\n"
	magicBatch = "cgbatch\x01" // the 01 cannot stand in JSON, so no record can look like a batch
	magicSeal  = "cg-seal\x01"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// A link is the SHA-256 of a piece of the ledger, which holds the link of the
// piece before it.
type link [linkSize]byte

// A segment is one file of the ledger.
type segment struct {
	no    uint64 // in the order they were begun, from 1; some may be missing
	first uint64 // seq of its first record, if it has any
}

func (s segment) name() string { return fmt.Sprintf("%08d-%020d%s", s.no, s.first, extension) }

func (s segment) path(dir string) string { return filepath.Join(dir, s.name()) }

// parseName reads what [segment.name] wrote.
func parseName(name string) (segment, bool) {
	no, first, ok := strings.Cut(strings.TrimSuffix(name, extension), "-")
	var s segment
	var errNo, errFirst error
	s.no, errNo = strconv.ParseUint(no, 10, 64)
	s.first, errFirst = strconv.ParseUint(first, 10, 64)
	return s, ok && errNo == nil && errFirst == nil && s.no > 0 && s.first > 0 && s.name() == name
}

// head is what a segment begins with.
type head struct {
	segment
	created int64 // microseconds
	ledger  [16]byte
	prev    link // of the last batch before
}

func (h *head) encode() []byte {
	b := make([]byte, sector)
	copy(b, magicHead)
	binary.LittleEndian.PutUint32(b[16:], version)
	binary.LittleEndian.PutUint64(b[24:], h.no)
	binary.LittleEndian.PutUint64(b[32:], h.first)
	binary.LittleEndian.PutUint64(b[40:], uint64(h.created))
	copy(b[48:], h.ledger[:])
	copy(b[64:], h.prev[:])
	binary.LittleEndian.PutUint32(b[sumAt:], checksum(b[:sumAt]))
	return b
}

// decodeHead reads the first sector of the segment s.
func decodeHead(b []byte, s segment) (head, error) {
	var h head
	if len(b) < sector || string(b[:16]) != magicHead || binary.LittleEndian.Uint32(b[sumAt:]) != checksum(b[:sumAt]) {
		return h, errNoHead
	}
	if v := binary.LittleEndian.Uint32(b[16:]); v != version {
		return h, fmt.Errorf("its format is version %d, and this callgate reads version %d: use the callgate that wrote it", v, version)
	}
	h.no = binary.LittleEndian.Uint64(b[24:])
	h.first = binary.LittleEndian.Uint64(b[32:])
	h.created = int64(binary.LittleEndian.Uint64(b[40:]))
	copy(h.ledger[:], b[48:])
	copy(h.prev[:], b[64:])
	if h.segment != s {
		return h, fmt.Errorf("it was written as %s: files of a ledger must not be renamed", h.name())
	}
	return h, nil
}

// headLink is the link of a segment's head.
func headLink(b []byte) link { return sha256.Sum256(b[:sumAt]) }

// batchHeader is what a batch begins with.
type batchHeader struct {
	size  uint32 // bytes of the frames behind it
	count uint32 // of records
	first uint64 // seq of the first record
	at    int64  // microseconds
	prev  link   // of the batch before, or of the segment's head
	root  link   // of the records
}

// encode writes h to the first bytes of b and returns the batch's link.
func (h *batchHeader) encode(b []byte) link {
	copy(b, magicBatch)
	binary.LittleEndian.PutUint32(b[8:], h.size)
	binary.LittleEndian.PutUint32(b[12:], h.count)
	binary.LittleEndian.PutUint64(b[16:], h.first)
	binary.LittleEndian.PutUint64(b[24:], uint64(h.at))
	copy(b[32:], h.prev[:])
	copy(b[64:], h.root[:])
	binary.LittleEndian.PutUint32(b[96:], 0)
	binary.LittleEndian.PutUint32(b[100:], checksum(b[:100]))
	return sha256.Sum256(b[:100])
}

// decodeBatch reads the header that b begins with, and the batch's link.
func decodeBatch(b []byte) (h batchHeader, l link, ok bool) {
	if len(b) < batchHead || string(b[:8]) != magicBatch || binary.LittleEndian.Uint32(b[100:]) != checksum(b[:100]) {
		return h, l, false
	}
	h.size = binary.LittleEndian.Uint32(b[8:])
	h.count = binary.LittleEndian.Uint32(b[12:])
	h.first = binary.LittleEndian.Uint64(b[16:])
	h.at = int64(binary.LittleEndian.Uint64(b[24:]))
	copy(h.prev[:], b[32:])
	copy(h.root[:], b[64:])
	ok = h.count > 0 && h.first > 0 && h.size <= maxBatch+sector && (batchHead+h.size)%sector == 0
	return h, sha256.Sum256(b[:100]), ok
}

// putFrame fills in the head of a frame whose payload stands behind it.
func putFrame(frame []byte, flag uint32) {
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-frameHead)|flag)
	sum := checksum(frame[:4])
	binary.LittleEndian.PutUint32(frame[4:], crc32.Update(sum, castagnoli, frame[frameHead:]))
}

// appendPadding makes b, which begins with a batch's head, full sectors long.
func appendPadding(b []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, frameHead+(sector-(at+frameHead)%sector)%sector)...)
	putFrame(b[at:], padding)
	return b
}

// cutFrame reads the frame that b begins with. It answers nothing that b does
// not hold whole and right.
func cutFrame(b []byte) (payload, rest []byte, pad, ok bool) {
	if len(b) < frameHead {
		return nil, nil, false, false
	}
	n := binary.LittleEndian.Uint32(b)
	pad = n&padding != 0
	n &^= padding
	if uint64(n) > uint64(len(b)-frameHead) {
		return nil, nil, false, false
	}
	payload, rest = b[frameHead:frameHead+n], b[frameHead+n:]
	sum := crc32.Update(checksum(b[:4]), castagnoli, payload)
	return payload, rest, pad, sum == binary.LittleEndian.Uint32(b[4:])
}

// leafOf is the hash of one record. frame holds the record behind a free byte.
func leafOf(frame []byte) link {
	frame[0] = 0 // as RFC 6962 tells leaves from nodes
	return sha256.Sum256(frame)
}

// rootOf is the hash of a batch's records, whose leaves stand behind a free byte.
func rootOf(leaves []byte) link {
	leaves[0] = 2
	return sha256.Sum256(leaves)
}

// seal is what a segment that was closed cleanly ends with.
type seal struct {
	no   uint64 // of the segment
	at   uint64 // offset of the seal
	next uint64 // seq behind the segment's last record
	when int64  // microseconds
	last link   // of the last batch, or of the segment's head
}

func (s *seal) encode() []byte {
	b := make([]byte, sector)
	copy(b, magicSeal)
	binary.LittleEndian.PutUint64(b[8:], s.no)
	binary.LittleEndian.PutUint64(b[16:], s.at)
	binary.LittleEndian.PutUint64(b[24:], s.next)
	binary.LittleEndian.PutUint64(b[32:], uint64(s.when))
	copy(b[64:], s.last[:])
	binary.LittleEndian.PutUint32(b[sumAt:], checksum(b[:sumAt]))
	return b
}

func decodeSeal(b []byte) (s seal, ok bool) {
	if len(b) < sector || string(b[:8]) != magicSeal || binary.LittleEndian.Uint32(b[sumAt:]) != checksum(b[:sumAt]) {
		return s, false
	}
	s.no = binary.LittleEndian.Uint64(b[8:])
	s.at = binary.LittleEndian.Uint64(b[16:])
	s.next = binary.LittleEndian.Uint64(b[24:])
	s.when = int64(binary.LittleEndian.Uint64(b[32:]))
	copy(s.last[:], b[64:])
	return s, true
}

func allZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeros))
		if !bytes.Equal(b[:n], zeros[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

var zeros [64 << 10]byte

// frameSize is the length of the frame that b begins with, whether b holds it
// whole or not.
func frameSize(b []byte) int {
	if len(b) < frameHead {
		return 0
	}
	return frameHead + int(binary.LittleEndian.Uint32(b)&^padding)
}
