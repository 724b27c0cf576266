// Package store keeps in SQL what callgate must find again: the agents, and an
// index of the ledger. No SQL is anywhere else.
//
// They are two files. What is in the first is nowhere else, so each change of it
// is on disk when it is told. The second is made from the ledger and may be
// deleted at any time.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// A DB is callgate's database. It is used by many goroutines at once.
type DB struct {
	state  *sql.DB
	shared *sql.DB // what all replicas of a gate must know: state, or a database of theirs
	write  *sql.DB // of the index: one connection
	read   *sql.DB // of the index, beside that
}

//go:embed migrations/*.sql
var migrations embed.FS

//go:embed index.sql
var indexSchema string

// Open opens the database in the file path, which it makes if need be, and the
// index beside it. An index that cannot be read is made anew. If shared is not "", it
// is the URL of a PostgreSQL database for what all replicas of a gate must know of
// identities: agents, grants, and what was revoked.
func Open(ctx context.Context, path, shared string) (*DB, error) {
	d := new(DB)
	err := d.openState(path)
	if err == nil {
		err = d.openShared(ctx, shared)
	}
	if err == nil {
		err = d.openIndex(strings.TrimSuffix(path, ".db") + "-index.db")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), d.Close())
	}
	return d, nil
}

// Close closes the database. Nothing must be under way in it.
func (d *DB) Close() error {
	err := d.closeIndex()
	if d.shared != nil && d.shared != d.state {
		err = errors.Join(err, d.shared.Close())
	}
	if d.state != nil {
		err = errors.Join(err, d.state.Close())
	}
	return err
}

func (d *DB) closeIndex() error {
	var errs []error
	for _, db := range []*sql.DB{d.read, d.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	d.read, d.write = nil, nil
	return errors.Join(errs...)
}

func (d *DB) openState(path string) error {
	var err error
	if d.state, err = openFile(path, "synchronous(full)"); err != nil {
		return err
	}
	return migrate(context.Background(), goose.DialectSQLite3, d.state)
}

func (d *DB) openShared(ctx context.Context, address string) error {
	if d.shared = d.state; address == "" {
		return nil
	}
	cfg, err := pgx.ParseConfig(address)
	if err != nil {
		return errors.New("the address of the shared database is none: want postgres://USER:PASSWORD@HOST/NAME") // the library's error quotes it
	}
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(sharers)
	d.shared = db
	one, err := lock.NewPostgresSessionLocker() // replicas start together
	if err == nil {
		err = migrate(ctx, goose.DialectPostgres, db, goose.WithSessionLocker(one))
	}
	if err != nil {
		return fmt.Errorf("the shared database at %s: %w", cfg.Host, err)
	}
	return nil
}

// IsShared says whether other processes may write what d.shared holds.
func (d *DB) IsShared() bool { return d.shared != d.state }

// migrate brings the schema to what this callgate needs.
func migrate(ctx context.Context, dialect goose.Dialect, db *sql.DB, o ...goose.ProviderOption) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(dialect, db, files, o...)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

func (d *DB) openIndex(path string) error {
	err := d.tryIndex(path)
	if !isDamaged(err) {
		return err
	}
	if err := d.closeIndex(); err != nil {
		return err
	}
	for _, file := range []string{path, path + "-wal", path + "-shm"} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return d.tryIndex(path)
}

func (d *DB) tryIndex(path string) error {
	var err error
	if d.write, err = openFile(path, "synchronous(normal)", "temp_store(memory)", "cache_size(-4096)"); err != nil { // a power cut may take the last batches; they come again
		return err
	}
	if d.read, err = connect(path, "query_only(true)"); err != nil {
		return err
	}
	d.read.SetMaxOpenConns(readers)
	d.read.SetMaxIdleConns(readers)
	var version int
	err = d.write.QueryRow("SELECT version FROM progress").Scan(&version)
	if isDamaged(err) || err == nil && version == indexVersion {
		return err
	}
	return d.emptyIndex(context.Background()) // it is new, or of another version; any other error comes again here
}

const (
	indexVersion = 7 // of index.sql and of what is put there
	readers      = 4
	sharers      = 16
)

// emptyIndex makes the index one of nothing.
func (d *DB) emptyIndex(ctx context.Context) error {
	return within(ctx, d.write, func(tx *sql.Tx) error {
		for _, table := range []string{"progress", "calls", "hours", "rollups", "wants", "habits", "runs", "traits", "spends", "links", "changes"} {
			if _, err := tx.ExecContext(ctx, "DROP TABLE IF EXISTS "+table); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, indexSchema)
		return err
	})
}

// isDamaged says that the file is no database, or not one any more.
func isDamaged(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && (e.Code()&0xff == sqlite3.SQLITE_CORRUPT || e.Code()&0xff == sqlite3.SQLITE_NOTADB)
}

// explain says what the index was to do when err came, if one came.
func explain(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case isDamaged(err):
		return fmt.Errorf("%s: %w: its file is damaged; stop callgate, delete it, and start again: it is made anew", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// openFile opens the file path to write to, by one connection. Nobody else may
// read it.
func openFile(path string, pragma ...string) (*sql.DB, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	db, err := connect(path, pragma...)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	// The page size must be told before the journal's mode, and not in the address,
	// where it has no effect.
	if _, err := db.Exec("PRAGMA page_size = 8192; PRAGMA journal_mode = WAL"); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	return db, nil
}

func connect(path string, pragma ...string) (*sql.DB, error) {
	q := url.Values{"_pragma": append([]string{"busy_timeout(10000)"}, pragma...), "_txlock": {"immediate"}}
	return sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String())
}

// within runs f in one transaction.
func within(ctx context.Context, db *sql.DB, f func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}
