package firewall

// Acting is what an operator says of a tool that does something for a party, or to an
// object: names of its arguments. Both may be empty: it acts on nobody in particular.
type Acting struct {
	To     []string // for whom: recipients, payees, guests
	Object []string // on what: ids, paths, names
}

// An Origin is from where a value comes that a call acts on. The later it stands here, the
// less the user can be thought to have meant it.
type Origin uint8

const (
	OriginNone      Origin = iota // there is no such value
	OriginUser                    // the user said it, or the system prompt
	OriginTrusted                 // a trusted tool gave it
	OriginResolved                // a lookup gave it, for what the user described
	OriginComposed                // nothing like it was met: the model made it up
	OriginUntrusted               // it stands in what anybody may have written
)

var origins = [...]string{"none", "user", "trusted", "resolved", "composed", "untrusted"}

func (o Origin) String() string { return origins[o] }

// ParseOrigin is the Origin of a name.
func ParseOrigin(name string) (Origin, bool) {
	for i, o := range origins {
		if o == name {
			return Origin(i), true
		}
	}
	return OriginNone, false
}

// An Intent is whether the user has asked for such an act.
type Intent uint8

const (
	IntentUnknown Intent = iota // nobody can tell from the tool's name, or nothing that the user said is known
	IntentAsked
	IntentUnasked
)

var intents = [...]string{"unknown", "asked", "unasked"}

func (i Intent) String() string { return intents[i] }

// ParseIntent is the Intent of a name.
func ParseIntent(name string) (Intent, bool) {
	for i, o := range intents {
		if o == name {
			return Intent(i), true
		}
	}
	return IntentUnknown, false
}

// Origins are the origins of what a call acts on.
type Origins struct {
	To, Object Origin // the worst of the values
	Intent     Intent
	Evidence   []Evidence
}

// Evidence is from where one value comes.
type Evidence struct {
	Path   string `json:"path"` // in the arguments, a JSON Pointer
	Value  string `json:"value"`
	Origin string `json:"origin"`
	Call   string `json:"call,omitempty"` // that brought it
	Tool   string `json:"tool,omitempty"` // its tool; "" for a prompt
}

// Origins says from where the values come that call acts on. It is worked out when
// somebody first asks.
func (c *Call) Origins() Origins {
	if c.origins != nil {
		return *c.origins
	}
	c.origins = new(Origins)
	if c.Acting != nil && len(c.mets) > 0 {
		*c.origins = c.findOrigins()
	} else if c.Acting != nil { // nobody knows
		*c.origins = Origins{To: OriginComposed, Object: OriginComposed}
	}
	return *c.origins
}

// SetOrigins sets what [Call.Origins] says, of a call that nobody makes.
func (c *Call) SetOrigins(o Origins) { c.origins = &o }
