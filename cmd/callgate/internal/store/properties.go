package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"callgate/firewall"
)

// Properties keeps whose what is is that agents have had made at targets. It is a [firewall.PropertyStore].
type Properties struct{ db *sql.DB }

// Properties is where that is kept: what was made by way of one replica is known to all.
func (d *DB) Properties() *Properties { return &Properties{d.shared} }

// PutProperty implements [firewall.PropertyStore].
func (s *Properties) PutProperty(ctx context.Context, o firewall.Property) error {
	_, err := s.db.ExecContext(ctx, `
		INSERT INTO properties (kind, id, owner, target, model, path, purpose, calls, input, output, until_us)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (kind, id, owner) DO UPDATE SET target = excluded.target, model = excluded.model, path = excluded.path, purpose = excluded.purpose,
			calls = excluded.calls, input = excluded.input, output = excluded.output, until_us = excluded.until_us`,
		o.Kind, o.ID, o.Owner, o.Target, o.Model, o.Path, o.Purpose, o.Calls, o.Input, o.Output, micros(o.Until))
	if err != nil {
		return fmt.Errorf("store %s %s: %w", o.Kind, o.ID, err)
	}
	return nil
}

// Properties implements [firewall.PropertyStore].
func (s *Properties) Properties(ctx context.Context, kind, id string) ([]firewall.Property, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT owner, target, model, path, purpose, calls, input, output, until_us FROM properties WHERE kind = $1 AND id = $2 ORDER BY owner`, kind, id)
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", kind, id, err)
	}
	defer rows.Close()
	var list []firewall.Property
	for rows.Next() {
		o := firewall.Property{Kind: kind, ID: id}
		var until int64
		if err := rows.Scan(&o.Owner, &o.Target, &o.Model, &o.Path, &o.Purpose, &o.Calls, &o.Input, &o.Output, &until); err != nil {
			return nil, fmt.Errorf("read %s %s: %w", kind, id, err)
		}
		o.Until = moment(until)
		list = append(list, o)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read %s %s: %w", kind, id, err)
	}
	return list, nil
}

// DropProperty implements [firewall.PropertyStore].
func (s *Properties) DropProperty(ctx context.Context, owner, kind, id string) error {
	if _, err := s.db.ExecContext(ctx, `DELETE FROM properties WHERE kind = $1 AND id = $2 AND owner = $3`, kind, id, owner); err != nil {
		return fmt.Errorf("forget %s %s: %w", kind, id, err)
	}
	return nil
}

// DropProperties implements [firewall.PropertyStore].
func (s *Properties) DropProperties(ctx context.Context, before time.Time) error {
	if _, err := s.db.ExecContext(ctx, `DELETE FROM properties WHERE until_us > 0 AND until_us < $1`, micros(before)); err != nil {
		return fmt.Errorf("forget properties: %w", err)
	}
	return nil
}
