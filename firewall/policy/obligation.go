package policy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"callgate/firewall"
)

// duty is what a p2 row asks for.
type duty firewall.Obligation

// join adds the duty, which is asked of those hops of a chain, to a decision that
// allows. The first that asks for an approval explains.
func (o *duty) join(d *firewall.Decision, hops uint64) {
	asked := firewall.Obligation(*o)
	asked.Hops = hops
	d.Obligations = append(d.Obligations, asked)
	if o.Do == firewall.RequireApproval && d.Effect == firewall.Allow {
		d.Effect, d.Rule = firewall.Ask, o.Rule
		d.Reason = "rule " + o.Rule + " asks that someone of " + o.With + " approves this call first"
	}
}

const obligationNames = "require_approval:group:NAME, redact:args.PATH;result.PATH, limit:calls=N/DURATION, limit:concurrent=N or flag:NAME"

// parseObligation reads what a p2 row, whose id is given, asks for.
func parseObligation(s, id string) (firewall.Obligation, error) {
	do, with, _ := strings.Cut(s, ":")
	o := firewall.Obligation{Do: do, With: with, Rule: id}
	var err error
	switch do {
	case firewall.RequireApproval:
		if !strings.HasPrefix(with, "group:") || checkSubject(with) != nil {
			err = errors.New("write require_approval:group:NAME")
		}
	case firewall.Redact:
		err = checkRedact(with)
	case firewall.Flag:
		if with == "" || len(with) > 64 || strings.ContainsFunc(with, func(r rune) bool { return r != '-' && notInName(r) }) {
			err = errors.New("write flag:NAME, with letters, digits and -")
		}
	case firewall.LimitTo:
		o.Limit, err = parseLimit(with)
	default:
		return firewall.Obligation{}, fmt.Errorf("unknown obligation %s: write %s", quote(s), obligationNames)
	}
	if err != nil {
		return firewall.Obligation{}, fmt.Errorf("obligation %s: %w", quote(s), err)
	}
	return o, nil
}

// checkRedact checks paths as redact: has them.
func checkRedact(with string) error {
	for path := range strings.SplitSeq(with, ";") {
		side, rest, _ := strings.Cut(path, ".")
		switch {
		case side != "args" && side != "result" || rest == "":
			return errors.New("write redact:args.PATH;result.PATH, as many paths as you need")
		case strings.Contains("."+rest+".", "..") || strings.ContainsFunc(rest, func(r rune) bool { return r != '-' && notInName(r) }):
			return fmt.Errorf("%s: a path holds names of letters, digits, _ and -, with a . between them", quote(path))
		}
	}
	return nil
}

const maxWindow = 366 * 24 * time.Hour

// parseLimit reads a limit: what is counted, how much of it is allowed within
// how long, and for whom it is counted together.
func parseLimit(s string) (firewall.Limit, error) {
	var l firewall.Limit
	said, per, more := strings.Cut(s, ";")
	measure, amount, _ := strings.Cut(said, "=")
	number, window, windowed := strings.Cut(amount, "/")
	n, err := strconv.ParseFloat(number, 64)
	switch l.Of = measure; {
	case measure != firewall.Calls && measure != firewall.Concurrent && measure != firewall.Tokens && measure != firewall.USD:
		return l, errors.New("a limit counts calls, concurrent, tokens or usd: write limit:calls=5/1h, limit:concurrent=5, limit:tokens=100000/24h or limit:usd=2.50/24h")
	case err != nil || !(n > 0) || n > 1e12:
		return l, fmt.Errorf("%s is no amount above 0: write limit:%s=5%s", quote(number), measure, map[bool]string{false: "/1h"}[measure == firewall.Concurrent])
	case measure == firewall.Concurrent && windowed:
		return l, errors.New("what is under way at once has no length of time: write limit:concurrent=5")
	case measure == firewall.USD:
		l.Amount = int64(n*1e6 + 0.5)
	case n != float64(int64(n)):
		return l, fmt.Errorf("%s of %s: want a whole number", quote(number), measure)
	default:
		l.Amount = int64(n)
	}
	if l.Amount == 0 {
		return l, fmt.Errorf("%s is less than can be counted", quote(number))
	}
	if measure != firewall.Concurrent {
		if l.Window, err = parseWindow(window); err != nil {
			return l, err
		}
	}
	l.Per = firewall.PerAgent
	if more {
		if l.Per, more = strings.CutPrefix(per, "per="); !more || !firewall.CanLimitPer(l.Per) {
			return l, errors.New("after the ; stands for whom is counted together: per= and " + firewall.Pers)
		}
	}
	return l, nil
}

// parseWindow reads a duration. Days are d, since budgets are by day, and one of
// a unit needs no number: calls=5/h.
func parseWindow(s string) (time.Duration, error) {
	text := s
	if text != "" && strings.Trim(text, "smhd") == "" {
		text = "1" + text
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n < 1000 {
			text = strconv.Itoa(24*n) + "h"
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second || d > maxWindow {
		return 0, fmt.Errorf("%s is no length of time of 1s to 366d: write 1m, 1h or 24h", quote(s))
	}
	return d, nil
}

// owed says whether an obligation can be carried out for objects of a kind.
func owed(o firewall.Obligation, object string) error {
	kind := object[:strings.IndexByte(object, ':')+1]
	switch {
	case o.Do == firewall.Redact && kind != "tool:" && kind != "prompt:" && kind != "resource:" && kind != "class:":
		return fmt.Errorf("redact is for tools, prompts and resources, not for %s objects: guards mask what models read and write", kind)
	case o.Do == firewall.Redact && kind == "resource:" && strings.Contains(";"+o.With, ";args."):
		return errors.New("a resource has no arguments: write redact:result.PATH")
	case o.Do == firewall.LimitTo && (o.Limit.Of == firewall.Tokens || o.Limit.Of == firewall.USD) && kind != "model:" && kind != "class:":
		return fmt.Errorf("only models use tokens and cost money: limit calls of %s objects", kind)
	}
	return nil
}
