package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Uses keeps what was good for once and was used. It is an [identity.UseStore].
type Uses struct{ db *sql.DB }

// Uses is where uses are kept.
func (d *DB) Uses() *Uses { return &Uses{d.shared} }

// Use implements [identity.UseStore].
func (s *Uses) Use(ctx context.Context, key string, until time.Time) (first bool, err error) {
	done, err := s.db.ExecContext(ctx, `INSERT INTO uses (key, until_us) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING`, key, micros(until))
	if err != nil {
		return false, fmt.Errorf("store a use: %w", err)
	}
	n, err := done.RowsAffected()
	if err != nil {
		return false, fmt.Errorf("store a use: %w", err)
	}
	return n == 1, nil
}

// DropUses implements [identity.UseStore].
func (s *Uses) DropUses(ctx context.Context, before time.Time) error {
	if _, err := s.db.ExecContext(ctx, `DELETE FROM uses WHERE until_us < $1`, micros(before)); err != nil {
		return fmt.Errorf("drop uses: %w", err)
	}
	return nil
}
