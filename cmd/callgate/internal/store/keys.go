package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"callgate/identity"
)

// Keys keeps the signing keys that all replicas have. It is an [identity.KeyStore].
type Keys struct{ db *sql.DB }

// Keys is where the signing keys are kept, if the database is shared.
func (d *DB) Keys() *Keys { return &Keys{d.shared} }

// Ring implements [identity.KeyStore].
func (s *Keys) Ring(ctx context.Context) (sealed []byte, times int64, err error) {
	var text string
	err = s.db.QueryRowContext(ctx, `SELECT times, sealed FROM signing_keys`).Scan(&times, &text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, 0, nil
	}
	if err == nil {
		sealed, err = base64.StdEncoding.DecodeString(text)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the signing keys: %w", err)
	}
	return sealed, times, nil
}

// PutRing implements [identity.KeyStore].
func (s *Keys) PutRing(ctx context.Context, sealed []byte, times int64) (first bool, err error) {
	err = within(ctx, s.db, func(tx *sql.Tx) error {
		now, text := time.Now(), base64.StdEncoding.EncodeToString(sealed)
		// the feed's lock makes one of those who put at a time
		if _, err := tell(ctx, tx, identity.Revocation{Kind: identity.RevokedKey, ID: "ring", By: "system", At: now, Until: now.Add(time.Hour)}); err != nil {
			return err
		}
		var last int64
		if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(times), 0) FROM signing_keys`).Scan(&last); err != nil {
			return err
		}
		if first = last == times-1; !first {
			return nil
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM signing_keys`); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO signing_keys (times, sealed) VALUES ($1, $2)`, times, text)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("store the signing keys: %w", err)
	}
	return first, nil
}
