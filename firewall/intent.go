package firewall

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
)

// An act is a group of words for one thing to do: those that tools are named with, and those
// by which users ask for it. Words end where they stop to differ.
type act struct {
	tools, users string
	makes        bool // something that was not there before
}

var actsKnown = [...]act{
	{tools: `send email mail messag write reply repl respond answer forward tell notif inform contact ping dm text`,
		users: `send email mail messag write reply repl respond answer forward tell notif inform contact ping dm text post invit share say ask greet thank remind escalat introduc welcom congratulat wish apologi give submit
		envia envía manda escrib respond contest reenvi reenví avis comunic schick send schreib antwort leit weiterleit sag benachricht mitteil envoi écri répond transfér préven dis invia scriv rispond inoltr avvis manda responda
		发 告诉 回复 通知 写信 转发 送 返信 伝え 連絡 보내 알려 답장 отправ напиш ответ сообщ перешл enviar diga verstuur stuur antwoord wyślij napisz odpowiedz`},
	{tools: `pay transfer wire remit settl refund reimburs donat money payment transact charg deposit withdraw invoic bill`,
		users: `pay transfer wire remit settl refund reimburs donat send charg deposit withdraw invoic bill owe money schedul standing recurr set return
		paga pagar transfier transfer abon zahl überweis bezahl pai pay vers virement règle bonific 付 转账 汇 支払 振込 송금 оплат перевед betaal zapłać przelej`},
	{tools: `book reserv order buy purchas rent hire checkout`,
		users: `book reserv order buy purchas rent hire get arrang plan stay pick choos
		reserva compra alquil buch kauf bestell miet réserv achèt achet command lou prenot compr 预订 订 买 予約 예약 заброн куп boek zarezerwuj kup`, makes: true},
	{tools: `share invit add grant give allow access join enrol`,
		users: `share invit add grant give allow access send join enrol include
		compart añad da teil freigeb einlad lad partag ajout invite condivid aggiung 分享 邀请 添加 共有 招待 공유 초대 подел приглас добав deel nodig udostępnij zaproś dodaj`},
	{tools: `delet remov cancel clear clean drop trash eras unsubscrib discard empty archiv purg revok uninstall kick ban`,
		users: `delet remov cancel clear clean drop trash eras unsubscrib discard empty archiv purg revok uninstall kick ban throw
		elimin borr cancel quit lösch entfern stornier absag supprim efface annul rimuov cancell elimina 删 取消 移除 削除 삭제 취소 удал отмен verwijder usuń odwołaj`},
	{tools: `creat schedul make set plan new sav save upload stor note draft prepar generat regist record`,
		users: `creat add schedul make set plan writ save upload stor note put append draft prepar generat regist record arrang organis organiz book remind invite
		crea añad agendad programa guard erstell anleg plan speicher trag cré ajout planif enregistr prépar mets crea aggiung pianific salva 创建 安排 保存 作成 만들 созда запиш maak zet utwórz zapisz`, makes: true},
	{tools: `updat chang modif edit move renam reschedul mark adjust correct fix replac rotat reset switch increas decreas extend postpon shift append`,
		users: `updat chang modif edit set move renam reschedul mark adjust correct fix replac rotat reset switch increas decreas extend postpon shift rais lower put add append writ insert includ push delay swap
		actualiz cambi modific mueve änder ander ersetz verschieb aktualis modifi chang déplac aggiorn cambia modific spost 改 更新 变更 変更 변경 измен обнов перенес wijzig verzet zmień przenieś`},
	{tools: `post publish announc tweet comment`,
		users: `post publish announc tell send messag share tweet comment repl answer write put say greet summar introduc welcom congratulat inform notif email
		publica anunci veröffentlich poste publi annonc pubblic schreib escrib 发 发布 投稿 게시 опубл plaats opublikuj`},
	{tools: `run execut deploy start launch restart stop build merg push commit approv submit trigger`,
		users: `run execut deploy start launch restart stop build merg push commit approv submit trigger test
		ejecut despleg führ start lanc exécut déploi esegu avvi 运行 执行 部署 実行 실행 запуст voer uruchom`, makes: true},
}

