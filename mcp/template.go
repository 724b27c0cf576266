package mcp

import "strings"

// matches says whether uri can come of a URI template (RFC 6570). It takes time
// in proportion to the product of their lengths, whatever a server's template says.
func matches(template, uri string) bool {
	parts, ok := templateParts(template)
	if !ok {
		return false
	}
	// at[i] says that the parts so far can end before uri[i]
	at, next := make([]bool, len(uri)+1), make([]bool, len(uri)+1)
	at[0] = true
	for _, p := range parts {
		clear(next)
		for i, here := range at {
			switch {
			case !here:
			case p.text != "":
				if strings.HasPrefix(uri[i:], p.text) {
					next[i+len(p.text)] = true
				}
			default:
				p.spread(uri, i, next)
			}
		}
		at, next = next, at
	}
	return at[len(uri)]
}

// templatePart is literal text, or an expression.
type templatePart struct {
	text     string
	operator byte // 0, or + # . / ; ? &
}

// spread marks where an expression that begins before uri[from] can end.
func (p templatePart) spread(uri string, from int, ends []bool) {
	i, empty := from, true
	switch p.operator {
	case 0:
		empty = false
	case '+':
	default: // these begin with their own sign, or are not there
		ends[from] = true
		if i == len(uri) || uri[i] != p.operator {
			return
		}
		i++
	}
	stop := "/?#"
	switch p.operator {
	case '+', '#':
		stop = ""
	case '/':
		stop = "?#"
	case '?', '&':
		stop = "#"
	}
	if empty {
		ends[i] = true
	}
	for i < len(uri) && strings.IndexByte(stop, uri[i]) < 0 {
		i++
		if ends[i] && p.operator == '+' {
			return // what lies beyond is marked already
		}
		ends[i] = true
	}
}

// templateParts cuts a template up. A template that is malformed has none.
func templateParts(template string) ([]templatePart, bool) {
	var parts []templatePart
	for template != "" {
		text, rest, found := strings.Cut(template, "{")
		if strings.Contains(text, "}") {
			return nil, false
		}
		if text != "" {
			parts = append(parts, templatePart{text: text})
		}
		if !found {
			break
		}
		expression, after, closed := strings.Cut(rest, "}")
		if !closed || expression == "" {
			return nil, false
		}
		var p templatePart
		if strings.IndexByte("+#./;?&", expression[0]) >= 0 {
			p.operator = expression[0]
		}
		parts, template = append(parts, p), after
	}
	return parts, len(parts) > 0
}
