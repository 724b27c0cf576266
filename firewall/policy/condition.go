package policy

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"callgate/firewall"

	"github.com/casbin/casbin/v2/util"
	"github.com/casbin/govaluate"
)

// always is the condition of a row without one.
const always = "true"

const maxCondition = 2 << 10 // bytes

// A condition is an expression over r.env, read once. What it says is what
// Casbin makes of the same text: the same parser and the same evaluation, only
// that each attribute is asked for by its whole name.
type condition struct {
	expr *govaluate.EvaluableExpression
	args map[string]sort // arguments that it reads, and what it takes them for
}

// errSort is why a condition fails that meets a value of another sort than it
// was written for. It tells nothing of the value.
var errSort = errors.New("an argument is of another sort than the condition was written for")

// holds evaluates c. The error says nothing of what the facts are.
func (c *condition) holds(f *facts) (holds bool, err error) {
	f.fault = nil
	defer func() {
		if recover() != nil { // such as two objects compared inside a list
			holds, err = false, errSort
		}
	}()
	v, err := c.expr.Eval(f)
	switch {
	case f.fault != nil:
		return false, f.fault
	case err != nil:
		return false, errSort
	}
	holds, ok := v.(bool)
	if !ok {
		return false, errSort
	}
	return holds, nil
}

// parseCondition reads text, strictly: of what govaluate takes, only what is
// sure to mean what it looks like. It answers nil for true.
func parseCondition(src string) (*condition, error) {
	if src == always {
		return nil, nil
	}
	if len(src) > maxCondition {
		return nil, fmt.Errorf("condition longer than %d bytes", maxCondition)
	}
	tokens, err := tokenize(src)
	if err != nil {
		return nil, fmt.Errorf("condition: %w", err)
	}
	g := grammar{tokens: tokens, args: make(map[string]sort)}
	s, err := g.whole()
	if err != nil {
		return nil, fmt.Errorf("condition: %w", err)
	}
	if s != boolean && s != anySort {
		return nil, fmt.Errorf("condition: it is a %s, want something that is true or false", s)
	}
	expr, err := govaluate.NewEvaluableExpressionFromTokens(tokens)
	if err != nil {
		return nil, fmt.Errorf("condition: %w", err)
	}
	c := &condition{expr: expr, args: g.args}
	if g.reads == 0 {
		if ok, err := c.holds(&facts{}); err != nil || !ok {
			return nil, errors.New("condition: it reads nothing of the call and is never true")
		}
	}
	return c, nil
}

// tokenize reads src as Casbin does. Casbin first writes r.env as r_env, with an
// eye for signs and none for quotes, so texts that this would change are refused.
func tokenize(src string) (tokens []govaluate.ExpressionToken, err error) {
	defer func() {
		if recover() != nil { // the parser's own, such as for x in ()
			tokens, err = nil, errors.New("it cannot be read; a list or a side of a sign is empty")
		}
	}()
	plain, err := govaluate.NewEvaluableExpression(src)
	if err != nil {
		return nil, hint(err)
	}
	expr, err := govaluate.NewEvaluableExpression(util.EscapeAssertion(src))
	if err != nil {
		return nil, hint(err)
	}
	tokens = expr.Tokens()
	if len(tokens) != len(plain.Tokens()) {
		return nil, errors.New("it cannot be read: write spaces around the signs")
	}
	for i, t := range plain.Tokens() {
		if t.Kind == govaluate.STRING && t.Value != tokens[i].Value {
			return nil, fmt.Errorf("the text %s holds r. or p. behind a sign, which Casbin reads as a part of the request: compare with another text", quote(t.Value.(string)))
		}
	}
	return tokens, nil
}

// hint says more where the parser says little.
func hint(err error) error {
	what := strings.TrimSpace(err.Error())
	if strings.HasPrefix(what, "Invalid token") {
		what += "; write spaces between signs"
	}
	return errors.New(what)
}

// grammar walks the tokens of a condition, checks that each stands where it
// means something and that sorts go together, and turns the attributes into
// plain variables. Its levels are those of govaluate.
type grammar struct {
	tokens []govaluate.ExpressionToken
	at     int
	reads  int // attributes
	args   map[string]sort
}

func (g *grammar) whole() (sort, error) {
	s, err := g.or()
	if err == nil && g.at < len(g.tokens) {
		err = fmt.Errorf("%s is out of place", g.shown())
	}
	return s, err
}

