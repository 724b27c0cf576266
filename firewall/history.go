package firewall

// A History is what a model call tells of the conversation that it goes on with, the
// same whatever the dialect. What its vendor alone can read (thoughts, marks for a cache)
// is not in it. Its texts alias the request.
type History struct {
	Said     []Said // oldest first
	Tools    []byte // that the model may ask for, as the request tells them
	Previous string // id of the reply that it goes on with, which its provider keeps; "" for none
}

// A Speaker is who said something.
type Speaker uint8

// The speakers. What tools answer is said by the User.
const (
	System Speaker = iota
	User
	Assistant
)

// A SaidKind says what a [Said] is.
type SaidKind uint8

// The kinds of what is said.
const (
	SaidText   SaidKind = iota // Text
	SaidUse                    // a tool call that the model asked for: ID, Name, JSON
	SaidResult                 // of a tool call: ID, Name where it is known, Text where it is one text
	SaidPart                   // a text that the result before has: Text
	SaidOther                  // JSON, or what is no text: a picture
)

// A Said is one thing in a conversation.
type Said struct {
	By   Speaker
	Kind SaidKind
	ID   string
	Name string
	Text string
	JSON []byte
}
