package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// people is what a [Registry] knows of users and groups.
type people struct {
	seats    sync.Map         // name → *seat
	users    map[string]*User // every user that ever was, by name, but those that only the config named and does not any more
	accounts map[account]string
	gone     map[string]*User // those
	roster   *roster
}

// A seat is where a user is found for as long as the process lives, as an agent is
// in its place.
type seat struct{ user atomic.Pointer[User] }

// An account is a user at an identity provider.
type account struct{ issuer, subject string }

func (p *people) open(users []User) {
	p.users, p.accounts, p.gone = make(map[string]*User), make(map[account]string), make(map[string]*User)
	p.roster, _ = newRoster(nil)
	for _, u := range users {
		if u.onlyConfigured() {
			p.gone[u.Name] = &u
			continue
		}
		u.Groups = p.roster.of(&u)
		p.settle(&u)
	}
}

// onlyConfigured says whether nothing keeps u but the config.
func (u *User) onlyConfigured() bool {
	return u.Source == FromConfig && u.Subject == "" && u.Status == Active
}

// settle puts u in force; the registry's mu is held.
func (p *people) settle(u *User) {
	p.users[u.Name] = u
	delete(p.gone, u.Name)
	if u.Subject != "" {
		p.accounts[account{u.Issuer, u.Subject}] = u.Name
	}
	p.seat(u.Name).user.Store(u)
}

func (p *people) seat(name string) *seat {
	s, ok := p.seats.Load(name)
	if !ok {
		s, _ = p.seats.LoadOrStore(name, new(seat))
	}
	return s.(*seat)
}

// ConfigurePeople makes users and groups the ones that come from the config. A user
// that the config does not name any more is unknown from then on, unless an
// identity provider has signed it in, or it is not active. When an error is
// returned nothing has changed.
func (r *Registry) ConfigurePeople(ctx context.Context, users []User, groups []Group) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	t, err := newRoster(groups)
	wrong := []error{err}
	next := make(map[string]*User, len(users))
	mails := make(map[string]string)
	for _, given := range users {
		u, err := given.register()
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		if next[u.Name] != nil || u.Email != "" && mails[u.Email] != "" {
			wrong = append(wrong, invalid("%s, or the email %q, stands in the config twice", u.Name, u.Email))
			continue
		}
		mails[u.Email] = u.Name
		u.Status, u.Source, u.Epoch, u.Created, u.Since = Active, FromConfig, 1, now(), now()
		next[u.Name] = &u
	}
	if err := errors.Join(wrong...); err != nil {
		return err
	}
	var news []*User
	r.mu.Lock()
	for name, u := range next {
		old := r.people.users[name]
		if old == nil {
			old = r.people.gone[name]
		}
		if old == nil {
			news = append(news, u)
			continue
		}
		given, email := u.given, u.Email
		*u = old.clone()
		u.given = given
		if email != "" && email != u.Email {
			u.Email = email
			news = append(news, u)
		}
	}
	r.mu.Unlock()
	for _, u := range news {
		if err := r.store.PutUser(ctx, *u); err != nil {
			return fmt.Errorf("configure %s: %w", u.Name, err)
		}
	}
	defer r.less()
	for _, c := range r.seatAll(next, t) {
		_ = r.tell(c.what, "config", c.name, c.state)
	}
	return nil
}

// seatAll puts the configured users and groups in force, and says what that changed.
func (r *Registry) seatAll(next map[string]*User, t *roster) (list []change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &r.people
	p.roster = t
	for name, old := range p.users {
		u := old.clone()
		u.given = nil
		if n := next[name]; n != nil { // status and the like as they are now
			u.given, u.Email = n.given, n.Email
		} else if old.onlyConfigured() {
			delete(p.users, name)
			p.gone[name] = old
			p.seat(name).user.Store(nil)
			list = append(list, change{"user.removed", name, describeUser(old)})
			continue
		}
		u.Groups = t.of(&u)
		if what := userChanges(old, &u); what != "" {
			list = append(list, change{"user.changed", name, what})
		}
		p.settle(&u)
	}
	for name, u := range next {
		if p.users[name] == nil {
			u.Groups = t.of(u)
			p.settle(u)
			list = append(list, change{"user.created", name, describeUser(u)})
		}
	}
	slices.SortFunc(list, func(a, b change) int { return strings.Compare(a.name, b.name) })
	return list
}

