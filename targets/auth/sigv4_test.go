package auth

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
)

// The vectors are those of AWS's test suite for Signature Version 4, and the
// example of its documentation.
func TestSigV4Vectors(t *testing.T) {
	at := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	for _, c := range []struct {
		name, service, method, url string
		headers                    map[string][]string
		body                       string
		signed, want               string
	}{
		{"get-vanilla", "service", "GET", "https://example.amazonaws.com/", nil, "",
			"host;x-amz-date", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{"get-vanilla-query-order-key-case", "service", "GET", "https://example.amazonaws.com/?Param2=value2&Param1=value1", nil, "",
			"host;x-amz-date", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{"post-vanilla", "service", "POST", "https://example.amazonaws.com/", nil, "",
			"host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{"the documentation's ListUsers", "iam", "GET", "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
			map[string][]string{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}, "",
			"content-type;host;x-amz-date", "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, err := url.Parse(c.url)
			if err != nil {
				t.Fatal(err)
			}
			s := newSigV4(&SigV4{Region: "us-east-1", Service: c.service, AccessKey: "AKIDEXAMPLE",
				SecretKey: component.NewSecret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")})
			for range 2 { // the key of the day is used again
				req := &http.Request{Method: c.method, URL: u, Host: u.Host, Header: http.Header{}}
				for name, values := range c.headers {
					req.Header[name] = values
				}
				req.Header.Set("User-Agent", "is not signed")
				req.Header["Idempotency-Key"] = []string{}
				s.sign(req, []byte(c.body), at)
				want := "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/" + c.service + "/aws4_request, SignedHeaders=" + c.signed + ", Signature=" + c.want
				if got := req.Header.Get("Authorization"); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
			}
		})
	}
}

func TestCanonicalRequest(t *testing.T) {
	u, err := url.Parse("https://example.com/a%20b/%C3%BC/%2F?b=2&a=%7e&a=&c=x+y&a=B/c")
	if err != nil {
		t.Fatal(err)
	}
	req := &http.Request{Method: "POST", URL: u, Host: "example.com:8443", Header: http.Header{
		"X-B": {"  two   words ", "more"}, "X-A": {"1"}, "Traceparent": {"00-1"}, "Content-Type": {"text/plain"},
	}}
	got, signed := canonicalRequest(req, []byte("body"), false)
	want := strings.Join([]string{
		"POST", "/a%2520b/%25C3%25BC/%252F", "a=&a=B%2Fc&a=~&b=2&c=x%20y",
		"content-length:4", "content-type:text/plain", "host:example.com:8443", "x-a:1", "x-b:two words,more", "",
		"content-length;content-type;host;x-a;x-b", "230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5",
	}, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if signed != "content-length;content-type;host;x-a;x-b" {
		t.Errorf("signed are %s", signed)
	}
	if plain, _ := canonicalRequest(req, nil, true); !strings.HasPrefix(plain, "POST\n/a%20b/%C3%BC/%2F\n") {
		t.Errorf("of S3 it is %s", plain)
	}
}
