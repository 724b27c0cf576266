package dialect

// A Reply is what a model answers.
type Reply struct {
	ID      string
	Model   string
	Choices []Answer // usually one
	Usage   *Usage   // nil: it is not told
	Failed  *Failed  // instead of all else
}

// An Answer is one of the replies that were asked for.
type Answer struct {
	Parts  []Part
	Reason StopReason
	Last   string // the stop sequence that ended it
}

// A StopReason is why a reply ended.
type StopReason uint8

// The reasons. Other is one that this package does not know.
const (
	Other StopReason = iota
	EndTurn
	StopSequence
	MaxTokens
	ToolUse
	Filtered // by the vendor
	Refused  // by the model
	Paused   // to be asked to go on
)

// A Usage is what a reply took. Input is all of the prompt, what was cached and what
// was put in the cache included; Output includes Reasoning. [Encoder]s count as their
// dialect does.
type Usage struct {
	Input, Output         int64
	CacheRead, CacheWrite int64
	CacheWriteHour        int64 // of CacheWrite, what is kept for an hour
	Reasoning             int64
	AudioIn, AudioOut     int64
	ImageIn               int64
}

// A Failed is an error that a provider tells.
type Failed struct {
	Kind    Failure
	Message string
	Status  int    // of HTTP, 0 in the middle of a stream
	Code    string // the vendor's own
}

// A Failure is a kind of error.
type Failure uint8

// The kinds of errors.
const (
	Broken      Failure = iota // the provider's fault
	BadRequest                 // the client's
	BadKey                     // callgate's credential is not taken, or has no money
	Forbidden                  // the credential may not do this
	NoModel                    // there is none of that name
	TooLong                    // the prompt does not fit the model's context
	TooLarge                   // the body is larger than the vendor takes
	Throttled                  // too much in too short a time
	Overloaded                 // the vendor has too much to do
	TimedOut                   // at the vendor
	FilteredOut                // the vendor's content policy
)

// A PieceKind says what a [Piece] is.
type PieceKind uint8

// The kinds of pieces, in the order in which they come: a Begin; then, for each part,
// Open, any number of Delta, and Close; then an End, or a Fail at any time. A Total
// may come at any time before the End, and overwrites the one before.
const (
	Begin PieceKind = iota // ID, Model
	Open                   // a part begins: Index, Part with Kind, and ID and Name where it is a tool's call
	Delta                  // Index, Text: more of a text, of a thought, or of a tool's arguments as the model writes them
	Sign                   // Index, Part.Signature and Part.Vendor: of a thought, or of a tool's call
	Close                  // Index: the part is complete
	Total                  // Usage
	End                    // Reason, Last: the answer is complete; of the last answer, the reply is
	Fail                   // Failed
)

// A Piece is one step of a reply that streams.
type Piece struct {
	Kind   PieceKind
	Choice int // which answer, where several were asked for
	Index  int // of the part in its answer, from 0
	ID     string
	Model  string
	Part   Part
	Text   string
	Usage  *Usage
	Reason StopReason
	Last   string
	Failed *Failed
}
