package console

import (
	"encoding/json"
	"time"

	"callgate/firewall"
	"callgate/identity"
	"callgate/mcp"
)

// The shapes of the admin API's JSON. The commands read them too.

// An Agent is a registered agent.
type Agent struct {
	Name    string     `json:"name"`
	Roles   []string   `json:"roles"`
	Owner   string     `json:"owner,omitempty"`
	Purpose string     `json:"purpose,omitempty"`
	Status  string     `json:"status"` // active, suspended, retired, revoked
	Source  string     `json:"source"` // config, api
	MaxTTL  string     `json:"max_ttl,omitempty"`
	Created time.Time  `json:"created"`
	Revoked *time.Time `json:"revoked,omitempty"`

	Environment string     `json:"environment,omitempty"`
	Models      []string   `json:"models,omitempty"`  // the only ones that it may use
	Servers     []string   `json:"servers,omitempty"` // the only ones that it may reach
	Expires     *time.Time `json:"expires,omitempty"`
	Since       *time.Time `json:"since,omitempty"` // when its status became that
	LastSeen    *time.Time `json:"last_seen,omitempty"`
	SecretSince *time.Time `json:"secret_since,omitempty"` // none: it has no secret
	OldSecret   bool       `json:"old_secret,omitempty"`   // the secret before is still good
	OldUntil    *time.Time `json:"old_secret_until,omitempty"`
	Keys        []string   `json:"keys,omitempty"` // public ones: algorithm and kid
	JWKSURI     string     `json:"jwks_uri,omitempty"`
}

// NewAgent asks for an agent to be registered.
type NewAgent struct {
	Name    string   `json:"name"`
	Roles   []string `json:"roles"`
	Owner   string   `json:"owner,omitempty"`
	Purpose string   `json:"purpose,omitempty"`
	MaxTTL  string   `json:"max_ttl,omitempty"` // as 1h

	Environment string   `json:"environment,omitempty"`
	Models      []string `json:"models,omitempty"`
	Servers     []string `json:"servers,omitempty"`
	Expires     string   `json:"expires,omitempty"` // as 2027-01-31T18:00:00Z
	Keys        string   `json:"keys,omitempty"`    // a JWK Set or PEM; then it gets no secret
	JWKSURI     string   `json:"jwks_uri,omitempty"`
}

// AgentChange is what of an agent is to be otherwise: what is not there stays.
type AgentChange struct {
	Roles       *[]string `json:"roles,omitempty"`
	Owner       *string   `json:"owner,omitempty"`
	Purpose     *string   `json:"purpose,omitempty"`
	MaxTTL      *string   `json:"max_ttl,omitempty"`
	Environment *string   `json:"environment,omitempty"`
	Models      *[]string `json:"models,omitempty"`
	Servers     *[]string `json:"servers,omitempty"`
	Expires     *string   `json:"expires,omitempty"` // "" for never
	Keys        *string   `json:"keys,omitempty"`
	JWKSURI     *string   `json:"jwks_uri,omitempty"`
	By          string    `json:"by,omitempty"` // user:ana; the admin, if it is left away
}

// A Step is a change that needs no more than who makes it.
type Step struct {
	By string `json:"by,omitempty"` // user:ana; the admin, if it is left away
}

// A Rotation asks for a new secret.
type Rotation struct {
	Overlap string `json:"overlap,omitempty"` // that the old one stays good for, as 24h; none: it is over at once
	By      string `json:"by,omitempty"`
}

// A User is a person that the registry knows.
type User struct {
	Name      string     `json:"name"` // user:ana
	Status    string     `json:"status"`
	Email     string     `json:"email,omitempty"`
	Groups    []string   `json:"groups"`
	Source    string     `json:"source"` // config, api, login
	Issuer    string     `json:"issuer,omitempty"`
	Subject   string     `json:"subject,omitempty"`
	Created   time.Time  `json:"created"`
	Since     *time.Time `json:"since,omitempty"` // when its status became that
	LastLogin *time.Time `json:"last_login,omitempty"`
	Agents    []string   `json:"agents,omitempty"` // that nobody would answer for without the user; of one user only
}

// A Group is a group and the active users in it.
type Group struct {
	Name    string   `json:"name"` // group:finance
	Purpose string   `json:"purpose,omitempty"`
	Members []string `json:"members"`
}

// A Leave asks for somebody to be offboarded.
type Leave struct {
	DryRun bool   `json:"dry_run,omitempty"` // only tell what would be
	By     string `json:"by,omitempty"`
}

// An Offboarding is what came of it.
type Offboarding struct {
	User   string   `json:"user"`
	Status string   `json:"status"`
	Agents []string `json:"agents"` // suspended, or that would be
	DryRun bool     `json:"dry_run,omitempty"`
}

// Credentials are what an agent gets tokens with. They are told once.
type Credentials struct {
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
}

