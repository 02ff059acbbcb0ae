package bus

import "github.com/switchyard-dev/switchyard/targets"

// concealed is an error that does not show what its cause does. It is the same
// outcome.
type concealed struct {
	text string
	err  error
}

func (e *concealed) Error() string { return e.text }
func (e *concealed) Unwrap() error { return e.err }

// conceal is err without what hide takes out of its text; nil hides nothing.
func conceal(err error, hide func(string) string) error {
	if err == nil || hide == nil {
		return err
	}
	text := err.Error()
	if shown := hide(text); shown != text {
		return &concealed{shown, err}
	}
	return err
}

// conceal is err, and the answer, without what must not be shown of the
// target's settings. A receiver may repeat what it was sent.
func (t *target) conceal(err error, answer *targets.Answer) error {
	if hide := t.plan.Hide; hide != nil {
		answer.Body, answer.Headers, answer.Sent = hide(answer.Body), hide(answer.Headers), hide(answer.Sent)
		answer.ReplyDropped = hide(answer.ReplyDropped)
	}
	return conceal(err, t.plan.Hide)
}
