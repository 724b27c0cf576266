package firewall

import (
	"strings"
	"unicode"
)

// verbs are groups of words for one act. A tool that is named with one of a group was asked
// for where the user has said any of it. Words end where they stop to differ.
var verbs = [...]string{
	`send email mail messag write reply repl respond answer forward tell notif inform contact ping dm post text let_know invit share
		envia envía manda escrib respond contest reenvi reenví avis comunic schick send schreib antwort leit weiterleit sag benachricht mitteil envoi écri répond transfér préven dis invia scriv rispond inoltr avvis manda responda`,
	`pay transfer wire remit settl refund reimburs donat send charg deposit withdraw invoic bill owe paga pagar transfier transfer abon zahl überweis bezahl pai pay vers virement règle bonific`,
	`book reserv order buy purchas rent hire get arrang plan reserva compra alquil buch kauf bestell miet réserv achèt achet command lou prenot compr`,
	`share invit add grant give allow access send compart añad da teil freigeb einlad partag ajout invite condivid aggiung`,
	`delet remov cancel clear clean drop trash eras unsubscrib discard empty archiv purg revok uninstall elimin borr cancel quit lösch entfern stornier absag supprim efface annul rimuov cancell elimina`,
	`creat add schedul make set plan new writ save upload stor note put append draft prepar generat regist record arrang organis organiz book crea añad agend programa guard erstell anleg plan speicher trag cré ajout planif enregistr prépar crea aggiung pianific salva`,
	`updat chang modif edit set move renam reschedul mark adjust correct fix replac rotat reset switch increas decreas extend postpon shift actualiz cambi modific mueve änder ander ersetz verschieb aktualis modifi chang déplac met_à_jour aggiorn cambia modific spost`,
	`post publish announc tell send messag share tweet comment repl publica anunci veröffentlich poste publi annonc pubblic`,
	`run execut deploy start launch restart stop build merg push commit approv ejecut despleg führ start lanc exécut déploi esegu avvi`,
}

// acts are the groups that each word of a tool's name is in.
var acts = func() map[string][]int {
	m := make(map[string][]int)
	for g, words := range verbs {
		for w := range strings.FieldsSeq(words) {
			m[w] = append(m[w], g)
		}
	}
	return m
}()

// wordsOf are the words of a tool's name: send_email, sendEmail, mail.send.
func wordsOf(tool string) (list []string) {
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			list = append(list, strings.ToLower(b.String()))
			b.Reset()
		}
	}
	lower := false
	for _, r := range tool {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			flush()
		case unicode.IsUpper(r) && lower:
			flush()
			fallthrough
		default:
			b.WriteRune(r)
		}
		lower = unicode.IsLower(r)
	}
	flush()
	return list
}

// actsOf are the groups that word is in: by the longest of the known words that it begins with.
func actsOf(word string) []int {
	for n := len(word); n >= 2; n-- {
		if g, ok := acts[word[:n]]; ok && (n >= 4 || n == len(word) || len(word)-n <= 3) {
			return g
		}
	}
	return nil
}

// intent says whether the user has asked for what a tool does. The first word of its name
// that is known to be an act counts.
func (u mets) intent(tool string) Intent {
	if len(u) == 0 {
		return IntentUnknown
	}
	var wanted []int
	for _, w := range wordsOf(tool) {
		if wanted = actsOf(w); wanted != nil {
			break
		}
	}
	if wanted == nil {
		return IntentUnknown
	}
	m := u[len(u)-1] // whoever the others act for was asked
	m.mu.Lock()
	defer m.mu.Unlock()
	words := m.words
	if !m.spoken {
		words = m.system
	}
	if len(words) == 0 {
		return IntentUnknown
	}
	for w := range words {
		for _, g := range actsOf(w) {
			for _, want := range wanted {
				if g == want {
					return IntentAsked
				}
			}
		}
	}
	return IntentUnasked
}
