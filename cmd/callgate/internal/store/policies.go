package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"callgate/firewall/policy"
)

// Policies keeps versions of the policy. It is a [policy.VersionStore].
type Policies struct{ db *sql.DB }

// Policies is where versions of the policy are kept.
func (d *DB) Policies() *Policies { return &Policies{d.state} }

// policyFile is a file of a version as it is stored.
type policyFile struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// Versions implements [policy.VersionStore].
func (s *Policies) Versions(ctx context.Context) ([]policy.Version, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT number, hash, digest, author, comment, created_us FROM policies ORDER BY number`)
	if err != nil {
		return nil, fmt.Errorf("read policies: %w", err)
	}
	defer rows.Close()
	var list []policy.Version
	for rows.Next() {
		var v policy.Version
		var created int64
		if err := rows.Scan(&v.Number, &v.Hash, &v.Digest, &v.Author, &v.Comment, &created); err != nil {
			return nil, fmt.Errorf("read policies: %w", err)
		}
		v.Created = moment(created)
		list = append(list, v)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read policies: %w", err)
	}
	return list, nil
}

// Version implements [policy.VersionStore].
func (s *Policies) Version(ctx context.Context, number int64) (policy.Version, error) {
	v := policy.Version{Number: number}
	var text string
	var created int64
	err := s.db.QueryRowContext(ctx, `SELECT hash, digest, files, author, comment, created_us FROM policies WHERE number = $1`, number).
		Scan(&v.Hash, &v.Digest, &text, &v.Author, &v.Comment, &created)
	if errors.Is(err, sql.ErrNoRows) {
		return policy.Version{}, nil
	}
	var files []policyFile
	if err == nil {
		err = json.Unmarshal([]byte(text), &files)
	}
	if err != nil {
		return policy.Version{}, fmt.Errorf("read policy version %d: %w", number, err)
	}
	for _, f := range files {
		v.Files = append(v.Files, policy.Source{Name: f.Name, Text: []byte(f.Text)})
	}
	v.Created = moment(created)
	return v, nil
}

// AddVersion implements [policy.VersionStore].
func (s *Policies) AddVersion(ctx context.Context, v policy.Version) (number int64, err error) {
	files := []policyFile{}
	for _, f := range v.Files {
		files = append(files, policyFile{f.Name, string(f.Text)})
	}
	text, err := json.Marshal(files)
	if err != nil {
		return 0, fmt.Errorf("store policy %s: %w", v.Digest, err)
	}
	err = within(ctx, s.db, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT number FROM policies WHERE hash = $1`, v.Hash).Scan(&number)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		return tx.QueryRowContext(ctx, `
			INSERT INTO policies (number, hash, digest, files, author, comment, created_us)
			SELECT coalesce(max(number), 0) + 1, $1, $2, $3, $4, $5, $6 FROM policies RETURNING number`,
			v.Hash, v.Digest, string(text), v.Author, v.Comment, micros(v.Created)).Scan(&number)
	})
	if err != nil {
		return 0, fmt.Errorf("store policy %s: %w", v.Digest, err)
	}
	return number, nil
}

// Acts implements [policy.VersionStore].
func (s *Policies) Acts(ctx context.Context) ([]policy.Act, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT what, version, files, by_whom, comment, at_us FROM policy_acts ORDER BY number`)
	if err != nil {
		return nil, fmt.Errorf("read what was done with policies: %w", err)
	}
	defer rows.Close()
	var list []policy.Act
	for rows.Next() {
		var a policy.Act
		var files, at int64
		if err := rows.Scan(&a.What, &a.Version, &files, &a.By, &a.Comment, &at); err != nil {
			return nil, fmt.Errorf("read what was done with policies: %w", err)
		}
		a.Files, a.At = files == 1, moment(at)
		list = append(list, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read what was done with policies: %w", err)
	}
	return list, nil
}

// AddAct implements [policy.VersionStore].
func (s *Policies) AddAct(ctx context.Context, a policy.Act) error {
	files := 0
	if a.Files {
		files = 1
	}
	_, err := s.db.ExecContext(ctx, `
		INSERT INTO policy_acts (number, what, version, files, by_whom, comment, at_us)
		SELECT coalesce(max(number), 0) + 1, $1, $2, $3, $4, $5, $6 FROM policy_acts`,
		a.What, a.Version, files, a.By, a.Comment, micros(a.At))
	if err != nil {
		return fmt.Errorf("store what was done with policy version %d: %w", a.Version, err)
	}
	return nil
}
