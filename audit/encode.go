package audit

import (
	"errors"
	"strconv"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// MaxRecord is the most bytes that one record may take as JSON. A log refuses
// larger ones.
const MaxRecord = 1 << 20

// maxArgs is the most bytes of arguments that are looked into.
const maxArgs = 64 << 10

var errTooLarge = errors.New("record is larger than " + strconv.Itoa(MaxRecord) + " bytes as JSON")

// appendJSON appends r as encoding/json would write it without escaping for HTML,
// in a fraction of the time, since every call waits for it. Arguments are
// appended as they are. Those that are no JSON, which a model may well ask for,
// become a JSON string.
func appendJSON(b []byte, r *Record) []byte {
	b = append(b, `{"type":`...)
	b = appendText(b, string(r.Type))
	b = append(b, `,"at_us":`...)
	b = strconv.AppendInt(b, r.At, 10)
	b = text(b, `,"call":`, r.Call)

	b = text(b, `,"tenant":`, r.Tenant)
	b = text(b, `,"agent":`, r.Agent)
	b = text(b, `,"subject":`, r.Subject)
	b = texts(b, `,"actors":`, r.Actors)
	b = text(b, `,"token":`, r.Token)
	b = text(b, `,"grant":`, r.Grant)
	b = text(b, `,"txn":`, r.Txn)
	b = text(b, `,"run":`, r.Run)
	b = text(b, `,"chain":`, r.Chain)
	b = text(b, `,"session":`, r.Session)
	b = text(b, `,"thread":`, r.Thread)

	b = text(b, `,"kind":`, r.Kind)
	b = text(b, `,"target":`, r.Target)
	b = text(b, `,"method":`, r.Method)
	b = text(b, `,"resource":`, r.Resource)
	b = args(b, r.Args)
	b = text(b, `,"args_hash":`, r.ArgsHash)
	b = number(b, `,"bytes":`, r.Bytes)
	b = number(b, `,"unjudged":`, r.Unjudged)
	b = list(b, `,"links":`, r.Links, appendLink)
	b = appendPayload(b, `,"sent":`, r.Sent)
	b = appendPayload(b, `,"got":`, r.Got)
	b = texts(b, `,"signals":`, r.Signals)
	b = list(b, `,"drift":`, r.Drift, appendDeparture)
	if r.Env != nil {
		b = appendEnv(append(b, `,"env":`...), r.Env)
	}

	b = text(b, `,"effect":`, r.Effect)
	b = text(b, `,"rule":`, r.Rule)
	b = text(b, `,"reason":`, r.Reason)
	b = text(b, `,"policy":`, r.Policy)
	b = texts(b, `,"obligations":`, r.Obligations)
	if r.Otherwise != nil {
		b = appendOtherwise(append(b, `,"otherwise":`...), r.Otherwise)
	}
	b = text(b, `,"approval":`, r.Approval)
	b = list(b, `,"findings":`, r.Findings, appendFinding)
	b = list(b, `,"checks":`, r.Checks, appendCheck)

	b = text(b, `,"outcome":`, r.Outcome)
	b = text(b, `,"fault":`, r.Fault)
	b = number(b, `,"took_us":`, r.TookUS)
	if r.Usage != nil {
		b = appendUsage(append(b, `,"usage":`...), r.Usage)
	}
	b = amount(b, `,"cost_microusd":`, r.Cost)
	b = texts(b, `,"labels":`, r.Labels)
	b = text(b, `,"credential":`, r.Credential)
	if r.Cached {
		b = append(b, `,"cached":true`...)
	}
	b = texts(b, `,"lossy":`, r.Lossy)
	b = list(b, `,"attempts":`, r.Attempts, appendAttempt)
	if r.Proposal != nil {
		b = appendProposal(append(b, `,"proposal":`...), r.Proposal)
	}

	b = text(b, `,"what":`, r.What)
	b = text(b, `,"by":`, r.By)
	b = text(b, `,"name":`, r.Name)
	b = text(b, `,"state":`, r.State)
	if r.Acts {
		b = append(b, `,"acts":true`...)
	}
	return append(b, '}')
}

func appendPayload(b []byte, name string, p *Payload) []byte {
	if p == nil {
		return b
	}
	b = strconv.AppendUint(append(append(b, name...), `{"at":`...), p.At, 10)
	b = strconv.AppendUint(append(b, `,"block":`...), uint64(p.Block), 10)
	b = strconv.AppendInt(append(b, `,"size":`...), p.Size, 10)
	b = appendText(append(b, `,"digest":`...), p.Digest)
	b = strconv.AppendBool(append(b, `,"kept":`...), p.Kept)
	if p.Cut {
		b = append(b, `,"cut":true`...)
	}
	return append(b, '}')
}

func appendEnv(b []byte, e *Env) []byte {
	b = append(b, '{')
	begin := len(b)
	b = texts(b, `,"roles":`, e.Roles)
	if len(e.Above) > 0 {
		b = append(b, `,"above":[`...)
		for i, roles := range e.Above {
			if i > 0 {
				b = append(b, ',')
			}
			switch {
			case roles == nil:
				b = append(b, "null"...)
			case len(roles) == 0:
				b = append(b, "[]"...)
			}
			b = texts(b, "", roles)
		}
		b = append(b, ']')
	}
	b = texts(b, `,"hints":`, e.Hints)
	b = texts(b, `,"labels":`, e.Labels)
	b = number(b, `,"tokens":`, e.Tokens)
	b = amount(b, `,"cost_microusd":`, e.Cost)
	b = number(b, `,"calls":`, e.Calls)
	b = number(b, `,"spent_microusd":`, e.Spent)
	b = text(b, `,"ip":`, e.IP)
	b = texts(b, `,"hosts":`, e.Hosts)
	if e.Acts {
		b = append(b, `,"acts":true`...)
	}
	b = text(b, `,"to":`, e.To)
	b = text(b, `,"object":`, e.Object)
	b = text(b, `,"intent":`, e.Intent)
	if len(b) > begin { // without the first comma
		b = append(b[:begin], b[begin+1:]...)
	}
	return append(b, '}')
}

func appendOtherwise(b []byte, o *Otherwise) []byte {
	b = appendText(append(b, `{"policy":`...), o.Policy)
	b = appendText(append(b, `,"effect":`...), o.Effect)
	b = text(b, `,"rule":`, o.Rule)
	b = text(b, `,"reason":`, o.Reason)
	return append(texts(b, `,"obligations":`, o.Obligations), '}')
}

func appendLink(b []byte, l *Link) []byte {
	b = appendText(append(b, `{"from":`...), l.From)
	b = appendText(append(b, `,"kind":`...), l.Kind)
	b = appendText(append(b, `,"method":`...), l.Method)
	b = number(b, `,"conf":`, int64(l.Conf))
	b = text(b, `,"tool_use":`, l.ID)
	b = text(b, `,"to":`, l.To)
	return append(number(b, `,"message":`, int64(l.Message)), '}')
}

func appendDeparture(b []byte, d *Departure) []byte {
	b = appendText(append(b, `{"kind":`...), d.Kind)
	b = appendText(append(b, `,"seen":`...), d.Seen)
	b = text(b, `,"expected":`, d.Expected)
	b = appendText(append(b, `,"by":`...), d.By)
	b = appendText(append(b, `,"action":`...), d.Action)
	return append(text(b, `,"from":`, d.From), '}')
}

func appendAttempt(b []byte, a *Attempt) []byte {
	b = appendText(append(b, `{"target":`...), a.Target)
	b = appendText(append(b, `,"resource":`...), a.Resource)
	b = text(b, `,"fault":`, a.Fault)
	b = text(b, `,"key":`, a.Key)
	b = strconv.AppendInt(append(b, `,"took_us":`...), a.TookUS, 10)
	if a.Usage != nil {
		b = appendUsage(append(b, `,"usage":`...), a.Usage)
	}
	return append(amount(b, `,"cost_microusd":`, a.Cost), '}')
}

func appendFinding(b []byte, f *Finding) []byte {
	b = appendText(append(b, `{"guard":`...), f.Guard)
	b = appendText(append(b, `,"rule":`...), f.Rule)
	b = appendText(append(b, `,"where":`...), f.Where)
	b = appendText(append(b, `,"action":`...), f.Action)
	return append(number(b, `,"count":`, int64(f.Count)), '}')
}

func appendCheck(b []byte, c *Check) []byte {
	b = appendText(append(b, `{"guard":`...), c.Guard)
	b = appendText(append(b, `,"version":`...), c.Version)
	b = strconv.AppendInt(append(b, `,"request":`...), c.Request, 10)
	return append(strconv.AppendInt(append(b, `,"reply":`...), c.Reply, 10), '}')
}

func appendUsage(b []byte, u *Usage) []byte {
	b = strconv.AppendInt(append(b, `{"input":`...), u.Input, 10)
	b = strconv.AppendInt(append(b, `,"output":`...), u.Output, 10)
	b = number(b, `,"cache_read":`, u.CacheRead)
	b = number(b, `,"cache_write":`, u.CacheWrite)
	b = number(b, `,"reasoning":`, u.Reasoning)
	b = number(b, `,"cache_write_hour":`, u.CacheWriteHour)
	b = number(b, `,"audio_in":`, u.AudioIn)
	b = number(b, `,"audio_cached":`, u.AudioCached)
	b = number(b, `,"audio_out":`, u.AudioOut)
	b = number(b, `,"image_in":`, u.ImageIn)
	b = number(b, `,"image_out":`, u.ImageOut)
	b = number(b, `,"images":`, u.Images)
	b = number(b, `,"searches":`, u.Searches)
	b = text(b, `,"tier":`, u.Tier)
	if u.Regional {
		b = append(b, `,"regional":true`...)
	}
	if u.Estimated {
		b = append(b, `,"estimated":true`...)
	}
	return append(text(b, `,"unknown":`, u.Unknown), '}')
}

func appendProposal(b []byte, p *Proposal) []byte {
	if p.ToolUse != "" {
		b = append(appendText(append(b, `{"tool_use":`...), p.ToolUse), ',')
	} else {
		b = append(b, '{')
	}
	b = appendText(append(b, `"name":`...), p.Name)
	b = args(b, p.Args)
	b = text(b, `,"args_hash":`, p.ArgsHash)
	b = text(b, `,"effect":`, p.Effect)
	b = text(b, `,"rule":`, p.Rule)
	return append(text(b, `,"reason":`, p.Reason), '}')
}

// text, number, amount, texts, list and args append a member, or nothing where its value
// is empty.

func text(b []byte, name, v string) []byte {
	if v == "" {
		return b
	}
	return appendText(append(b, name...), v)
}

func number(b []byte, name string, v int64) []byte {
	if v == 0 {
		return b
	}
	return strconv.AppendInt(append(b, name...), v, 10)
}

func amount(b []byte, name string, v *int64) []byte {
	if v == nil {
		return b
	}
	return strconv.AppendInt(append(b, name...), *v, 10)
}

func texts(b []byte, name string, v []string) []byte {
	return list(b, name, v, func(b []byte, s *string) []byte { return appendText(b, *s) })
}

func list[V any](b []byte, name string, v []V, each func([]byte, *V) []byte) []byte {
	if len(v) == 0 {
		return b
	}
	b = append(append(b, name...), '[')
	for i := range v {
		if i > 0 {
			b = append(b, ',')
		}
		b = each(b, &v[i])
	}
	return append(b, ']')
}

func args(b, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	b = append(b, `,"args":`...)
	if len(v) <= maxArgs && gjson.ValidBytes(v) && utf8.Valid(v) {
		return append(b, v...)
	}
	return appendText(b, string(v))
}

const hexDigits = "0123456789abcdef"

// appendText appends s as a JSON string. What is not UTF-8 becomes U+FFFD.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0 // s[from:i] needs no escape
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = append(b, s[from:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\b':
				b = append(b, '\\', 'b')
			case '\f':
				b = append(b, '\\', 'f')
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(append(b, s[from:i]...), `\ufffd`...)
			from = i + n
		case r == '\u2028' || r == '\u2029': // line ends to JavaScript
			b = append(append(b, s[from:i]...), '\\', 'u', '2', '0', '2', hexDigits[r&15])
			from = i + n
		}
		i += n
	}
	return append(append(b, s[from:]...), '"')
}