// NewToken asks for an access token.
type NewToken struct {
	TTL      string          `json:"ttl,omitempty"`  // as 15m; the gate's default if empty
	From     string          `json:"from,omitempty"` // for whom the agent acts: another agent's name, or its access token
	Scope    string          `json:"scope,omitempty"`
	Resource string          `json:"resource,omitempty"`
	Run      string          `json:"run,omitempty"`
	Details  json.RawMessage `json:"authorization_details,omitempty"`
}

// Token is an access token, as RFC 6749 answers it.
type Token struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"` // seconds
	Grant       string `json:"grant"`      // the record of what it allows

	Scope   string         `json:"scope,omitempty"`
	Details []identity.Cap `json:"authorization_details,omitempty"`
}

// A Server is the state of an MCP server.
type Server struct {
	Name    string   `json:"name"`
	Reach   string   `json:"reach"` // the command's program, or the URL
	State   string   `json:"state"` // ready, unavailable
	Version string   `json:"version,omitempty"`
	Tools   []string `json:"tools,omitempty"` // that may be used
	Held    []string `json:"held,omitempty"`  // tools that are withheld; see Pin
	Error   string   `json:"error,omitempty"`

	Labels map[string]ToolLabels `json:"labels,omitempty"` // of Tools

	Breaker  string `json:"breaker"`   // closed, open (it is left alone), probing
	InFlight int    `json:"in_flight"` // requests
	Waiting  int    `json:"waiting"`   // requests for which there is no room yet
	Restarts uint64 `json:"restarts"`  // of its process, or stream

	Identity   string     `json:"identity"` // server:<name>, in policies and records
	Owner      string     `json:"owner,omitempty"`
	Purpose    string     `json:"purpose,omitempty"`
	Credential string     `json:"credential"` // what callgate shows it: none, environment, headers, oauth and whose
	LastSeen   *time.Time `json:"last_seen,omitempty"`
}

// ToolLabels are how a tool is labelled.
type ToolLabels struct {
	Reads   []string `json:"reads,omitempty"`
	Trusted bool     `json:"trusted,omitempty"`
	Acts    bool     `json:"acts,omitempty"`
	To      []string `json:"to,omitempty"`
	Object  []string `json:"object,omitempty"`
	Guessed bool     `json:"guessed,omitempty"` // from its name and definition: nobody has said it
}

// A Pin is what an MCP server is held to, of one thing that it says of itself.
type Pin struct {
	Server   string        `json:"server"`
	View     string        `json:"view,omitempty"`
	Kind     string        `json:"kind"` // tool, prompt, template, resource, instructions
	Name     string        `json:"name"`
	State    string        `json:"state"`            // pinned, changed, quarantined, unusable
	SHA256   string        `json:"sha256,omitempty"` // of what was accepted
	Since    *time.Time    `json:"since,omitempty"`  // when it was accepted
	By       string        `json:"by,omitempty"`     // first-use, lock, open, user:ana
	Note     string        `json:"note,omitempty"`
	Findings []mcp.Finding `json:"findings,omitempty"`
	Pending  *PendingPin   `json:"pending,omitempty"`
}

// A PendingPin is what the server says now, and is withheld.
type PendingPin struct {
	SHA256     string        `json:"sha256"`
	Seen       time.Time     `json:"seen"`
	Why        string        `json:"why"` // changed, new, found, unlocked
	Grade      mcp.Grade     `json:"grade"`
	Like       string        `json:"like,omitempty"` // one that is gone, and was the same by another name
	Changes    []mcp.Change  `json:"changes,omitempty"`
	Findings   []mcp.Finding `json:"findings,omitempty"`
	Definition string        `json:"definition"` // as it came
}

// NewAcceptance accepts what is withheld.
type NewAcceptance struct {
	Server string `json:"server"`
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	SHA256 string `json:"sha256"` // of the definition that was seen
	By     string `json:"by"`     // user:ana
	Note   string `json:"note,omitempty"`
}

// NewLogin asks for a login at an MCP server to begin. Whose it is is the gate's
// own, an agent's or a user's, as the server is configured.
type NewLogin struct {
	Agent  string   `json:"agent,omitempty"`
	User   string   `json:"user,omitempty"`
	Scopes []string `json:"scopes,omitempty"` // besides those that the server needs
}

// OldLogin says which logins at an MCP server are to end.
type OldLogin struct {
	Agent string `json:"agent,omitempty"`
	User  string `json:"user,omitempty"`
	All   bool   `json:"all,omitempty"`
}

// A Login is one at an MCP server.
type Login struct {
	ID      string    `json:"id"`
	Server  string    `json:"server"`
	Holder  string    `json:"holder"`        // gate, agent:<name>, user:<name>
	State   string    `json:"state"`         // waiting, done, failed
	URL     string    `json:"url,omitempty"` // where the person logs in, while it is waiting
	Issuer  string    `json:"issuer"`        // the authorization server
	Scopes  []string  `json:"scopes"`
	Reason  string    `json:"reason,omitempty"`
	Expires time.Time `json:"expires,omitzero"` // the login while it is waiting, then the token
}

