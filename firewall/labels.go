package firewall

import "slices"

// Impact is what a tool says of its own effect, where the operator lets it say
// so. The zero Impact is unknown and is treated as side-effecting.
type Impact uint8

const (
	ReadOnly Impact = 1 << iota
	Destructive
	Idempotent
	OpenWorld
	Declared // the rest is what the tool says, and not silence
)

// impacts are the names of the bits of an [Impact].
var impacts = [...]string{"readOnly", "destructive", "idempotent", "openWorld", "declared"}

// Names are the words for what i holds, none for the zero Impact.
func (i Impact) Names() []string { return names(uint8(i), impacts[:]) }

// Labels are what the texts are that a run has read: once there, they stay.
type Labels uint8

const (
	Untrusted Labels = 1 << iota // written by nobody who may tell the agent what to do
	Private                      // not for the public
	Secret                       // keys, passwords and the like
)

// labels are the names of the bits of [Labels].
var labels = [...]string{"untrusted", "private", "secret"}

// Names are the words for what l holds, in a fixed order.
func (l Labels) Names() []string { return names(uint8(l), labels[:]) }

// names are the words for the bits that are set.
func names(bits uint8, words []string) []string {
	if bits == 0 {
		return nil
	}
	var list []string
	for i, word := range words {
		if bits&(1<<i) != 0 {
			list = append(list, word)
		}
	}
	return list
}

// ParseLabel is the label of a name.
func ParseLabel(name string) (Labels, bool) {
	i := slices.Index(labels[:], name)
	return 1 << max(i, 0), i >= 0
}

// ParseImpact is the bit of an [Impact] that name stands for.
func ParseImpact(name string) (Impact, bool) {
	i := slices.Index(impacts[:], name)
	return 1 << max(i, 0), i >= 0
}
