package firewall

// Sides are those of a call, whose request and reply may differ.
type Sides uint8

const (
	InRequest Sides = 1 << iota
	InReply
)

// A MediaGuard is a [Guard] that answers for what is no text: sound, pictures, files.
// A guard that is none must read everything, so that what it cannot read is refused.
type MediaGuard interface {
	Guard
	// Media says whether the sides that call.Media names may hold what cannot be read.
	// It is asked once Request has answered. The zero Decision denies.
	Media(call *Call) Decision
}

// unread is what guard says of the part of call that it cannot read.
func unread(guard Guard, call *Call) Decision {
	if call.Media == 0 {
		return Decision{Effect: Allow}
	}
	if g, ok := guard.(MediaGuard); ok {
		return g.Media(call)
	}
	return Decision{Rule: guard.Name(), Reason: "guard " + guard.Name() + " must read what passes, and cannot read sound, pictures and files"}
}

// blinded refuses an event that guards cannot read and were not asked about.
func (c *Call) blinded(ev *Event) error {
	if ev.Media && c.Media&InReply == 0 {
		return &Error{Code: Unavailable, Reason: "the target answered with something that is no text, which nobody was asked about"}
	}
	return nil
}