// User is the user of that name, "user:ana", and whether the registry knows one.
func (r *Registry) User(name string) (User, bool) {
	if s, ok := r.people.seats.Load(name); ok {
		if u := s.(*seat).user.Load(); u != nil {
			return u.clone(), true
		}
	}
	return User{}, false
}

// Users is all users by name.
func (r *Registry) Users() []User {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]User, 0, len(r.people.users))
	for _, u := range r.people.users {
		list = append(list, u.clone())
	}
	slices.SortFunc(list, func(a, b User) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Person is the groups of the user of that name, and why nothing goes on for that
// user any more: [ErrEnded]. Whoever the registry does not know has no groups here,
// and is not stopped: policy may know such names by itself.
func (r *Registry) Person(name string) (groups []string, err error) {
	s, ok := r.people.seats.Load(name)
	if !ok {
		return nil, nil
	}
	u := s.(*seat).user.Load()
	if u == nil {
		return nil, nil
	}
	return u.Groups, u.halted()
}

// SignIn is the user whom the identity provider issuer has signed in as subject. It
// is for the login flow, which has verified all of that: email is "" unless the
// provider says that it is verified, groups is what the provider names as groups. A
// user that nobody described yet is made, with the mail address for a name. The error
// is [ErrInvalid], or [ErrEnded] if the user is suspended or has been offboarded;
// that is on record.
func (r *Registry) SignIn(ctx context.Context, issuer, subject, email string, groups []string) (User, error) {
	if !isPlain(issuer, maxURI) || !isPlain(subject, maxSubject) {
		return User{}, invalid("the identity provider names no user that can be known again: its issuer or sub is empty, too long or not one line")
	}
	if len(groups) > maxClaims {
		return User{}, invalid("the identity provider names %d groups, want at most %d: let it name only those that callgate is concerned with", len(groups), maxClaims)
	}
	claims := slices.Clone(groups)
	slices.Sort(claims)
	claims = slices.Compact(claims)
	for _, c := range claims {
		if !isPlain(c, maxClaim) {
			return User{}, invalid("the identity provider names a group that is not one line of at most %d bytes", maxClaim)
		}
	}
	if email = strings.ToLower(email); !isMail(email) {
		email = ""
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	for {
		u, old := r.signing(account{issuer, subject}, email)
		if err := u.halted(); err != nil {
			_ = r.tell("user.refused", u.Name, u.Name, "a login: "+err.Error()) // it is refused in any case
			return User{}, err
		}
		u.Issuer, u.Subject, u.Claims, u.LastLogin = issuer, subject, claims, now()
		if email != "" && (u.Source != FromConfig || u.Email == "") { // what the config says stays
			u.Email = email
		}
		r.mu.Lock()
		u.Groups = r.people.roster.of(&u)
		r.mu.Unlock()
		what, state := "user.created", describeUser(&u)
		if old != nil {
			what, state = "user.signed_in", userChanges(old, &u)
		}
		if err := r.tell(what, u.Name, u.Name, state); err != nil {
			return User{}, fmt.Errorf("%s is not signed in, since that could not be recorded: %w", u.Name, err)
		}
		if err := r.store.PutUser(ctx, u); err != nil {
			return User{}, fmt.Errorf("sign %s in: %w", u.Name, err)
		}
		if r.reseat(old, &u) {
			return u.clone(), nil
		}
	}
}

// signing is the user of an account as it is, or as it begins. old is what is in
// force, nil if nothing is.
func (r *Registry) signing(who account, email string) (u User, old *User) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &r.people
	if name, ok := p.accounts[who]; ok {
		old = p.users[name]
		return old.clone(), old
	}
	name, fallback := userNamed(who.issuer, who.subject, email)
	for _, u := range p.users {
		switch {
		case email == "" || u.Email != email:
		case u.Subject == "": // somebody whom the operator described, and who comes for the first time
			return u.clone(), u
		default:
			name = fallback
		}
	}
	if u := p.users[name]; u != nil {
		if u.Subject == "" {
			return u.clone(), u
		}
		name = fallback // the address is another's, who had it before
	}
	return User{Tenant: tenant, Name: name, Status: Active, Source: FromLogin, Epoch: 1, Created: now(), Since: now()}, nil
}

// reseat puts u in force in the place of old, if that is still what is.
func (r *Registry) reseat(old, u *User) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.people.users[u.Name] != old {
		return false
	}
	r.people.settle(u)
	return true
}