// vocabulary has the groups that each word is in, by who says it.
func vocabulary(words func(*act) string) map[string][]int {
	m := make(map[string][]int)
	for g := range actsKnown {
		for w := range strings.FieldsSeq(words(&actsKnown[g])) {
			m[w] = append(m[w], g)
		}
	}
	return m
}

var (
	toolWords = vocabulary(func(a *act) string { return a.tools })
	userWords = vocabulary(func(a *act) string { return a.users })
)

const paying = 1 // the group of the acts with money

// plainNouns are words of tools' names that say nothing of what is acted on.
var plainNouns = strings.Fields("user users info information data record records entry item object thing details detail command code task request action tool my the a to for of in on by with and from mcp api")

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
func actsOf(known map[string][]int, word string) []int {
	for n := len(word); n >= 2; n-- {
		if g, ok := known[word[:n]]; ok && (n >= 4 || n == len(word) || len(word)-n <= 3) {
			return g
		}
	}
	return nil
}

// groupsOf are the groups that a tool is of, by the first word of its name that is known; a
// tool that sends money is of those that pay, whatever it calls that.
func groupsOf(tool string) (groups []int) {
	for _, w := range wordsOf(tool) {
		of := actsOf(toolWords, w)
		if groups == nil {
			groups = of
		}
		if slices.Contains(of, paying) && (slices.Contains(groups, 0) || slices.ContainsFunc(groups, func(g int) bool { return actsKnown[g].makes })) {
			return of
		}
	}
	return groups
}

// makesNew says that a tool makes something that was not there before, so that its name may
// be a new one.
func makesNew(tool string) bool {
	return slices.ContainsFunc(groupsOf(tool), func(g int) bool { return actsKnown[g].makes })
}

// asker is who asked for all this: of runs that act for others, the last one's user; of one
// without a user what its system prompt says.
func (u mets) asker(ask func(m *met, words map[string]bool) Intent) Intent {
	if len(u) == 0 {
		return IntentUnknown
	}
	m := u[len(u)-1]
	m.mu.Lock()
	defer m.mu.Unlock()
	words := m.words
	if !m.spoken {
		words = m.system
	}
	if len(words) == 0 {
		return IntentUnknown
	}
	return ask(m, words)
}

// intent says whether the user has asked for what a tool does.
func (u mets) intent(tool string) Intent {
	groups := groupsOf(tool)
	if groups == nil {
		return IntentUnknown
	}
	return u.asker(func(m *met, words map[string]bool) Intent {
		asks := func(of []int) bool {
			return slices.ContainsFunc(of, func(g int) bool { return slices.Contains(groups, g) })
		}
		for w := range words {
			if asks(actsOf(userWords, w)) {
				return IntentAsked
			}
		}
		for w, of := range userWords {
			if asks(of) && dense(w) && bytes.Contains(m.text, []byte(w)) {
				return IntentAsked
			}
		}
		return IntentUnasked
	})
}

// named says whether the user has said what it is that a tool is named to act on: password,
// of update_password. It is unknown of a tool whose name says no such thing.
func (u mets) named(tool string) Intent {
	var nouns []string
	for _, w := range wordsOf(tool) {
		if actsOf(toolWords, w) == nil && len(w) >= 3 && !slices.Contains(plainNouns, w) {
			nouns = append(nouns, strings.TrimSuffix(w, "s"))
		}
	}
	if nouns == nil {
		return IntentUnknown
	}
	return u.asker(func(_ *met, words map[string]bool) Intent {
		for w := range words {
			if slices.ContainsFunc(nouns, func(n string) bool { return strings.HasPrefix(w, n) }) {
				return IntentAsked
			}
		}
		return IntentUnasked
	})
}