// is says whether the next token is of kind, with one of values if there are any.
func (g *grammar) is(kind govaluate.TokenKind, values ...string) bool {
	if g.at >= len(g.tokens) || g.tokens[g.at].Kind != kind {
		return false
	}
	if len(values) == 0 {
		return true
	}
	for _, v := range values {
		if g.tokens[g.at].Value == v {
			return true
		}
	}
	return false
}

// shown is the next token, for a message.
func (g *grammar) shown() string {
	if g.at >= len(g.tokens) {
		return "the end"
	}
	switch t := g.tokens[g.at]; v := t.Value.(type) {
	case rune:
		return string(v)
	case []string:
		return strings.Join(v, ".")
	default:
		return quote(fmt.Sprint(v))
	}
}

func (g *grammar) or() (sort, error)  { return g.logic("||", g.and) }
func (g *grammar) and() (sort, error) { return g.logic("&&", g.comparison) }

func (g *grammar) logic(sign string, side func() (sort, error)) (sort, error) {
	left, err := side()
	for err == nil && g.is(govaluate.LOGICALOP, sign) {
		g.at++
		var right sort
		if right, err = side(); err == nil && (!left.or(boolean) || !right.or(boolean)) {
			err = fmt.Errorf("%s joins conditions, not a %s and a %s", sign, left, right)
		}
		left = boolean
	}
	return left, err
}

// or says whether a value of sort s may be a t.
func (s sort) or(t sort) bool { return s == t || s == anySort }

func (g *grammar) comparison() (sort, error) {
	begin := g.at
	left, err := g.sum()
	if err != nil || !g.is(govaluate.COMPARATOR) {
		return left, err
	}
	sign := g.tokens[g.at].Value.(string)
	middle := g.at
	g.at++
	if sign == "in" {
		return boolean, g.in(left)
	}
	right, err := g.sum()
	g.takes(begin, middle, right)
	g.takes(middle+1, g.at, left)
	switch {
	case err != nil:
		return 0, err
	case g.is(govaluate.COMPARATOR):
		return 0, errors.New("comparisons do not chain: join two with &&")
	case sign == "=~" || sign == "!~":
		return 0, errors.New("a policy has no regular expressions: compare with == or in")
	case left != anySort && right != anySort && left != right:
		return 0, fmt.Errorf("%s compares a %s with a %s, which is never what is meant", sign, left, right)
	case sign != "==" && sign != "!=" && (left == boolean || right == boolean):
		return 0, fmt.Errorf("%s compares numbers or texts", sign)
	}
	return boolean, nil
}

// takes notes that what stands from one token to another is taken for a value of
// sort s, if that is an argument alone.
func (g *grammar) takes(from, to int, s sort) {
	if to != from+1 || s == anySort {
		return
	}
	if name, ok := g.tokens[from].Value.(string); ok && g.tokens[from].Kind == govaluate.VARIABLE {
		if path, ok := strings.CutPrefix(name, "args."); ok {
			g.args[path] = s
		}
	}
}

// in reads what stands behind in: a list of literals, or an argument that is one.
func (g *grammar) in(left sort) error {
	if g.is(govaluate.ACCESSOR) {
		label := ""
		if g.at >= 2 && g.tokens[g.at-2].Kind == govaluate.STRING {
			label = g.tokens[g.at-2].Value.(string)
		}
		right, err := g.primary()
		if err == nil && right == list {
			return labelled(left, label)
		}
		if err == nil && right != anySort {
			err = fmt.Errorf("in wants a list such as ('a', 'b') or an argument that is one, not a %s", right)
		}
		return err
	}
	if !g.is(govaluate.CLAUSE) {
		return errors.New("in wants a list such as ('a', 'b') or an argument that is one")
	}
	g.at++
	for n := 1; ; n++ {
		signed := g.is(govaluate.PREFIX, "-")
		if signed {
			g.at++
		}
		if !g.is(govaluate.NUMERIC) && (signed || !g.is(govaluate.STRING)) {
			if g.is(govaluate.TIME) {
				_, err := g.primary()
				return err
			}
			return fmt.Errorf("a list holds numbers or texts, not %s", g.shown())
		}
		s, err := g.primary()
		if err != nil {
			return err
		}
		if left != anySort && left != s {
			return fmt.Errorf("a %s is never in a list with a %s", left, s)
		}
		switch {
		case g.is(govaluate.SEPARATOR):
			g.at++
		case g.is(govaluate.CLAUSE_CLOSE):
			g.at++
			if n == 1 && signed {
				return errors.New("a list of one negative number: write ==")
			}
			return nil
		default:
			return fmt.Errorf("a list is closed with ), not %s", g.shown())
		}
	}
}

