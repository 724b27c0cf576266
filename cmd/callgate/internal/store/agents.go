package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"callgate/identity"
)

// Agents keeps agents. It is an [identity.Store].
type Agents struct{ db *sql.DB }

// Agents is where agents are kept.
func (d *DB) Agents() *Agents { return &Agents{d.shared} }

// Agents implements [identity.Store].
func (s *Agents) Agents(ctx context.Context) ([]identity.Agent, error) {
	rows, err := s.db.QueryContext(ctx, `
		SELECT tenant, name, roles, owner, purpose, status, secret_hash, max_ttl_us, epoch, created_us, revoked_us, source
		FROM agents ORDER BY tenant, name`)
	if err != nil {
		return nil, fmt.Errorf("read agents: %w", err)
	}
	defer rows.Close()
	var list []identity.Agent
	for rows.Next() {
		var a identity.Agent
		var roles, secret string
		var ttl, created, revoked int64
		err := rows.Scan(&a.Tenant, &a.Name, &roles, &a.Owner, &a.Purpose, &a.Status, &secret, &ttl, &a.Epoch, &created, &revoked, &a.Source)
		if err == nil {
			err = json.Unmarshal([]byte(roles), &a.Roles)
		}
		if err == nil && secret != "" {
			a.SecretHash, err = hex.DecodeString(secret)
		}
		if err != nil {
			return nil, fmt.Errorf("read agent %s: %w", a.Name, err)
		}
		a.MaxTTL, a.Created, a.Revoked = time.Duration(ttl)*time.Microsecond, moment(created), moment(revoked)
		list = append(list, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read agents: %w", err)
	}
	return list, nil
}

// PutAgent implements [identity.Store].
func (s *Agents) PutAgent(ctx context.Context, a identity.Agent) error {
	roles, err := json.Marshal(a.Roles)
	if err != nil {
		return fmt.Errorf("store agent %s: %w", a.Name, err)
	}
	_, err = s.db.ExecContext(ctx, `
		INSERT INTO agents (tenant, name, roles, owner, purpose, status, secret_hash, max_ttl_us, epoch, created_us, revoked_us, source)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (tenant, name) DO UPDATE SET
			roles = excluded.roles, owner = excluded.owner, purpose = excluded.purpose, status = excluded.status,
			secret_hash = excluded.secret_hash, max_ttl_us = excluded.max_ttl_us, epoch = excluded.epoch,
			created_us = excluded.created_us, revoked_us = excluded.revoked_us, source = excluded.source`,
		a.Tenant, a.Name, string(roles), a.Owner, a.Purpose, a.Status, hex.EncodeToString(a.SecretHash), a.MaxTTL.Microseconds(),
		a.Epoch, micros(a.Created), micros(a.Revoked), a.Source)
	if err != nil {
		return fmt.Errorf("store agent %s: %w", a.Name, err)
	}
	return nil
}

// micros is t in microseconds since 1970-01-01 UTC, 0 for the zero Time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func moment(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
