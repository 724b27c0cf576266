package identity

import "time"

// A Principal is who makes a call, as proven by a verified token and looked up
// in the registry. It is a value: nothing in it changes after [Authority.Verify].
type Principal struct {
	Tenant  string     // "default" in a single-tenant set-up
	Subject string     // "agent:support-bot", or the human it acts for
	Actors  []string   // who acts for Subject, the current actor first; empty when the agent acts alone
	Roles   []string   // of the acting agent, prefixed: "role:support"
	Above   [][]string // of the rest of Chain, in its order; nil where the agent acts alone
	Owner   string     // "user:ana", who answers for the agent
	User    string     // the human at the root of it all, or who answers for the agent there: "user:ana", "group:ops"; "" if nobody was named
	Client  string     // client_id that the token was given to
	TokenID string     // the token's jti
	Grant   string     // the record of the delegation that the token came from
	Txn     string     // the transaction that the token's root began
	Run     string     // the only run that the token is for; "" is any
	Bound   string     // to what the token is bound, which was shown besides it: ByProof, ByCertificate; "" for nothing
	Within  []Within   // what agents of Chain are kept to by their registration, besides policy: all of it must permit an object
	Hops    []Hop      // that were given less than policy allows: each must permit a call
	Expires time.Time
}

// What a token may be bound to.
const (
	ByProof       = "dpop" // a key, of which each request has a proof (RFC 9449)
	ByCertificate = "mtls" // a client's certificate (RFC 8705)
)

// Held is what the principal at a place of Chain may be taken for, by the registry.
func (p *Principal) Held(hop int) []string {
	switch {
	case hop == 0:
		return p.Roles
	case hop <= len(p.Above):
		return p.Above[hop-1]
	}
	return nil
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