// labelled checks what is looked for among labels: a word that none of them is
// would never be found.
func labelled(s sort, word string) error {
	if _, ok := firewall.ParseLabel(word); s == text && !ok {
		return fmt.Errorf("%s is no label: labels are 'untrusted', 'private' and 'secret'", quote(word))
	}
	if s != text {
		return errors.New("labels are 'untrusted', 'private' and 'secret'")
	}
	return nil
}

func (g *grammar) sum() (sort, error)  { return g.arithmetic(g.term, "+", "-") }
func (g *grammar) term() (sort, error) { return g.arithmetic(g.unary, "*", "/", "%") }

func (g *grammar) arithmetic(side func() (sort, error), signs ...string) (sort, error) {
	left, err := side()
	for err == nil && g.is(govaluate.MODIFIER, signs...) {
		sign := g.tokens[g.at].Value
		g.at++
		var right sort
		if right, err = side(); err == nil && (!left.or(number) || !right.or(number)) {
			err = fmt.Errorf("%s takes numbers, not a %s and a %s; a name with - in it cannot be read", sign, left, right)
		}
		left = number
	}
	return left, err
}

func (g *grammar) unary() (sort, error) {
	want := boolean
	switch {
	case g.is(govaluate.PREFIX, "-"):
		want = number
	case g.is(govaluate.PREFIX, "!"):
	default:
		return g.primary()
	}
	sign := g.tokens[g.at].Value
	g.at++
	s, err := g.primary()
	if err == nil && !s.or(want) {
		err = fmt.Errorf("%s stands before a %s, not a %s", sign, want, s)
	}
	return want, err
}

func (g *grammar) primary() (sort, error) {
	if g.at >= len(g.tokens) {
		return 0, errors.New("it ends too early")
	}
	t := &g.tokens[g.at]
	switch t.Kind {
	case govaluate.BOOLEAN:
		g.at++
		return boolean, nil
	case govaluate.STRING:
		g.at++
		return text, nil
	case govaluate.NUMERIC:
		if n := t.Value.(float64); math.Abs(n) > 1<<53 {
			return 0, fmt.Errorf("the number %v is beyond 2^53, where two numbers can be equal that are not", n)
		}
		g.at++
		return number, nil
	case govaluate.TIME:
		return 0, errors.New("a text that looks like a date is read as a time, which no argument is: compare r.env.time.unix, or another text")
	case govaluate.CLAUSE:
		g.at++
		s, err := g.or()
		if err == nil && !g.is(govaluate.CLAUSE_CLOSE) {
			err = fmt.Errorf("want ), not %s", g.shown())
		}
		g.at++
		return s, err
	case govaluate.ACCESSOR:
		return g.attribute(t)
	case govaluate.VARIABLE:
		return 0, fmt.Errorf("%s means nothing here: attributes begin with r.env., texts stand in single quotes", g.shown())
	}
	return 0, fmt.Errorf("%s is out of place", g.shown())
}

// attribute checks that t names one, and makes it a variable of that name.
func (g *grammar) attribute(t *govaluate.ExpressionToken) (sort, error) {
	path := t.Value.([]string)
	switch {
	case path[0] == "r":
		return 0, fmt.Errorf("write a space or a ( before %s", g.shown())
	case path[0] != "r_env" || len(path) == 1:
		return 0, fmt.Errorf("unknown attribute %s: attributes begin with r.env., texts stand in single quotes", strings.Replace(g.shown(), "r_", "r.", 1))
	}
	name := strings.Join(path[1:], ".")
	s, err := checkAttribute(name)
	if err != nil {
		return 0, err
	}
	*t = govaluate.ExpressionToken{Kind: govaluate.VARIABLE, Value: name}
	g.at++
	if path, ok := strings.CutPrefix(name, "args."); ok && g.args[path] == anySort {
		g.args[path] = anySort
	}
	g.reads++
	return s, nil
}
