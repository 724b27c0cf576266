package console

import (
	"net/http"
	"strconv"
	"strings"
)

// checkpoint answers with the last checkpoint of the ledger (C2SP tlog-tiles).
func (c *Console) checkpoint(w http.ResponseWriter, _ *http.Request) {
	last, _ := c.cfg.Sealer.Last()
	if last == nil {
		refuse(w, http.StatusNotFound, "not_found", "nothing is signed yet")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(last.Note)
}

// tile answers with hashes of the tree: /tile/<level>/<n>[.p/<width>], where n is in parts of
// three digits, all but the last with an x before it.
func (c *Console) tile(w http.ResponseWriter, r *http.Request) {
	level, n, width, ok := tileOf(r.PathValue("level"), r.PathValue("rest"))
	if !ok {
		refuse(w, http.StatusBadRequest, "invalid", "want /tile/<level>/<n>[.p/<width>], as C2SP tlog-tiles has it")
		return
	}
	data, err := c.cfg.Sealer.Tile(level, n, width)
	if err != nil {
		refuse(w, http.StatusNotFound, "not_found", "the last checkpoint covers no such tile")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(data)
}

func tileOf(at, rest string) (level int, n int64, width int, ok bool) {
	level, err := strconv.Atoi(at)
	width = 256
	path, part, partial := strings.Cut(rest, ".p/")
	if partial {
		var werr error
		if width, werr = strconv.Atoi(part); werr != nil || width < 1 || width > 255 {
			return 0, 0, 0, false
		}
	}
	parts := strings.Split(path, "/")
	for i, p := range parts {
		digits, more := strings.CutPrefix(p, "x")
		v, derr := strconv.ParseInt(digits, 10, 64)
		if derr != nil || len(digits) != 3 || more != (i < len(parts)-1) || n > 1<<40 {
			return 0, 0, 0, false
		}
		n = n*1000 + v
	}
	return level, n, width, err == nil
}
