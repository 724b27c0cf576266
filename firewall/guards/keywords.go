package guards

// keywords finds each of a set of words in a text, in one pass and whatever the
// case of its ASCII letters (Aho and Corasick, 1975). The state between two
// bytes is a number, so that a text may come in pieces: the libraries for this
// begin anew with each piece, and want the text in lower case first.
type keywords struct {
	class [256]uint8 // of each byte; 0 stands in no word
	next  []uint16   // state, by state<<6 | class
	ends  [][]int32  // words that end in a state, by state - first
	first uint16     // the states from here on end a word
}

// newKeywords makes keywords of at most 63 different bytes and 65,535 states.
// More of either is a mistake of ours.
func newKeywords(words []string) *keywords {
	var k keywords
	classes := 0
	k.next = make([]uint16, 64, 64*4*len(words))
	ends := make([][]int32, 1, 4*len(words))
	for i, w := range words {
		state := 0
		for _, b := range []byte(w) {
			b = lower(b)
			if k.class[b] == 0 {
				if classes++; classes > 63 {
					panic("guards: keywords of more than 63 different bytes")
				}
				k.class[b] = uint8(classes)
			}
			at := state<<6 | int(k.class[b])
			if k.next[at] == 0 {
				k.next[at] = uint16(len(ends))
				k.next = append(k.next, make([]uint16, 64)...)
				if ends = append(ends, nil); len(ends) > 1<<16 {
					panic("guards: keywords of more than 65,535 states")
				}
			}
			state = int(k.next[at])
		}
		ends[state] = append(ends[state], int32(i))
	}
	for b := range 256 {
		k.class[b] = k.class[lower(byte(b))]
	}
	k.complete(ends, classes)
	k.sort(ends)
	return &k
}

// complete gives each state a successor for each class: where a word does not go
// on, that of the longest end of the text that begins another one.
func (k *keywords) complete(ends [][]int32, classes int) {
	fail := make([]uint16, len(ends))
	queue := make([]uint16, 1, len(ends))
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		for c := 1; c <= classes; c++ {
			at, other := int(s)<<6|c, int(fail[s])<<6|c
			t := k.next[at]
			if t == 0 {
				if s != 0 {
					k.next[at] = k.next[other]
				}
				continue
			}
			if s != 0 {
				fail[t] = k.next[other]
				ends[t] = append(ends[t], ends[fail[t]]...)
			}
			queue = append(queue, t)
		}
	}
}

// sort numbers the states anew, those that end a word last, so that one
// comparison tells them.
func (k *keywords) sort(ends [][]int32) {
	renamed := make([]uint16, len(ends))
	n := uint16(0)
	for s := range ends {
		if ends[s] == nil {
			renamed[s] = n
			n++
		}
	}
	k.first = n
	for s := range ends {
		if ends[s] != nil {
			renamed[s] = n
			k.ends = append(k.ends, ends[s])
			n++
		}
	}
	next := make([]uint16, len(k.next))
	for at, t := range k.next {
		next[int(renamed[at>>6])<<6|at&63] = renamed[t]
	}
	k.next = next
}

// in says whether one of the words stands in text.
func (k *keywords) in(text string) bool {
	state := uint16(0)
	for i := range len(text) {
		if state = k.next[int(state)<<6|int(k.class[text[i]])]; state >= k.first {
			return true
		}
	}
	return false
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}
