package audit

// A Timeline is what happened in a run, and what changed around it meanwhile.
type Timeline struct {
	Run     string   `json:"run"`
	Agent   string   `json:"agent"`
	Calls   []Call   `json:"calls"`   // in order
	Changes []Change `json:"changes"` // of policies, tools, agents and approvals while it ran
	Next    uint64   `json:"-"`       // seq of the last call, where there are more
}

// A Change is a record of no call.
type Change struct {
	Seq   uint64 `json:"seq"`
	At    int64  `json:"at_us"`
	What  string `json:"what"`
	By    string `json:"by,omitempty"`
	Name  string `json:"name,omitempty"`
	State string `json:"state,omitempty"`
}

// ChangeOf is what a record of no call tells.
func ChangeOf(r *Record) Change {
	return Change{Seq: r.Seq, At: r.At, What: r.What, By: r.By, Name: r.Name, State: r.State}
}
