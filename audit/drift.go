package audit

// A Departure is something that a run did, or was about to do, that is not expected of
// its agent. It stands on the record of the call at which it was noticed, once for each
// run, kind and thing.
type Departure struct {
	Kind     string `json:"kind"`               // tools, models, hosts, labels, volume, order
	Seen     string `json:"seen"`               // what was done
	Expected string `json:"expected,omitempty"` // in its place, in words
	By       string `json:"by"`                 // who expects that: "config", or "learned" from earlier runs
	Action   string `json:"action"`             // what came of it: record, alert, ask, suspend
	From     string `json:"from,omitempty"`     // id of the call that led to it, where one is known
}

// A Drift is a [Departure] with the call on whose record it stands.
type Drift struct {
	Departure
	At       int64  `json:"at_us"` // of the call
	Agent    string `json:"agent"`
	Run      string `json:"run"`
	Call     string `json:"call"`
	CallKind string `json:"call_kind"` // tool, model…
	Target   string `json:"target,omitempty"`
	Resource string `json:"resource,omitempty"`
	Effect   string `json:"effect,omitempty"` // of the call
}

// Drifts are the departures of c.
func (c *Call) Drifts() []Drift {
	var list []Drift
	for _, d := range c.Drift {
		list = append(list, Drift{d, c.At, c.Agent, c.Run, c.ID, c.Kind, c.Target, c.Resource, c.Effect})
	}
	return list
}

// A Habit is what the runs of an agent usually do, as far as the index has seen them.
type Habit struct {
	Agent  string
	Runs   int                       // that were looked at
	Calls  int64                     // of a run: 19 of 20 runs make no more
	Cost   int64                     // of a run, likewise, in millionths of a US dollar
	Traits map[string]map[string]int // runs in which a thing was done that more than one did, by what it is of and the thing
	Novel  map[string]int            // runs that did a thing which no other did, by what it is of
}

// AtStart stands in a trait of order for the beginning of a run.
const AtStart = "start"

// What a [Habit] has traits of.
const (
	TraitTool  = "tool"  // SERVER/TOOL
	TraitModel = "model" // PROVIDER/MODEL
	TraitHost  = "host"  // that arguments of tools name
	TraitLabel = "label" // that the run had
	TraitOrder = "order" // a tool or [AtStart], a line feed, and the tool after it
)