// A PolicyVersion is a policy that was in force, or sent in, once.
type PolicyVersion struct {
	Version   int64        `json:"version"`
	Digest    string       `json:"digest"` // as records name it
	Author    string       `json:"author"`
	Comment   string       `json:"comment,omitempty"`
	Created   time.Time    `json:"created"`
	Active    bool         `json:"active"`
	Candidate bool         `json:"candidate"`
	Activated []Activation `json:"activated"`       // each time it came into force
	Files     []PolicyFile `json:"files,omitempty"` // where one version was asked for
}

// An Activation is when a version came into force, and by whom.
type Activation struct {
	At      time.Time `json:"at"`
	By      string    `json:"by"`
	Comment string    `json:"comment,omitempty"`
}

// A PolicyFile is a file of a policy.
type PolicyFile struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// NewPolicy sends a policy in.
type NewPolicy struct {
	Files    []PolicyFile `json:"files"`
	Author   string       `json:"author"` // user:ana
	Comment  string       `json:"comment,omitempty"`
	Activate bool         `json:"activate"`
}

// NewAct does something with a version of the policy.
type NewAct struct {
	By      string `json:"by"` // user:ana
	Comment string `json:"comment,omitempty"`
}

// An Approval is a call that people have to decide about, or have.
type Approval struct {
	ID         string              `json:"id"`
	State      string              `json:"state"` // asked, granted, denied, used, expired
	Call       string              `json:"call"`  // that first asked
	Run        string              `json:"run"`
	Tenant     string              `json:"tenant"`
	Agent      string              `json:"agent"`
	Subject    string              `json:"subject"` // on whose behalf; the agent itself if it acts alone
	Actors     []string            `json:"actors,omitempty"`
	Action     string              `json:"action"`               // in the words of the policy: call
	Object     string              `json:"object"`               // tool:shop/refund
	Definition string              `json:"definition,omitempty"` // SHA-256 of what the tool's server said of it
	Args       json.RawMessage     `json:"args,omitempty"`       // after masking; absent when larger than 8 KiB
	Labels     []string            `json:"labels,omitempty"`     // of what the run had read
	Evidence   []firewall.Evidence `json:"evidence,omitempty"`   // from where the values come that it acts on
	Policy     string              `json:"policy"`
	Rule       string              `json:"rule"`
	Reason     string              `json:"reason"`
	Groups     []string            `json:"groups"` // each of which must agree
	Votes      []firewall.Vote     `json:"votes"`
	Asked      time.Time           `json:"asked"`
	Expires    time.Time           `json:"expires"`
	UsedBy     string              `json:"used_by,omitempty"` // id of the call that was made with it
}

// NewVote decides about an approval.
type NewVote struct {
	Decision string `json:"decision"` // approve, deny
	By       string `json:"by"`       // user:ana
	Note     string `json:"note,omitempty"`
}

// Reloaded is what a reload changed.
type Reloaded struct {
	Changes []string `json:"changes"` // in words; empty when nothing differed
	Restart []string `json:"restart"` // keys that differ and wait for a restart
}

// Status is the state of the gate.
type Status struct {
	Version       string    `json:"version"`
	Started       time.Time `json:"started"`
	PublicURL     string    `json:"public_url"`
	Config        string    `json:"config,omitempty"`    // the file, "" if there is none
	Policy        string    `json:"policy"`              // digest
	PolicyVersion int64     `json:"policy_version"`      // 0 if it was never stored
	PolicyBy      string    `json:"policy_by,omitempty"` // who activated it
	Engine        string    `json:"policy_engine"`       // index, or casbin where the model is another than the built-in one
	ByCasbin      uint64    `json:"decisions_by_casbin,omitempty"`
	Candidate     int64     `json:"candidate,omitempty"`           // version that is rehearsed
	Rehearsed     uint64    `json:"decisions_rehearsed,omitempty"` // by it
	Otherwise     uint64    `json:"decisions_otherwise,omitempty"` // of them; each is on record
	Agents        int       `json:"agents"`
	Providers     []string  `json:"providers"`
	Servers       []Server  `json:"mcp_servers"`        // without their tools
	Head          uint64    `json:"ledger_head"`        // records that are durable
	Indexed       uint64    `json:"indexed"`            // of them in the index
	Checked       uint64    `json:"decisions_checked"`  // with Casbin itself, since the start
	Differed      uint64    `json:"decisions_differed"` // of them; each is on record
	Exports       []Export  `json:"exports,omitempty"`
	Window        string    `json:"audit_window,omitempty"`
	Ready         bool      `json:"ready"`
	Reasons       []string  `json:"reasons,omitempty"` // why it is not ready
}

// An Export is how far the record is told elsewhere.
type Export struct {
	Name  string `json:"name"`
	Lag   uint64 `json:"lag"`             // records that are not told yet
	Wrong string `json:"wrong,omitempty"` // why nothing gets through, at the moment
}
