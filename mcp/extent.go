package mcp

import (
	"errors"
	"fmt"
)

// What a schema may hold, because the library takes time with the square of it.
const (
	maxParts    = 4096 // schemas within it, or what could be one
	maxRefs     = 512
	maxPatterns = 256
)

// extent is how much a schema holds.
type extent struct{ parts, refs, patterns int }

// measure counts what v holds, and says when it is too much.
func (e *extent) measure(v any) error {
	switch v := v.(type) {
	case bool:
		e.parts++
	case []any:
		for _, item := range v {
			if err := e.measure(item); err != nil {
				return err
			}
		}
	case map[string]any:
		e.parts++
		for name, item := range v {
			switch name {
			case "$ref":
				e.refs++
			case "pattern":
				if err := e.pattern(item); err != nil {
					return err
				}
			case "patternProperties":
				if of, ok := item.(map[string]any); ok {
					for text := range of {
						if err := e.pattern(text); err != nil {
							return err
						}
					}
				}
			}
			if err := e.measure(item); err != nil {
				return err
			}
		}
	}
	if e.parts > maxParts || e.refs > maxRefs {
		return fmt.Errorf("has more than %d parts or %d references", maxParts, maxRefs)
	}
	return nil
}

func (e *extent) pattern(v any) error {
	text, ok := v.(string)
	if !ok {
		return nil
	}
	if e.patterns++; e.patterns > maxPatterns || len(text) > maxPatternLen {
		return fmt.Errorf("has more than %d patterns, or one of more than %d bytes", maxPatterns, maxPatternLen)
	}
	if programSize(text) > maxProgram {
		return errors.New("has a pattern that is too large")
	}
	return nil
}
