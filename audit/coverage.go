package audit

// A Coverage is what became of the tool calls of one name that models asked one agent
// for: those that never passed callgate are done elsewhere, or not at all.
type Coverage struct {
	Agent      string   `json:"agent"`
	Name       string   `json:"name"`        // as the model was told
	Asked      int64    `json:"asked"`       // times that a model asked for it
	Passed     int64    `json:"passed"`      // calls that callgate saw
	TakenOut   int64    `json:"taken_out"`   // it was refused before the agent saw it
	OffGateway int64    `json:"off_gateway"` // its result came back to a model, without a call that callgate saw
	Unseen     int64    `json:"unseen"`      // nothing more is known
	Examples   []string `json:"examples"`    // model calls that asked for what did not pass, the latest first
}
