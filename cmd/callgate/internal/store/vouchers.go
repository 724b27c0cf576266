package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"callgate/identity"
)

// Vouchers keeps authorization codes, refresh tokens and device codes, by their
// hashes, and the clients that registered themselves. It is an
// [identity.VoucherStore] and an [identity.ClientStore].
type Vouchers struct{ db *sql.DB }

// Vouchers is where vouchers are kept.
func (d *DB) Vouchers() *Vouchers { return &Vouchers{d.shared} }

// PutVoucher implements [identity.VoucherStore].
func (s *Vouchers) PutVoucher(ctx context.Context, v identity.Voucher) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO vouchers (hash, kind, body, expires_us, used_us, answer) VALUES ($1, $2, $3, $4, 0, '')`,
		v.Hash, v.Kind, string(v.Body), micros(v.Expires))
	if err != nil {
		return fmt.Errorf("store a voucher: %w", err)
	}
	return nil
}

// Voucher implements [identity.VoucherStore].
func (s *Vouchers) Voucher(ctx context.Context, hash string) (identity.Voucher, bool, error) {
	v := identity.Voucher{Hash: hash}
	var body, answer string
	var expires, used int64
	err := s.db.QueryRowContext(ctx, `SELECT kind, body, expires_us, used_us, answer FROM vouchers WHERE hash = $1`, hash).Scan(&v.Kind, &body, &expires, &used, &answer)
	if errors.Is(err, sql.ErrNoRows) {
		return identity.Voucher{}, false, nil
	}
	if err == nil {
		v.Answer, err = base64.StdEncoding.DecodeString(answer)
	}
	if err != nil {
		return identity.Voucher{}, false, fmt.Errorf("read a voucher: %w", err)
	}
	v.Body, v.Expires = []byte(body), moment(expires)
	if used != 0 {
		v.Used = moment(used)
	}
	return v, true, nil
}

// UseVoucher implements [identity.VoucherStore].
func (s *Vouchers) UseVoucher(ctx context.Context, hash string, at time.Time) (bool, error) {
	return s.used(s.db.ExecContext(ctx, `UPDATE vouchers SET used_us = $1 WHERE hash = $2 AND used_us = 0`, micros(at), hash))
}

// ReuseVoucher implements [identity.VoucherStore].
func (s *Vouchers) ReuseVoucher(ctx context.Context, hash string, used, at time.Time) (bool, error) {
	return s.used(s.db.ExecContext(ctx, `UPDATE vouchers SET used_us = $1 WHERE hash = $2 AND used_us = $3 AND used_us <> 0 AND answer = ''`, micros(at), hash, micros(used)))
}

// used says whether a statement changed the one row that it was for.
func (s *Vouchers) used(r sql.Result, err error) (bool, error) {
	var n int64
	if err == nil {
		n, err = r.RowsAffected()
	}
	if err != nil {
		return false, fmt.Errorf("write a voucher or a client: %w", err)
	}
	return n == 1, nil
}

// AnswerVoucher implements [identity.VoucherStore].
func (s *Vouchers) AnswerVoucher(ctx context.Context, hash string, used time.Time, answer []byte) (bool, error) {
	return s.used(s.db.ExecContext(ctx, `UPDATE vouchers SET answer = $1 WHERE hash = $2 AND used_us = $3 AND used_us <> 0`, base64.StdEncoding.EncodeToString(answer), hash, micros(used)))
}

// DropVouchers implements [identity.VoucherStore].
func (s *Vouchers) DropVouchers(ctx context.Context, before time.Time) error {
	if _, err := s.db.ExecContext(ctx, `DELETE FROM vouchers WHERE expires_us < $1`, micros(before)); err != nil {
		return fmt.Errorf("drop vouchers: %w", err)
	}
	return nil
}

// PutClient implements [identity.ClientStore].
func (s *Vouchers) PutClient(ctx context.Context, c identity.Client, limit int) (bool, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return false, err
	}
	put := func() (bool, error) {
		return s.used(s.db.ExecContext(ctx, `INSERT INTO clients (id, body) SELECT CAST($1 AS TEXT), CAST($2 AS TEXT) WHERE (SELECT count(*) FROM clients) < CAST($3 AS BIGINT)`, c.ID, string(body), limit))
	}
	ok, err := put()
	if err != nil || ok {
		return ok, err
	}
	spare, err := s.spare(ctx, c.Created)
	if err != nil || spare == "" {
		return false, err
	}
	if _, err := s.db.ExecContext(ctx, `DELETE FROM clients WHERE id = $1`, spare); err != nil {
		return false, fmt.Errorf("make room for client %s: %w", c.ID, err)
	}
	return put()
}

// spare is the id of the oldest client that is to spare at a time, "" if none is.
func (s *Vouchers) spare(ctx context.Context, at time.Time) (id string, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT body FROM clients`)
	if err != nil {
		return "", fmt.Errorf("list clients: %w", err)
	}
	defer rows.Close()
	oldest := at
	for rows.Next() {
		var body string
		var c identity.Client
		if err = rows.Scan(&body); err == nil {
			err = json.Unmarshal([]byte(body), &c)
		}
		if err != nil {
			return "", fmt.Errorf("list clients: %w", err)
		}
		if c.Spare(at) && c.Created.Before(oldest) {
			id, oldest = c.ID, c.Created
		}
	}
	return id, rows.Err()
}

// AllowClient implements [identity.ClientStore].
func (s *Vouchers) AllowClient(ctx context.Context, id string) error {
	c, ok, err := s.Client(ctx, id)
	if err != nil || !ok || c.Allowed {
		return err
	}
	c.Allowed = true
	body, err := json.Marshal(c)
	if err == nil {
		_, err = s.db.ExecContext(ctx, `UPDATE clients SET body = $1 WHERE id = $2`, string(body), id)
	}
	if err != nil {
		return fmt.Errorf("store client %s: %w", id, err)
	}
	return nil
}

// Client implements [identity.ClientStore].
func (s *Vouchers) Client(ctx context.Context, id string) (identity.Client, bool, error) {
	var c identity.Client
	var body string
	err := s.db.QueryRowContext(ctx, `SELECT body FROM clients WHERE id = $1`, id).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		return c, false, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(body), &c)
	}
	if err != nil {
		return c, false, fmt.Errorf("read client %s: %w", id, err)
	}
	return c, true, nil
}
