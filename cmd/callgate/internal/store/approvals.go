package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"callgate/firewall"
)

// Approvals keeps approvals. It is a [firewall.ApprovalStore].
type Approvals struct{ db *sql.DB }

// Approvals is where approvals are kept.
func (d *DB) Approvals() *Approvals { return &Approvals{d.state} }

// newest is how many approvals are read again at start.
const newest = 1000

// Approvals implements [firewall.ApprovalStore]. Of those that are over it tells
// the newest only.
func (s *Approvals) Approvals(ctx context.Context) ([]firewall.Approval, error) {
	rows, err := s.db.QueryContext(ctx, `
		SELECT approval FROM approvals
		WHERE state IN ('asked', 'granted') OR id IN (SELECT id FROM approvals ORDER BY id DESC LIMIT $1)
		ORDER BY id`, newest)
	if err != nil {
		return nil, fmt.Errorf("read approvals: %w", err)
	}
	defer rows.Close()
	var list []firewall.Approval
	for rows.Next() {
		var text string
		var a firewall.Approval
		if err := rows.Scan(&text); err != nil {
			return nil, fmt.Errorf("read approvals: %w", err)
		}
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			return nil, fmt.Errorf("read an approval: %w", err)
		}
		list = append(list, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read approvals: %w", err)
	}
	return list, nil
}

// PutApproval implements [firewall.ApprovalStore].
func (s *Approvals) PutApproval(ctx context.Context, a firewall.Approval) error {
	text, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("store approval %s: %w", a.ID, err)
	}
	_, err = s.db.ExecContext(ctx, `
		INSERT INTO approvals (id, state, asked_us, expires_us, approval) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (id) DO UPDATE SET state = excluded.state, expires_us = excluded.expires_us, approval = excluded.approval`,
		a.ID, a.State, micros(a.Asked), micros(a.Expires), string(text))
	if err != nil {
		return fmt.Errorf("store approval %s: %w", a.ID, err)
	}
	return nil
}
