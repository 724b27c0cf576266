package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"callgate/identity"
)

// Grants keeps the records of delegations. It is an [identity.GrantStore].
type Grants struct{ db *sql.DB }

// Grants is where grants are kept.
func (d *DB) Grants() *Grants { return &Grants{d.shared} }

// PutGrant implements [identity.GrantStore].
func (s *Grants) PutGrant(ctx context.Context, g identity.Grant) error {
	body, err := json.Marshal(g)
	if err == nil {
		_, err = s.db.ExecContext(ctx, `
			INSERT INTO grants (id, body, not_after_us) VALUES ($1, $2, $3)
			ON CONFLICT (id) DO UPDATE SET body = excluded.body, not_after_us = excluded.not_after_us`, g.ID, string(body), micros(g.NotAfter))
	}
	if err != nil {
		return fmt.Errorf("store grant %s: %w", g.ID, err)
	}
	return nil
}

// Grant implements [identity.GrantStore].
func (s *Grants) Grant(ctx context.Context, id string) (identity.Grant, bool, error) {
	var g identity.Grant
	var body string
	err := s.db.QueryRowContext(ctx, `SELECT body FROM grants WHERE id = $1`, id).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		return g, false, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(body), &g)
	}
	if err != nil {
		return g, false, fmt.Errorf("read grant %s: %w", id, err)
	}
	return g, true, nil
}

// DropGrants implements [identity.GrantStore].
func (s *Grants) DropGrants(ctx context.Context, before time.Time) error {
	if _, err := s.db.ExecContext(ctx, `DELETE FROM grants WHERE not_after_us < $1`, micros(before)); err != nil {
		return fmt.Errorf("drop grants: %w", err)
	}
	return nil
}

// Revocations keeps the feed of what was revoked. It is an [identity.RevocationStore].
type Revocations struct {
	db     *sql.DB
	shared bool
}

// Revocations is where revocations are kept.
func (d *DB) Revocations() *Revocations { return &Revocations{d.shared, d.IsShared()} }

// PutRevocation implements [identity.RevocationStore].
func (s *Revocations) PutRevocation(ctx context.Context, r identity.Revocation) (seq int64, err error) {
	err = within(ctx, s.db, func(tx *sql.Tx) (err error) {
		if s.shared {
			seq, err = tell(ctx, tx, r)
		} else {
			seq, err = inFeed(ctx, tx, r)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("store revocation of %s %s: %w", r.Kind, r.ID, err)
	}
	return seq, nil
}

// tell puts r at the end of the feed that replicas follow: one after the other, so that
// none of them misses any.
func tell(ctx context.Context, tx *sql.Tx, r identity.Revocation) (seq int64, err error) {
	if _, err := tx.ExecContext(ctx, `LOCK TABLE revocations IN EXCLUSIVE MODE`); err != nil {
		return 0, err
	}
	return inFeed(ctx, tx, r)
}

func inFeed(ctx context.Context, tx *sql.Tx, r identity.Revocation) (seq int64, err error) {
	lift := 0
	if r.Lift {
		lift = 1
	}
	err = tx.QueryRowContext(ctx, `
		INSERT INTO revocations (seq, kind, id, by_whom, at_us, until_us, lift)
		SELECT coalesce(max(seq), 0) + 1, CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS BIGINT), CAST($5 AS BIGINT), CAST($6 AS BIGINT) FROM revocations
		RETURNING seq`, r.Kind, r.ID, r.By, micros(r.At), micros(r.Until), lift).Scan(&seq)
	return seq, err
}

// RevocationsAfter implements [identity.RevocationStore].
func (s *Revocations) RevocationsAfter(ctx context.Context, seq int64) ([]identity.Revocation, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT seq, kind, id, by_whom, at_us, until_us, lift FROM revocations WHERE seq > $1 ORDER BY seq`, seq)
	if err != nil {
		return nil, fmt.Errorf("read revocations: %w", err)
	}
	defer rows.Close()
	var list []identity.Revocation
	for rows.Next() {
		var r identity.Revocation
		var at, until, lift int64
		if err := rows.Scan(&r.Seq, &r.Kind, &r.ID, &r.By, &at, &until, &lift); err != nil {
			return nil, fmt.Errorf("read revocations: %w", err)
		}
		r.At, r.Until, r.Lift = moment(at), moment(until), lift == 1
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read revocations: %w", err)
	}
	return list, nil
}

// DropRevocations implements [identity.RevocationStore]. The last one stays, so that
// no place in the feed is given twice.
func (s *Revocations) DropRevocations(ctx context.Context, before time.Time) error {
	_, err := s.db.ExecContext(ctx, `
		DELETE FROM revocations WHERE until_us > 0 AND until_us < $1 AND seq < (SELECT max(seq) FROM revocations)`, micros(before))
	if err != nil {
		return fmt.Errorf("drop revocations: %w", err)
	}
	return nil
}
