package dialect

import "encoding/json"

// A Prompt is a request for one reply.
type Prompt struct {
	Model  string
	Stream bool
	System []Part // texts that are above all turns
	Turns  []Turn

	Tools    []Tool
	Choice   Choice
	Parallel *bool // whether it may call several tools at once; nil: as the model likes

	MaxTokens   int // of the reply; 0: not said
	Temperature *float64
	TopP        *float64
	TopK        *int
	Seed        *int64
	Frequency   *float64 // penalty
	Presence    *float64 // penalty
	Stop        []string
	Replies     int // that are wanted of it at once; 0 and 1 are one

	Format    *Format    // of the reply; nil: text
	Reasoning *Reasoning // nil: as the model likes
	Cache     *Cache     // of the whole prompt so far
	CacheKey  string     // requests of one key share what is cached
	User      string     // whom the client does it for, as it calls them

	At     int64                      // when it was asked, in Unix seconds: replies say so
	Usage  bool                       // the client asks for the usage in a stream
	Extra  map[string]json.RawMessage // members that only dialects of this vendor know, by their names: written only where they came from
	From   Name                       // the dialect that it was read from
	Losses Losses                     // what Read could not make neutral
}

// A Role is whose turn it is.
type Role uint8

// The roles. What tools answer is a [ToolResult] in a turn of User.
const (
	User Role = iota
	Assistant
	Developer // instructions in the middle of a conversation
)

// A Turn is what one side says before the other does.
type Turn struct {
	Role  Role
	Name  string // of who speaks, where several do
	Parts []Part
}

// A PartKind says what a [Part] is.
type PartKind uint8

// The kinds of parts.
const (
	Text PartKind = iota
	Refusal
	Image
	Audio
	Document   // PDF and other files
	Thought    // what the model thought: Text, Signature
	Redacted   // thought that only its vendor can read: Signature
	ToolCall   // ID, Name, Args
	ToolResult // ID, Name if it is known, Parts, Failed
)

// A Part is one thing in a turn, in a system prompt, or in a reply.
type Part struct {
	Kind PartKind
	Text string

	Media *Media // of Image, Audio, Document

	ID     string          // of a tool's call, on the model's side
	Name   string          // of the tool
	Args   json.RawMessage // of ToolCall: an object; or what the model wrote, as a JSON text, where that is none
	Custom bool            // of ToolCall: its argument is a plain text, which stands in Args as a JSON text
	Parts  []Part          // of ToolResult
	Failed bool            // of ToolResult

	Signature string                     // opaque, of who made it: see Vendor
	Vendor    string                     // whose Signature it is
	Cache     *Cache                     // the prompt up to here is to be cached
	Extra     map[string]json.RawMessage // as in Prompt
}

// A Media is a picture, a sound or a file: inline, at a URL, or at its vendor.
type Media struct {
	Type   string // MIME type, "" if it is not known
	Data   string // base64
	URL    string
	File   string // id at Vendor
	Vendor string
	Name   string // of the file
	Detail string // of an image: low, high, auto
}

// A Cache is how long something is to be kept for the next request.
type Cache struct{ TTL string } // "5m", "1h"; "" is the vendor's own

// A Tool is a function that the model may ask for. Tools that the vendor runs itself
// are in Prompt.Extra or, as they came, in Hosted.
type Tool struct {
	Name        string
	Description string
	Schema      json.RawMessage // of the arguments, JSON Schema; nil: none are said
	Strict      bool            // arguments hold to Schema exactly
	Custom      json.RawMessage // not a function but a custom tool of OpenAI's: its own members
	Hosted      json.RawMessage // the vendor runs it: as it came, in dialect From
	Cache       *Cache
	Space       string // responses: the namespace that it is in, which Name begins with
	Local       string // and its name there
}

// A Choice is whether the model must call a tool. The zero Choice is as it likes.
type Choice struct {
	Mode ChoiceMode
	Name string   // of Named
	Only []string // tools that may be called, where not all may
}

// A ChoiceMode is one of the ways to choose.
type ChoiceMode uint8

// The ways to choose.
const (
	Auto ChoiceMode = iota
	NoTool
	AnyTool
	Named
)

// A Format is what a reply must look like: any JSON object, or one that holds to
// Schema.
type Format struct {
	Name        string
	Description string
	Schema      json.RawMessage // nil: any object
	Strict      bool
}

// A Reasoning is how much a model thinks before it speaks.
type Reasoning struct {
	Off     bool
	Effort  string // minimal, low, medium, high…; "" if Tokens says it
	Tokens  int    // 0: not said
	Summary bool   // what it thought is wanted, too
}
