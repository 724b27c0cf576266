package store

import (
	"context"
	"database/sql"
	"fmt"

	"callgate/firewall"
)

// Runs keeps which runs have labels. It is a [firewall.RunStore].
type Runs struct{ db *sql.DB }

// Runs is where the labels of runs are kept.
func (d *DB) Runs() *Runs { return &Runs{d.state} }

// LabelledRuns implements [firewall.RunStore].
func (s *Runs) LabelledRuns(ctx context.Context) ([]firewall.LabelledRun, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT id, caller, labels, at_us FROM labelled_runs ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	defer rows.Close()
	var list []firewall.LabelledRun
	for rows.Next() {
		var r firewall.LabelledRun
		var at int64
		if err := rows.Scan(&r.ID, &r.Key, &r.Labels, &at); err != nil {
			return nil, fmt.Errorf("read runs: %w", err)
		}
		r.At = moment(at)
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	return list, nil
}

// PutLabels implements [firewall.RunStore].
func (s *Runs) PutLabels(ctx context.Context, r firewall.LabelledRun) error {
	_, err := s.db.ExecContext(ctx, `
		INSERT INTO labelled_runs (id, caller, labels, at_us) VALUES ($1, $2, $3, $4)
		ON CONFLICT (id) DO UPDATE SET labels = labelled_runs.labels | excluded.labels, at_us = excluded.at_us`,
		r.ID, r.Key, int64(r.Labels), micros(r.At))
	if err != nil {
		return fmt.Errorf("store labels of run %s: %w", r.ID, err)
	}
	return nil
}

// DropRun implements [firewall.RunStore].
func (s *Runs) DropRun(ctx context.Context, id string) error {
	if _, err := s.db.ExecContext(ctx, `DELETE FROM labelled_runs WHERE id = $1`, id); err != nil {
		return fmt.Errorf("forget run %s: %w", id, err)
	}
	return nil
}
