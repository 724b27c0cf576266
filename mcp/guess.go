package mcp

import (
	"slices"
	"strings"

	"callgate/firewall"

	"github.com/tidwall/gjson"
)

// A Guessed is what may be thought of a tool that nobody has labelled. It errs on the side
// of care: what is no lookup by its name acts, and all that it answers anybody may have
// written.
type Guessed struct {
	Acting *firewall.Acting // nil: it only reads
	Labels firewall.Labels
}

// lookups are words that names of tools begin with which only read.
var lookups = strings.Fields(`get list read search find fetch view show describe query lookup look count check browse open inspect explain summarize analyze compare calculate convert translate validate preview status info help whoami who what when where current is has can`)

// parties and things are what arguments are called that say for whom, and on what.
var (
	parties = strings.Fields(`to cc bcc recipient recipients receiver payee beneficiary email emails address addresses attendee attendees participant participants guest guests invitee invitees user users username member members channel channels iban account recipient_id user_id phone number url webhook endpoint destination target_url assignee reviewer reviewers share_with group team`)
	things  = strings.Fields(`id ids path paths file filename file_path uri name title key resource object repo repository branch event_id email_id message_id file_id page_id issue_id order_id ticket_id booking_id transaction_id`)
)

// Guess is what the name and the definition of a tool let one think of it. def may be nil.
func Guess(name string, def *Definition) Guessed {
	g := Guessed{Labels: firewall.Untrusted}
	first, _, _ := strings.Cut(strings.ToLower(name), "_")
	first, _, _ = strings.Cut(first, "-")
	if i := strings.IndexFunc(name, func(r rune) bool { return 'A' <= r && r <= 'Z' }); i > 0 {
		first = strings.ToLower(name[:i])
	}
	reads := slices.Contains(lookups, first)
	var d gjson.Result
	if def != nil {
		d = gjson.ParseBytes(def.Raw)
		if def.Impact&firewall.Declared != 0 { // a trusted server's word
			reads = def.Impact&firewall.ReadOnly != 0
		}
	}
	if reads {
		return g
	}
	g.Acting = new(firewall.Acting)
	d.Get("inputSchema.properties").ForEach(func(key, _ gjson.Result) bool {
		arg := strings.ToLower(key.Str)
		switch {
		case slices.Contains(parties, arg):
			g.Acting.To = append(g.Acting.To, key.Str)
		case slices.Contains(things, arg), strings.HasSuffix(arg, "_id"), strings.HasSuffix(arg, "_ids"), strings.HasSuffix(key.Str, "Id"):
			g.Acting.Object = append(g.Acting.Object, key.Str)
		}
		return true
	})
	return g
}

// A Labelling is how a tool is labelled.
type Labelling struct {
	Labels  firewall.Labels
	Trusted bool
	Acting  *firewall.Acting
	Guessed bool // nobody has said it
}

// Labelling is how the tool of d is labelled, by what the operator says, or else by what
// can be guessed: that counts where the policy asks from where values come.
func (s *Server) Labelling(d *Definition) Labelling {
	own := s.cfg.Tools[d.Name]
	if own.labelled() {
		call := firewall.Call{Kind: firewall.Tool, Resource: d.Name}
		return Labelling{s.brings(&call), own.Trusted, own.Acting, false}
	}
	g := Guess(d.Name, d)
	if s.cfg.Labels != 0 {
		g.Labels = s.cfg.Labels
	}
	return Labelling{g.Labels, false, g.Acting, true}
}
