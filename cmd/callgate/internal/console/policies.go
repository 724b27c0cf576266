package console

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"callgate/firewall/policy"
)

// maxPolicy is the most bytes that a policy which is sent in may have.
const maxPolicy = 64 << 20

func (c *Console) policies(w http.ResponseWriter, r *http.Request) {
	list, acts, err := c.cfg.Policies.List(r.Context())
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, "unavailable", "%v", err)
		return
	}
	standing := c.cfg.Policies.Standing()
	versions := []PolicyVersion{}
	for _, v := range list {
		versions = append(versions, version(v, acts, standing))
	}
	answer(w, http.StatusOK, versions)
}

func (c *Console) policy(w http.ResponseWriter, r *http.Request) {
	number, ok := versionOf(w, r)
	if !ok {
		return
	}
	c.answerVersion(w, r.Context(), http.StatusOK, number)
}

// answerVersion answers one version, whole.
func (c *Console) answerVersion(w http.ResponseWriter, ctx context.Context, status int, number int64) {
	v, err := c.cfg.Policies.Get(ctx, number)
	if err != nil {
		failedPolicy(w, err)
		return
	}
	_, acts, err := c.cfg.Policies.List(ctx)
	if err != nil {
		failedPolicy(w, err)
		return
	}
	shown := version(v, acts, c.cfg.Policies.Standing())
	for _, f := range v.Files {
		shown.Files = append(shown.Files, PolicyFile{f.Name, string(f.Text)})
	}
	answer(w, status, shown)
}

func (c *Console) addPolicy(w http.ResponseWriter, r *http.Request) {
	var n NewPolicy
	if !readAtMost(w, r, &n, maxPolicy) || !signed(w, n.Author, n.Comment) {
		return
	}
	if len(n.Files) == 0 {
		refuse(w, http.StatusBadRequest, "invalid", "files: send at least one, as {\"name\": \"policy.csv\", \"text\": \"p, …\"}")
		return
	}
	var files []policy.Source
	for _, f := range n.Files {
		if f.Name == "" || len(f.Name) > maxName || strings.ContainsFunc(f.Name, func(c rune) bool { return c < ' ' }) {
			refuse(w, http.StatusBadRequest, "invalid", "files: a name has 1 to %d bytes and no control characters", maxName)
			return
		}
		files = append(files, policy.Source{Name: f.Name, Text: []byte(f.Text)})
	}
	p, err := policy.Load(files...)
	var problems policy.Problems
	if errors.As(err, &problems) {
		answer(w, http.StatusUnprocessableEntity, map[string]Failure{"error": {
			Code: "invalid", Message: "nothing was changed: the policy has mistakes", Details: strings.Split(problems.Error(), "\n")}})
		return
	}
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, "invalid", "%v", err)
		return
	}
	number, err := c.cfg.Policies.Add(r.Context(), p, n.Author, n.Comment, n.Activate)
	if err != nil {
		failedPolicy(w, err)
		return
	}
	c.answerVersion(w, r.Context(), http.StatusCreated, number)
}

func (c *Console) activate(w http.ResponseWriter, r *http.Request) { c.act(w, r, policy.Activate) }
func (c *Console) rehearse(w http.ResponseWriter, r *http.Request) { c.act(w, r, policy.Rehearse) }

// act does something with a version.
func (c *Console) act(w http.ResponseWriter, r *http.Request, what string) {
	var n NewAct
	number, ok := versionOf(w, r)
	if !ok || !read(w, r, &n) || !signed(w, n.By, n.Comment) {
		return
	}
	if err := c.cfg.Policies.Do(r.Context(), policy.Act{What: what, Version: number, By: n.By, Comment: n.Comment}); err != nil {
		failedPolicy(w, err)
		return
	}
	c.answerVersion(w, r.Context(), http.StatusOK, number)
}

func (c *Console) rollback(w http.ResponseWriter, r *http.Request) {
	var n NewAct
	if !read(w, r, &n) || !signed(w, n.By, n.Comment) {
		return
	}
	number, err := c.cfg.Policies.Rollback(r.Context(), n.By, n.Comment)
	if err != nil {
		failedPolicy(w, err)
		return
	}
	c.answerVersion(w, r.Context(), http.StatusOK, number)
}

func (c *Console) endRehearsal(w http.ResponseWriter, r *http.Request) {
	var n NewAct
	if !read(w, r, &n) || !signed(w, n.By, n.Comment) {
		return
	}
	number := c.cfg.Policies.Standing().Candidate
	if err := c.cfg.Policies.Do(r.Context(), policy.Act{What: policy.EndRehearsal, By: n.By, Comment: n.Comment}); err != nil {
		failedPolicy(w, err)
		return
	}
	c.answerVersion(w, r.Context(), http.StatusOK, number)
}

// signed checks who does something and why, or answers what is wrong with that.
func signed(w http.ResponseWriter, by, comment string) bool {
	switch name, ok := strings.CutPrefix(by, "user:"); {
	case !ok || name == "" || len(by) > maxName:
		refuse(w, http.StatusBadRequest, "invalid", "%.80q: say who does this, as user:ana", by)
		return false
	case len(comment) > maxNote:
		refuse(w, http.StatusBadRequest, "invalid", "at most %d bytes of comment or note", maxNote)
		return false
	}
	return true
}

const (
	maxName = 128 // bytes
	maxNote = 1000
)

func versionOf(w http.ResponseWriter, r *http.Request) (int64, bool) {
	number, err := strconv.ParseInt(r.PathValue("version"), 10, 64)
	if err != nil || number < 1 {
		refuse(w, http.StatusNotFound, "not_found", "there is no policy version %.40q: a version is a number from 1", r.PathValue("version"))
		return 0, false
	}
	return number, true
}

// failedPolicy answers what the versions refused.
func failedPolicy(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, policy.ErrNoVersion):
		refuse(w, http.StatusNotFound, "not_found", "%v; callgate policy versions lists them", err)
	case errors.Is(err, policy.ErrInForce):
		refuse(w, http.StatusConflict, "conflict", "%v", err)
	default:
		refuse(w, http.StatusServiceUnavailable, "unavailable", "%v", err)
	}
}

// version is what is shown of v without its files.
func version(v policy.Version, acts []policy.Act, standing policy.Standing) PolicyVersion {
	shown := PolicyVersion{
		Version: v.Number, Digest: v.Digest, Author: v.Author, Comment: v.Comment, Created: v.Created.UTC(),
		Active: v.Number == standing.Version && standing.Broken == nil, Candidate: v.Number == standing.Candidate, Activated: []Activation{},
	}
	for _, a := range acts {
		if a.What == policy.Activate && a.Version == v.Number {
			shown.Activated = append(shown.Activated, Activation{a.At.UTC(), a.By, a.Comment})
		}
	}
	return shown
}
