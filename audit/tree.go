package audit

import (
	"errors"
	"fmt"
	"math/bits"
	"os"

	"golang.org/x/mod/sumdb/tlog"
)

// The records of a ledger are the leaves of a Merkle tree (RFC 6962): record seq is leaf
// seq-1, and its hash is the leaf that its batch has. A file keeps the hashes of all whole
// subtrees in the order in which they became whole, so that hash i stands at byte 32 i:
// those of tlog.StoredHashIndex.

// A frontier is the tree so far, as the hashes of the largest whole subtrees that it is made
// of, the leftmost first.
type frontier struct {
	size   int64
	hashes []tlog.Hash
}

// add adds a leaf and appends to list the hashes of the subtrees that are whole with it.
func (f *frontier) add(leaf tlog.Hash, list []tlog.Hash) []tlog.Hash {
	list = append(list, leaf)
	h := leaf
	for n := f.size; n&1 == 1; n >>= 1 {
		last := len(f.hashes) - 1
		h = tlog.NodeHash(f.hashes[last], h)
		f.hashes = f.hashes[:last]
		list = append(list, h)
	}
	f.hashes = append(f.hashes, h)
	f.size++
	return list
}

// root is the hash of the tree.
func (f *frontier) root() tlog.Hash {
	if len(f.hashes) == 0 {
		h, _ := tlog.TreeHash(0, nil) // of nothing: there is no such error
		return h
	}
	h := f.hashes[len(f.hashes)-1]
	for i := len(f.hashes) - 2; i >= 0; i-- {
		h = tlog.NodeHash(f.hashes[i], h)
	}
	return h
}

// hashFile is the file of hashes.
type hashFile struct{ *os.File }

// ReadHashes implements [tlog.HashReader].
func (f hashFile) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	list := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		if _, err := f.ReadAt(list[i][:], at*tlog.HashSize); err != nil {
			return nil, fmt.Errorf("read the hashes of the ledger: %w", err)
		}
	}
	return list, nil
}

// frontier is that of the first size records.
func (f hashFile) frontier(size int64) (*frontier, error) {
	out := &frontier{size: size}
	start := int64(0)
	for level := bits.Len64(uint64(size)) - 1; level >= 0; level-- {
		if size&(1<<level) == 0 {
			continue
		}
		h, err := f.ReadHashes([]int64{tlog.StoredHashIndex(level, start>>level)})
		if err != nil {
			return nil, err
		}
		out.hashes = append(out.hashes, h[0])
		start += 1 << level
	}
	return out, nil
}

// hashesName and checkpointsName are files beside the segments.
const (
	hashesName      = "hashes"
	checkpointsName = "checkpoints"
	keyName         = "key" // that checkpoints can be verified with
)

var errNotSigned = errors.New("the ledger is not what was signed")
