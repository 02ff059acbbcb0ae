package targets

import "errors"

// The classes of failures that have nothing to do with the way to the receiver,
// beside Classes: the record of an attempt has one of all these.
const (
	Status    Class = "status"    // the receiver's answer is a failure
	Forbidden Class = "forbidden" // the network rules refuse the address
	Transform Class = "transform" // the rule's transform failed on the event
	Enrich    Class = "enrich"    // an enrichment of the rule failed
	Reply     Class = "reply"     // the receiver's reply was not published
	Nack      Class = "nack"      // a worker gave its lease back
	Lease     Class = "lease"     // a worker's lease ended without an answer
	Internal  Class = "internal"  // the target's own code panicked
)

// Failures are all classes that the record of a failed attempt can have.
func Failures() []Class {
	return append(Classes(), Status, Forbidden, Transform, Enrich, Reply, Nack, Lease, Internal)
}

// classified is an error whose class is known where it is made.
type classified struct {
	class Class
	err   error
}

// Error implements error.
func (e *classified) Error() string { return e.err.Error() }

// Unwrap gives the cause.
func (e *classified) Unwrap() error { return e.err }

// Classify is err with the class that its attempt's record shows; nil stays nil.
func Classify(class Class, err error) error {
	if err == nil {
		return nil
	}
	return &classified{class, err}
}

// FailureOf is the class of a failed attempt, by its error and the status of
// the answer, 0 if there was none.
func FailureOf(err error, status int) Class {
	var c *classified
	switch {
	case errors.As(err, &c):
		return c.class
	case status != 0:
		return Status
	}
	return ClassOf(err)
}
