package webhook

import (
	"errors"
	"net/url"
)

// openGitHub reads both of the forms that a webhook on GitHub may be set to.
// The signature is over the form as it came; the data is the JSON within it.
func openGitHub(r *request) error {
	if !isForm(r.header.Get("Content-Type")) {
		return openJSON(r)
	}
	fields, err := r.openForm()
	if err != nil {
		return err
	}
	if !fields.Has("payload") {
		return errors.New("the form has no field payload")
	}
	return r.setJSON([]byte(fields.Get("payload")), "application/json")
}

func deriveGitHub(r *request) (attributes, error) {
	source := firstOf(
		r.text("repository", "html_url"), r.text("repository", "url"),
		r.text("organization", "html_url"), githubAccount(r.text("organization", "login")), r.text("organization", "url"),
		r.text("enterprise", "html_url"),
		r.text("installation", "account", "html_url"), r.text("sender", "html_url"),
		"https://github.com",
	)
	a := attributes{
		source:  source,
		subject: r.text("repository", "full_name"),
		id:      r.header.Get("X-Github-Delivery"),
	}
	name := r.header.Get("X-Github-Event")
	if name == "" {
		return a, errors.New("the header X-GitHub-Event is missing")
	}
	a.typ = "com.github." + name
	return a, nil
}

func githubAccount(login string) string {
	if login == "" {
		return ""
	}
	return "https://github.com/" + url.PathEscape(login)
}
