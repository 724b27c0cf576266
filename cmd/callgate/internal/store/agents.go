package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"callgate/identity"
)

// Agents keeps agents and users. It is an [identity.Store].
type Agents struct {
	db     *sql.DB
	shared bool // what is put is told to other replicas
}

// Agents is where agents and users are kept.
func (d *DB) Agents() *Agents { return &Agents{d.shared, d.IsShared()} }

// Agents implements [identity.Store].
func (s *Agents) Agents(ctx context.Context, name string) ([]identity.Agent, error) {
	rows, err := s.db.QueryContext(ctx, `
		SELECT tenant, name, roles, owner, purpose, status, secret_hash, max_ttl_us, epoch, created_us, revoked_us, source,
			environment, models, servers, expires_us, since_us, seen_us, secret_since_us, old_secret_hash, old_until_us, jwks, jwks_uri, dpop
		FROM agents WHERE $1 = '' OR name = $1 ORDER BY tenant, name`, name)
	if err != nil {
		return nil, fmt.Errorf("read agents: %w", err)
	}
	defer rows.Close()
	var list []identity.Agent
	for rows.Next() {
		var a identity.Agent
		var roles, models, servers, secret, old string
		var ttl, created, revoked, expires, since, seen, secretSince, oldUntil, dpop int64
		err := rows.Scan(&a.Tenant, &a.Name, &roles, &a.Owner, &a.Purpose, &a.Status, &secret, &ttl, &a.Epoch, &created, &revoked, &a.Source,
			&a.Environment, &models, &servers, &expires, &since, &seen, &secretSince, &old, &oldUntil, &a.JWKS, &a.JWKSURI, &dpop)
		if err == nil {
			err = errors.Join(readList(roles, &a.Roles), readList(models, &a.Models), readList(servers, &a.Servers),
				readHash(secret, &a.SecretHash), readHash(old, &a.OldSecret))
		}
		if err != nil {
			return nil, fmt.Errorf("read agent %s: %w", a.Name, err)
		}
		a.DPoP = dpop != 0
		a.MaxTTL, a.Created, a.Revoked = time.Duration(ttl)*time.Microsecond, moment(created), moment(revoked)
		a.Expires, a.Since, a.LastSeen, a.SecretSince, a.OldUntil = moment(expires), moment(since), moment(seen), moment(secretSince), moment(oldUntil)
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
	dpop := 0
	if a.DPoP {
		dpop = 1
	}
	err = s.put(ctx, identity.RevokedAgent, a.Name, `
		INSERT INTO agents (tenant, name, roles, owner, purpose, status, secret_hash, max_ttl_us, epoch, created_us, revoked_us, source,
			environment, models, servers, expires_us, since_us, secret_since_us, old_secret_hash, old_until_us, jwks, jwks_uri, dpop)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
		ON CONFLICT (tenant, name) DO UPDATE SET
			roles = excluded.roles, owner = excluded.owner, purpose = excluded.purpose, status = excluded.status,
			secret_hash = excluded.secret_hash, max_ttl_us = excluded.max_ttl_us, epoch = excluded.epoch,
			created_us = excluded.created_us, revoked_us = excluded.revoked_us, source = excluded.source,
			environment = excluded.environment, models = excluded.models, servers = excluded.servers,
			expires_us = excluded.expires_us, since_us = excluded.since_us, secret_since_us = excluded.secret_since_us,
			old_secret_hash = excluded.old_secret_hash, old_until_us = excluded.old_until_us,
			jwks = excluded.jwks, jwks_uri = excluded.jwks_uri, dpop = excluded.dpop`,
		a.Tenant, a.Name, string(roles), a.Owner, a.Purpose, a.Status, hex.EncodeToString(a.SecretHash), a.MaxTTL.Microseconds(),
		a.Epoch, micros(a.Created), micros(a.Revoked), a.Source,
		a.Environment, listText(a.Models), listText(a.Servers), micros(a.Expires), micros(a.Since), micros(a.SecretSince),
		hex.EncodeToString(a.OldSecret), micros(a.OldUntil), a.JWKS, a.JWKSURI, dpop)
	if err != nil {
		return fmt.Errorf("store agent %s: %w", a.Name, err)
	}
	return nil
}

// put writes what is known of an agent or user, and has other replicas read it again.
func (s *Agents) put(ctx context.Context, kind, name, statement string, args ...any) error {
	return within(ctx, s.db, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, statement, args...)
		if err != nil || !s.shared {
			return err
		}
		now := time.Now()
		_, err = tell(ctx, tx, identity.Revocation{Kind: kind, ID: name, By: "system", At: now, Until: now.Add(time.Hour)})
		return err
	})
}

// PutSeen implements [identity.Store].
func (s *Agents) PutSeen(ctx context.Context, tenant string, at map[string]time.Time) error {
	err := within(ctx, s.db, func(tx *sql.Tx) error {
		put, err := tx.PrepareContext(ctx, `UPDATE agents SET seen_us = $1 WHERE tenant = $2 AND name = $3`)
		if err != nil {
			return err
		}
		defer put.Close()
		for name, t := range at {
			if _, err := put.ExecContext(ctx, micros(t), tenant, name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store when agents were seen: %w", err)
	}
	return nil
}

// listText is list as JSON, "" if it is empty.
func listText(list []string) string {
	if len(list) == 0 {
		return ""
	}
	doc, err := json.Marshal(list)
	if err != nil {
		panic(err) // strings only
	}
	return string(doc)
}

func readList(text string, list *[]string) error {
	if text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), list)
}

func readHash(text string, hash *[]byte) (err error) {
	if text != "" {
		*hash, err = hex.DecodeString(text)
	}
	return err
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
