package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"callgate/identity"
)

// Secrets keeps the secrets of the vault, which seals them. It is an
// [identity.SecretStore].
type Secrets struct{ db *sql.DB }

// Secrets is where secrets are kept.
func (d *DB) Secrets() *Secrets { return &Secrets{d.state} }

// Secrets implements [identity.SecretStore].
func (s *Secrets) Secrets(ctx context.Context) ([]identity.SealedEntry, error) {
	rows, err := s.db.QueryContext(ctx, `
		SELECT name, version, targets, agents, created_us, rotated_us, expires_us, removed_us, sealed
		FROM secrets ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("read secrets: %w", err)
	}
	defer rows.Close()
	var list []identity.SealedEntry
	for rows.Next() {
		var e identity.SealedEntry
		var targets, agents string
		var created, rotated, expires, removed int64
		err := rows.Scan(&e.Name, &e.Version, &targets, &agents, &created, &rotated, &expires, &removed, &e.Sealed)
		if err == nil {
			err = json.Unmarshal([]byte(targets), &e.Targets)
		}
		if err == nil {
			err = json.Unmarshal([]byte(agents), &e.Agents)
		}
		if err != nil {
			return nil, fmt.Errorf("read secret %s: %w", e.Name, err)
		}
		e.Created, e.Rotated, e.Expires, e.Removed = moment(created), moment(rotated), moment(expires), moment(removed)
		list = append(list, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read secrets: %w", err)
	}
	return list, nil
}

// PutSecret implements [identity.SecretStore].
func (s *Secrets) PutSecret(ctx context.Context, e identity.SealedEntry) error {
	targets, err := json.Marshal(e.Targets)
	if err != nil {
		return fmt.Errorf("store secret %s: %w", e.Name, err)
	}
	agents, err := json.Marshal(e.Agents)
	if err != nil {
		return fmt.Errorf("store secret %s: %w", e.Name, err)
	}
	_, err = s.db.ExecContext(ctx, `
		INSERT INTO secrets (name, version, targets, agents, created_us, rotated_us, expires_us, removed_us, sealed)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (name) DO UPDATE SET
			version = excluded.version, targets = excluded.targets, agents = excluded.agents, created_us = excluded.created_us,
			rotated_us = excluded.rotated_us, expires_us = excluded.expires_us, removed_us = excluded.removed_us, sealed = excluded.sealed`,
		e.Name, e.Version, string(targets), string(agents), micros(e.Created), micros(e.Rotated), micros(e.Expires), micros(e.Removed), e.Sealed)
	if err != nil {
		return fmt.Errorf("store secret %s: %w", e.Name, err)
	}
	return nil
}
