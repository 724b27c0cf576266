package identity

import "time"

// A Principal is who makes a call, as proven by a verified token and looked up
// in the registry. It is a value: nothing in it changes after [Authority.Verify].
type Principal struct {
	Tenant  string   // "default" in a single-tenant set-up
	Subject string   // "agent:support-bot", or the human it acts for
	Actors  []string // who acts for Subject, the current actor first; empty when the agent acts alone
	Roles   []string // of the acting agent, prefixed: "role:support"
	Owner   string   // "user:ana", who answers for the agent
	Within  []Within // what the agents of the call are kept to, besides policy: all of it must permit an object
	Groups  []string // of the users of the call, as the registry knows them: "group:finance". They are nobody else's.
	TokenID string   // the token's jti
	Txn     string   // the transaction that the token's root began
	Expires time.Time
}

// Agent is the acting agent: the current actor, or else the subject.
func (p *Principal) Agent() string {
	if len(p.Actors) > 0 {
		return p.Actors[0]
	}
	return p.Subject
}

// Chain is every principal of the call, the acting agent first and the root of
// the delegation last. Each must be allowed.
func (p *Principal) Chain() []string {
	if len(p.Actors) == 0 {
		return []string{p.Subject}
	}
	return append(append([]string(nil), p.Actors...), p.Subject)
}