// SuspendUser ends what the user does: approvals, logins and what was issued for it,
// until [Registry.ResumeUser]. The user's agents go on. It takes effect at once, as
// [Registry.Revoke] does.
func (r *Registry) SuspendUser(ctx context.Context, name, by string) error {
	_, err := r.dismiss(ctx, name, "user.suspended", by, Suspended)
	return err
}

// ResumeUser lets a suspended user go on.
func (r *Registry) ResumeUser(ctx context.Context, name, by string) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	for {
		r.mu.Lock()
		old := r.people.users[name]
		r.mu.Unlock()
		switch {
		case old == nil:
			return unknownUser(name)
		case old.Status == Active:
			return nil
		case old.Status != Suspended:
			return old.halted()
		}
		u := old.clone()
		u.Status, u.Since = Active, now()
		if err := r.tell("user.resumed", by, name, userChanges(old, &u)); err != nil {
			return fmt.Errorf("%s is not resumed, since that could not be recorded: %w", name, err)
		}
		if err := r.store.PutUser(ctx, u); err != nil {
			return fmt.Errorf("resume %s: %w", name, err)
		}
		if r.reseat(old, &u) {
			return nil
		}
	}
}

// dismiss gives a user a status in memory, then on record, then in the store.
func (r *Registry) dismiss(ctx context.Context, name, what, by, status string) (User, error) {
	r.mu.Lock()
	old := r.people.users[name]
	if old == nil && status == Offboarded {
		if _, err := UserName(name); err != nil {
			r.mu.Unlock()
			return User{}, err
		}
		old = &User{Tenant: tenant, Name: name, Status: Active, Source: FromAPI, Created: now()} // so that nobody comes by that name later
	}
	if old == nil {
		r.mu.Unlock()
		return User{}, unknownUser(name)
	}
	if old.Status == Offboarded && status != Offboarded {
		r.mu.Unlock()
		return User{}, old.halted()
	}
	u, news := old.clone(), old.Status != status
	if news {
		u.Status, u.Since = status, now()
		u.Epoch++
		r.people.settle(&u)
	}
	r.mu.Unlock()
	r.less()
	var unrecorded error
	if news {
		if err := r.tell(what, by, name, userChanges(old, &u)); err != nil {
			unrecorded = fmt.Errorf("%s is %s, but that could not be recorded: %w", name, status, err)
		}
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	current := *r.people.users[name]
	r.mu.Unlock()
	if err := r.store.PutUser(ctx, current); err != nil {
		return u.clone(), errors.Join(unrecorded, fmt.Errorf("%s is %s, but that is not stored and would not outlive a restart; say it again: %w", name, status, err))
	}
	return u.clone(), unrecorded
}

func unknownUser(name string) error {
	return &mistake{ErrUnknown, fmt.Sprintf("there is no user %.80q: callgate user list shows those there are", name)}
}
