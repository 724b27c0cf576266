// Package dialect translates between the languages of model APIs. Each is read into
// one neutral form, and written from it: a request is a [Prompt], a reply is a [Reply],
// and a reply that streams is [Piece]s. What a language cannot say is not left out in
// silence: whoever writes it says so as [Losses].
//
// It does no input or output, keeps nothing between calls but what a [Decoder] or
// [Encoder] knows of its own reply, and decides nothing. A reply in the language that
// its client speaks is never translated at all.
package dialect

import "fmt"

// A Name is the name of a dialect.
type Name string

// The dialects.
const (
	Chat      Name = "chat"      // OpenAI chat completions, and all that are compatible
	Responses Name = "responses" // OpenAI responses
	Messages  Name = "messages"  // Anthropic messages
	Gemini    Name = "gemini"    // Google generateContent
	Converse  Name = "converse"  // Amazon Bedrock Converse
	Cohere    Name = "cohere"    // Cohere chat, version 2
)

// A Dialect is one language. One that only providers speak has no Read and no NewEncoder.
// All of its functions may be called by many goroutines at
// once; what NewDecoder and NewEncoder return belongs to one reply.
type Dialect struct {
	Name Name
	// Read makes a request the neutral form. doc is valid JSON without a name twice.
	// What it finds that it does not know it reports as a loss, by its path.
	Read func(doc []byte) (*Prompt, error)
	// Write is p in this dialect, for a model of one vendor.
	Write func(p *Prompt, to Target) ([]byte, Losses, error)
	// NewDecoder reads a reply, for a client who asked for p.
	NewDecoder func(p *Prompt) Decoder
	// NewEncoder writes a reply, for a client who asked for p in this dialect.
	NewEncoder func(p *Prompt) Encoder
}

// A Target is what a request is written for.
type Target struct {
	Model     string // by its name at the provider
	Vendor    string // of reasoning signatures: "anthropic", "google", "openai"… Those of another are left out.
	MaxTokens int    // that the model may reply with, where the dialect needs a bound and the client gives none; 0: 4096
	OldLimit  bool   // chat: the vendor knows max_tokens and not max_completion_tokens
	NoUsage   bool   // chat: the vendor does not take stream_options
	Custom    bool   // chat: the vendor knows custom tools, and not functions only
}

// A Decoder reads one reply of a dialect.
type Decoder interface {
	// Whole reads a plain reply.
	Whole(doc []byte) (*Reply, error)
	// Event reads one event of a stream and appends the pieces that it brings to list.
	// The last piece of a reply that ends well is an [End], which waits for what may
	// come behind it: the usage of chat completions.
	Event(list []Piece, name string, data []byte) ([]Piece, error)
	// Over says that nothing more comes, and appends what was waited with. It is an error
	// if the reply is not complete.
	Over(list []Piece) ([]Piece, error)
}

// An Encoder writes one reply in a dialect.
type Encoder interface {
	// Whole is r as a plain reply.
	Whole(r *Reply) []byte
	// Event appends p, as events of a stream, to list. After an [End] or a [Fail] the
	// stream is complete in the dialect.
	Event(list []Frame, p Piece) []Frame
}

// A Frame is one event of a stream as it is written.
type Frame struct {
	Name string // of the event; "" in dialects whose events have none
	Data []byte // one line
	Last bool   // nothing follows
}

// An Unreadable is that a document is not what its dialect says.
type Unreadable struct {
	Dialect Name
	Path    string // where, as in Loss
	Why     string
}

func (e *Unreadable) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("the %s document cannot be read: %s", e.Dialect, e.Why)
	}
	return fmt.Sprintf("the %s document cannot be read: %s: %s", e.Dialect, e.Path, e.Why)
}

// Of is the dialect of a name, nil if it is not one that is translated.
func Of(name Name) *Dialect {
	switch name {
	case Chat:
		return &chatDialect
	case Responses:
		return &responsesDialect
	case Messages:
		return &messagesDialect
	case Gemini:
		return &geminiDialect
	case Converse:
		return &converseDialect
	case Cohere:
		return &cohereDialect
	}
	return nil
}
