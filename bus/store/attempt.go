package store

import "time"

// Phases says how long the steps of an attempt took. A step that did not take
// place, as on a connection that was used before, is 0.
type Phases struct {
	DNS       time.Duration // looking the host's name up
	Connect   time.Duration // making the connection
	TLS       time.Duration // its TLS handshake
	FirstByte time.Duration // from the start of the request to the first byte of the answer
}

// Failure is what the record of an attempt that failed has beside the rest.
type Failure struct {
	Class   string    // why it failed, one of a closed list
	Request string    // headers that were sent, "Name: value" on a line each, secrets redacted; at most 8 KiB
	Answer  string    // headers of the answer, as in Request; at most 8 KiB
	NextAt  time.Time // when it is tried again; zero if it is not
	// Died is when the delivery became a dead letter of it, zero if it did not,
	// and Reason why; at most 1 KiB.
	Died   time.Time `json:",omitzero"`
	Reason string    `json:",omitempty"`
}
