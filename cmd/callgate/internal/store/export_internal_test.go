package store

import "callgate/audit"

// Compiled is the condition and values that a question becomes, for tests of databases
// that no index is in yet.
func Compiled(w *audit.Where, postgres bool, began int64) (condition string, values []any, exact bool) {
	c := compiler{w: new(where), columns: callFields, began: began, exact: true}
	if postgres {
		c.dialect = postgresDialect
	}
	condition = c.term(w.Root())
	return condition, c.w.values, c.exact
}
