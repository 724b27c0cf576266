package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// Pins keeps what MCP servers are held to: documents by keys. It is an
// mcp.PinStore.
type Pins struct{ db *sql.DB }

// Pins is where pins are kept.
func (d *DB) Pins() *Pins { return &Pins{d.state} }

// Pins implements mcp.PinStore.
func (s *Pins) Pins(ctx context.Context) ([]string, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT pin FROM pins ORDER BY key`)
	if err != nil {
		return nil, fmt.Errorf("read pins: %w", err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var doc string
		if err := rows.Scan(&doc); err != nil {
			return nil, fmt.Errorf("read pins: %w", err)
		}
		list = append(list, doc)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read pins: %w", err)
	}
	return list, nil
}

// PutPins implements mcp.PinStore.
func (s *Pins) PutPins(ctx context.Context, docs map[string]string) error {
	err := within(ctx, s.db, func(tx *sql.Tx) error {
		put, err := tx.PrepareContext(ctx, `INSERT INTO pins (key, pin) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET pin = excluded.pin`)
		if err != nil {
			return err
		}
		defer put.Close()
		for key, doc := range docs {
			key = escaped.Replace(key)
			if doc == "" {
				_, err = tx.ExecContext(ctx, `DELETE FROM pins WHERE key = $1`, key)
			} else {
				_, err = put.ExecContext(ctx, key, doc)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store pins: %w", err)
	}
	return nil
}

// escaped is keys as every database takes them: without the character 0.
var escaped = strings.NewReplacer("%", "%25", "\x00", "%00")
