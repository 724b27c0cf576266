package export

import "callgate/audit"

// maxOpen bounds the calls that are remembered because they are not over. The oldest of
// more is told as it is.
const maxOpen = 10_000

// calls are those that are not over, oldest first. The zero value has none.
type calls struct {
	order []string // ids; some may be over
	of    map[string][]audit.Record
}

// add is what r makes whole, if that is not told: sent is the last record that was.
func (c *calls) add(r audit.Record, sent uint64) []Item {
	if r.Call == "" {
		if r.Seq <= sent {
			return nil
		}
		return []Item{{Seq: r.Seq, Change: &r}}
	}
	records, known := c.of[r.Call]
	if records = append(records, r); r.Type == audit.Closed || r.Type == audit.Refused {
		delete(c.of, r.Call)
		return told(records, 0, sent)
	}
	if c.of == nil {
		c.of = make(map[string][]audit.Record)
	}
	c.of[r.Call] = records
	if !known {
		c.order = append(c.order, r.Call)
	}
	if len(c.of) <= maxOpen {
		return nil
	}
	c.first(r.Seq) // brings order up to date
	oldest := c.of[c.order[0]]
	delete(c.of, c.order[0])
	return told(oldest, 0, sent)
}

// lost is the calls that are not over and never will be, now that the process which made
// them is gone: its last record is the one before seq.
func (c *calls) lost(seq, sent uint64) (items []Item) {
	for _, id := range c.order {
		if records := c.of[id]; records != nil {
			delete(c.of, id)
			one := told(records, seq, 0)
			one[0].Seq = seq
			if seq > sent {
				items = append(items, one...)
			}
		}
	}
	c.order = nil
	return items
}

// first is the position from which on the records of calls that are not over are, and
// those behind read.
func (c *calls) first(read uint64) uint64 {
	for len(c.order) > 0 {
		if records := c.of[c.order[0]]; records != nil {
			return records[0].Seq
		}
		c.order = c.order[1:]
	}
	return read + 1
}

func told(records []audit.Record, began, sent uint64) []Item {
	last := records[len(records)-1].Seq
	if last <= sent {
		return nil
	}
	return []Item{{Seq: last, Call: &audit.Tell(records, began)[0]}}
}
