package store

import (
	"context"
	"encoding/json"
	"fmt"

	"callgate/identity"
)

// Users implements [identity.Store].
func (s *Agents) Users(ctx context.Context, name string) ([]identity.User, error) {
	rows, err := s.db.QueryContext(ctx, `
		SELECT tenant, name, issuer, subject, email, claims, status, source, epoch, created_us, since_us, login_us
		FROM users WHERE $1 = '' OR name = $1 ORDER BY tenant, name`, name)
	if err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	defer rows.Close()
	var list []identity.User
	for rows.Next() {
		var u identity.User
		var claims string
		var created, since, login int64
		err := rows.Scan(&u.Tenant, &u.Name, &u.Issuer, &u.Subject, &u.Email, &claims, &u.Status, &u.Source, &u.Epoch, &created, &since, &login)
		if err == nil {
			err = json.Unmarshal([]byte(claims), &u.Claims)
		}
		if err != nil {
			return nil, fmt.Errorf("read user %s: %w", u.Name, err)
		}
		u.Created, u.Since, u.LastLogin = moment(created), moment(since), moment(login)
		list = append(list, u)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read users: %w", err)
	}
	return list, nil
}

// PutUser implements [identity.Store].
func (s *Agents) PutUser(ctx context.Context, u identity.User) error {
	claims, err := json.Marshal(u.Claims)
	if err == nil {
		err = s.put(ctx, identity.RevokedUser, u.Name, `
			INSERT INTO users (tenant, name, issuer, subject, email, claims, status, source, epoch, created_us, since_us, login_us)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
			ON CONFLICT (tenant, name) DO UPDATE SET
				issuer = excluded.issuer, subject = excluded.subject, email = excluded.email, claims = excluded.claims,
				status = excluded.status, source = excluded.source, epoch = excluded.epoch, created_us = excluded.created_us,
				since_us = excluded.since_us, login_us = excluded.login_us`,
			u.Tenant, u.Name, u.Issuer, u.Subject, u.Email, string(claims), u.Status, u.Source, u.Epoch, micros(u.Created), micros(u.Since), micros(u.LastLogin))
	}
	if err != nil {
		return fmt.Errorf("store user %s: %w", u.Name, err)
	}
	return nil
}
