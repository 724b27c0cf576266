package firewall

import (
	"hash/maphash"
	"math"
	"math/bits"
	"strings"

	"github.com/tidwall/gjson"
)

// Hashes join what was said on one plane to what is said on the other. They are of 64
// bits, with a seed that nobody outside knows, and live as long as the process: nothing
// of them is stored, and nobody can look for texts that collide.

// A digest is a [History] as hashes: one for each point at which a request may have ended.
type digest struct {
	head  uint64 // of what the model is told above all, and of its tools
	node  uint64 // of all that was said
	turns []turn // of the model, oldest first
	fresh int    // where in Said what came since the model spoke last begins
}

// A turn is an answer of the model in a history.
type turn struct {
	before uint64 // hash of what was said before it: a request that was, if callgate has seen it
	at     int    // its first part in Said
}

// digest hashes a history. It reads each text once.
func (r *Runs) digest(h *History) digest {
	d := digest{head: maphash.Bytes(r.seed, h.Tools)}
	node, by := uint64(1), System
	for i := range h.Said {
		s := &h.Said[i]
		sum := r.sum(s)
		if s.By == System {
			d.head = mix(d.head, sum)
			continue
		}
		if s.By != by && s.By == Assistant {
			d.turns = append(d.turns, turn{node, i})
		}
		if s.By == User && by == Assistant {
			d.fresh = i
		}
		if s.By != by {
			by = s.By
			node = mix(node, uint64(by))
		}
		node = mix(node, sum)
	}
	if by == Assistant { // what the model is to go on with is its own
		d.fresh = len(h.Said)
	}
	d.node = node
	return d
}

// sum is the hash of one thing that was said.
func (r *Runs) sum(s *Said) uint64 {
	sum := uint64(s.Kind)
	if s.Text != "" {
		sum = mix(sum, maphash.String(r.seed, s.Text))
	}
	if s.ID != "" {
		sum = mix(sum, maphash.String(r.seed, s.ID))
	}
	if s.Name != "" {
		sum = mix(sum, maphash.String(r.seed, s.Name))
	}
	if len(s.JSON) > 0 {
		sum = mix(sum, maphash.Bytes(r.seed, s.JSON))
	}
	return sum
}

// mix is the hash of b behind what a is the hash of.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x9e3779b97f4a7c15, b^0xd6e8feb86659fd93)
	return hi ^ lo
}

// answer is the hash of the text of the answer that begins at a place of h.
func (r *Runs) answer(h *History, at int) (sum uint64, texts bool) {
	var hash maphash.Hash
	hash.SetSeed(r.seed)
	left := maxSaid
	for ; at < len(h.Said) && h.Said[at].By == Assistant; at++ {
		if s := &h.Said[at]; s.Kind == SaidText && left > 0 {
			text := s.Text[:min(len(s.Text), left)]
			left -= len(text)
			texts = texts || text != ""
			_, _ = hash.WriteString(text)
		}
	}
	return hash.Sum64(), texts
}

// maxSaid bounds the text of a reply that is remembered until it is over.
const maxSaid = 64 << 10

const (
	pieceSize = 64       // bytes of a line that are hashed together
	maxPieces = 256      // of one text
	maxDepth  = 64       // of documents whose meaning is hashed
	maxMeant  = 64 << 10 // bytes of them
)

// pieces are hashes of the beginning of text, piece by piece: whoever has only some of the
// text, from its beginning on or from that of a line, has the same pieces.
func pieces(seed maphash.Seed, text string) []uint32 {
	var out []uint32
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRight(line, "\r")
		for len(line) > 0 && len(out) < maxPieces {
			n := min(len(line), pieceSize)
			if n >= 8 { // shorter ones are everywhere
				out = append(out, uint32(maphash.String(seed, line[:n])))
			}
			line = line[n:]
		}
		if len(out) >= maxPieces {
			break
		}
	}
	return out
}

// setOf is pieces to look others up in.
func setOf(b []uint32) map[uint32]bool {
	in := make(map[uint32]bool, len(b))
	for _, x := range b {
		in[x] = true
	}
	return in
}

// shared is how many of a are in a set.
func shared(a []uint32, in map[uint32]bool) int {
	n := 0
	for _, x := range a {
		if in[x] {
			n++
		}
	}
	return n
}

// A meaning hashes what a document says, however it is written: the order of members, the
// writing of numbers and of texts make no difference.
type meaning struct {
	seed  maphash.Seed
	nulls bool // a null is something
}

func (m meaning) of(v gjson.Result, depth int) uint64 {
	if depth > maxDepth {
		return maphash.String(m.seed, v.Raw)
	}
	switch v.Type {
	case gjson.String:
		return mix(1, maphash.String(m.seed, v.Str))
	case gjson.Number:
		if math.Abs(v.Num) >= 1<<53 {
			return mix(2, maphash.String(m.seed, v.Raw))
		}
		return mix(2, math.Float64bits(v.Num+0)) // -0 is 0
	case gjson.True:
		return 3
	case gjson.False:
		return 4
	case gjson.Null:
		return 5
	}
	if v.IsArray() {
		sum := uint64(6)
		v.ForEach(func(_, item gjson.Result) bool {
			sum = mix(sum, m.of(item, depth+1))
			return true
		})
		return sum
	}
	sum := uint64(7)
	v.ForEach(func(name, value gjson.Result) bool {
		if value.Type != gjson.Null || m.nulls {
			sum += m.member(name.Str, m.of(value, depth+1))
		}
		return true
	})
	return sum
}

func (m meaning) member(name string, value uint64) uint64 {
	return mix(maphash.String(m.seed, name), value)
}

// filled is of with the defaults of a JSON Schema where the document says nothing.
func (m meaning) filled(v, schema gjson.Result, depth int) uint64 {
	if !v.IsObject() || !schema.IsObject() || depth > maxDepth {
		return m.of(v, depth)
	}
	of := schema.Get("properties")
	sum := uint64(7)
	said := make(map[string]bool)
	v.ForEach(func(name, value gjson.Result) bool {
		if value.Type != gjson.Null {
			said[name.Str] = true
			sum += m.member(name.Str, m.filled(value, of.Get(gjson.Escape(name.Str)), depth+1))
		}
		return true
	})
	of.ForEach(func(name, property gjson.Result) bool {
		if d := property.Get("default"); d.Exists() && d.Type != gjson.Null && !said[name.Str] {
			sum += m.member(name.Str, m.filled(d, property, depth+1))
		}
		return true
	})
	return sum
}

// isDocument says whether text may be a JSON object or array.
func isDocument(text string) bool {
	return len(text) > 1 && len(text) <= maxMeant && (text[0] == '{' || text[0] == '[') && gjson.Valid(text)
}
