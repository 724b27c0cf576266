package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"callgate/firewall"
)

// Counts keeps what limits have counted. It is a [firewall.CountStore].
type Counts struct{ db *sql.DB }

// Counts is where counts are kept.
func (d *DB) Counts() *Counts { return &Counts{d.state} }

// Counts implements [firewall.CountStore].
func (s *Counts) Counts(ctx context.Context) ([]firewall.Count, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT name, window_us, used FROM counts ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("read counts: %w", err)
	}
	defer rows.Close()
	var list []firewall.Count
	for rows.Next() {
		var c firewall.Count
		var window int64
		var used string
		if err := rows.Scan(&c.Name, &window, &used); err != nil {
			return nil, fmt.Errorf("read counts: %w", err)
		}
		if err := json.Unmarshal([]byte(used), &c.Used); err != nil {
			return nil, fmt.Errorf("read count %q: %w", c.Name, err)
		}
		c.Window = time.Duration(window) * time.Microsecond
		list = append(list, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read counts: %w", err)
	}
	return list, nil
}

// PutCounts implements [firewall.CountStore].
func (s *Counts) PutCounts(ctx context.Context, counts []firewall.Count) error {
	return within(ctx, s.db, func(tx *sql.Tx) error {
		for _, c := range counts {
			used, err := json.Marshal(c.Used)
			switch {
			case err != nil:
			case len(c.Used) == 0:
				_, err = tx.ExecContext(ctx, `DELETE FROM counts WHERE name = $1`, c.Name)
			default:
				_, err = tx.ExecContext(ctx, `
					INSERT INTO counts (name, window_us, used) VALUES ($1, $2, $3)
					ON CONFLICT (name) DO UPDATE SET window_us = excluded.window_us, used = excluded.used`,
					c.Name, c.Window.Microseconds(), string(used))
			}
			if err != nil {
				return fmt.Errorf("store count %q: %w", c.Name, err)
			}
		}
		return nil
	})
}
