package identity

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A User is a person whom agents act for, who answers for agents, and who approves
// calls. The zero User is not active.
type User struct {
	Tenant    string   // "default", the only one
	Name      string   // "user:ana", never used again for another: 1 to 128 of a-z 0-9 - _ . @ + beginning with a letter or digit
	Issuer    string   // of the identity provider that signs the user in; "" if none has
	Subject   string   // at that provider
	Email     string   // as the provider or the config says, in lower case; "" if nobody did
	Groups    []string // "group:finance": what Claims and the config lead to
	Claims    []string // groups as the provider named them when it last signed the user in
	Status    string   // Active, Suspended or Offboarded
	Source    string   // FromConfig, FromAPI or FromLogin
	Epoch     int64    // goes up when all that was issued for the user must end
	Created   time.Time
	Since     time.Time // when Status became what it is
	LastLogin time.Time // zero: never

	given []string // groups that the config gives, by the user's own entry
}

// Offboarded is the Status of a [User] who has left, for good.
const Offboarded = "offboarded"

const (
	maxUserName = 2 * maxName
	maxClaims   = 512 // groups that a provider may name
	maxClaim    = 256 // bytes of one
	maxSubject  = 255 // bytes, as OpenID Connect has it
)

func (u User) clone() User {
	u.Groups, u.Claims, u.given = slices.Clone(u.Groups), slices.Clone(u.Claims), slices.Clone(u.given)
	return u
}

// register is the user that whoever described u meant, or what is wrong with that.
func (u User) register() (User, error) {
	u = u.clone()
	if u.Tenant == "" {
		u.Tenant = tenant
	}
	if u.Tenant != tenant {
		return u, invalid("user %.80q: there is no tenant %q; leave it away", u.Name, u.Tenant)
	}
	name, err := UserName(u.Name)
	if err != nil {
		return u, err
	}
	u.Name, u.Email = name, strings.ToLower(u.Email)
	if u.Email != "" && !isMail(u.Email) {
		return u, invalid("%s: email %.80q: want name@host in ASCII", u.Name, u.Email)
	}
	u.given = nil
	for _, g := range u.Groups {
		name, err := GroupName(g)
		if err != nil {
			return u, invalid("%s: %v", u.Name, err)
		}
		u.given = append(u.given, name)
	}
	return u, nil
}

// UserName is the full name of the user that s names, with "user:" or without.
func UserName(s string) (string, error) {
	bare := strings.TrimPrefix(s, "user:")
	if !isUser(bare) {
		return "", invalid("user %.80q: want 1 to %d of a-z 0-9 - _ . @ + beginning with a letter or digit", s, maxUserName)
	}
	return "user:" + bare, nil
}

// GroupName is the full name of the group that s names, with "group:" or without.
func GroupName(s string) (string, error) {
	bare := strings.TrimPrefix(s, "group:")
	switch {
	case !isOwner(bare):
		return "", invalid("group %.80q: want 1 to %d of letters, digits, - _ . @ +", s, maxUserName)
	case bare == "everyone":
		return "", invalid("group everyone is that of all, and nobody is put in it")
	}
	return "group:" + bare, nil
}

// isUser says whether s may name a user. There is no colon, so that no user is taken
// for an agent, a role or a group; only lower case and ASCII, so that no two look
// alike.
func isUser(s string) bool {
	return isOwner(s) && s == strings.ToLower(s) && s[0] != '-' && s[0] != '_' && s[0] != '.' && s[0] != '@' && s[0] != '+'
}

func isMail(s string) bool {
	local, host, ok := strings.Cut(s, "@")
	return ok && isUser(local) && isWord(host) && strings.Contains(host, ".") && isUser(s)
}

// userNamed is the name of a user that nobody has described: the mail address, if
// names may be like that, else one that is made of who it is.
func userNamed(issuer, subject, email string) (name, fallback string) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %s", len(issuer), issuer, subject))
	fallback = "user:u-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
	if isMail(email) {
		return "user:" + email, fallback
	}
	return fallback, fallback
}

// isPlain says whether s is text of one line that is not longer than limit.
func isPlain(s string, limit int) bool {
	return s != "" && len(s) <= limit && utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f })
}

// fields is all about the user that belongs on record, always in the same order.
func (u *User) fields() []field {
	return []field{
		{"status", u.Status}, {"epoch", fmt.Sprint(u.Epoch)}, {"groups", strings.Join(u.Groups, " ")}, {"email", u.Email},
		{"issuer", u.Issuer}, {"subject", u.Subject},
	}
}

// userChanges is what of a user is otherwise in u than in old, "" if nothing is.
func userChanges(old, u *User) string {
	var list []string
	was := old.fields()
	for i, f := range u.fields() {
		if f.value != was[i].value {
			list = append(list, f.name+" "+orNone(was[i].value)+" → "+orNone(f.value))
		}
	}
	return strings.Join(list, "; ")
}

func describeUser(u *User) string {
	s := u.Status
	for _, f := range u.fields()[1:] {
		if f.value != "" {
			s += ", " + f.name + " " + f.value
		}
	}
	return s
}

// halted is why nothing goes on for the user, nil if it does.
func (u *User) halted() error {
	switch u.Status {
	case Active:
		return nil
	case Suspended:
		return &mistake{ErrEnded, u.Name + " is suspended"}
	}
	return &mistake{ErrEnded, u.Name + " was offboarded"}
}
