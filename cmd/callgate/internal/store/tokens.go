package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"time"

	"callgate/identity"
)

// Tokens keeps what callgate is given by the authorization servers of MCP servers:
// sealed, so that who has the file has no token. It is an mcp.TokenStore.
type Tokens struct {
	db   *sql.DB
	seal *identity.Seal
}

// Tokens is where tokens are kept, sealed by seal.
func (d *DB) Tokens(seal *identity.Seal) *Tokens { return &Tokens{d.state, seal} }

// Tokens is all that was put and not dropped, by name.
func (s *Tokens) Tokens(ctx context.Context) (map[string]identity.Secret, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT name, sealed FROM tokens ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	defer rows.Close()
	kept := make(map[string]identity.Secret)
	for rows.Next() {
		var coded, sealed string
		if err := rows.Scan(&coded, &sealed); err != nil {
			return nil, fmt.Errorf("read tokens: %w", err)
		}
		name, err := base64.RawURLEncoding.DecodeString(coded)
		if err == nil {
			kept[string(name)], err = s.seal.Open(coded, sealed)
		}
		if err != nil {
			return nil, fmt.Errorf("read token %q: %w", name, err)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	return kept, nil
}

// PutToken makes value durable, in place of what has its name.
func (s *Tokens) PutToken(ctx context.Context, name string, value identity.Secret) error {
	coded := base64.RawURLEncoding.EncodeToString([]byte(name))
	sealed, err := s.seal.Close(coded, value)
	if err == nil {
		_, err = s.db.ExecContext(ctx, `
			INSERT INTO tokens (name, sealed, at_us) VALUES ($1, $2, $3)
			ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed, at_us = excluded.at_us`,
			coded, sealed, micros(time.Now()))
	}
	if err != nil {
		return fmt.Errorf("store token %q: %w", name, err)
	}
	return nil
}

// DropToken forgets a name.
func (s *Tokens) DropToken(ctx context.Context, name string) error {
	if _, err := s.db.ExecContext(ctx, `DELETE FROM tokens WHERE name = $1`, base64.RawURLEncoding.EncodeToString([]byte(name))); err != nil {
		return fmt.Errorf("drop token %q: %w", name, err)
	}
	return nil
}
