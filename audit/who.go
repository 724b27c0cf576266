package audit

import "strings"

// A Who is on whose behalf a call was made, and who agreed to it.
type Who struct {
	Call      string   `json:"call"`
	Agent     string   `json:"agent"`              // that acted
	Chain     []string `json:"chain"`              // from whoever began it down to Agent
	Human     string   `json:"human,omitempty"`    // the person at its beginning
	How       string   `json:"how"`                // how that is known, in words
	Owner     string   `json:"owner,omitempty"`    // who answers for Agent
	Token     string   `json:"token,omitempty"`    // jti
	Grant     string   `json:"grant,omitempty"`    // the delegation that the token came from
	Txn       string   `json:"txn,omitempty"`      // of the root of that
	Approval  string   `json:"approval,omitempty"` // that the call asked for or carried
	Decisions []Change `json:"decisions"`          // what people decided about that
	Given     []Change `json:"given"`              // grants and consents that the token rests on
}

// WhoOf is what the records of a call itself tell of who made it.
func WhoOf(c *Call) Who {
	w := Who{Call: c.ID, Agent: c.Agent, Token: c.Token, Grant: c.Grant, Txn: c.Txn, Approval: c.Approval, Decisions: []Change{}, Given: []Change{}}
	if c.Subject != "" {
		w.Chain = append(w.Chain, c.Subject)
	}
	for i := len(c.Actors) - 1; i >= 0; i-- {
		w.Chain = append(w.Chain, c.Actors[i])
	}
	if n := len(w.Chain); c.Agent != "" && (n == 0 || w.Chain[n-1] != c.Agent) {
		w.Chain = append(w.Chain, c.Agent)
	}
	for _, name := range w.Chain {
		if strings.HasPrefix(name, "user:") {
			w.Human, w.How = name, "the token was issued for that person"
			return w
		}
	}
	w.How = "no person is in the delegation chain: the agent acts by itself"
	return w
}
