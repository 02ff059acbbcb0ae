package bus

import "github.com/switchyard-dev/switchyard/targets"

// FailureClasses are the classes that the record of a failed attempt can have
// (store.Failure).
func FailureClasses() []string {
	var out []string
	for _, class := range targets.Failures() {
		out = append(out, string(class))
	}
	return out
}
