package bus

import "fmt"

// FieldError is an error about one field of what was asked for.
type FieldError struct {
	Field  string // its path in the request, such as rules/0
	Reason string // what is wrong with it, and what to do
	Kind   error  // such as ErrReplay
}

// Error implements error.
func (e *FieldError) Error() string { return fmt.Sprintf("%v: %s", e.Kind, e.Reason) }

// Unwrap lets errors.Is find the kind.
func (e *FieldError) Unwrap() error { return e.Kind }

// wrong makes a FieldError.
func wrong(kind error, field, format string, args ...any) error {
	return &FieldError{field, fmt.Sprintf(format, args...), kind}
}
