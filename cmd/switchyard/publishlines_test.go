package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/api"
)

// batches is a server that takes batches and says of which sizes they were.
func batches(t *testing.T, sizes chan<- int) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var events []struct{ ID string }
		if err := json.NewDecoder(r.Body).Decode(&events); err != nil {
			t.Error(err)
		}
		reply := api.PublishResults{Results: []api.PublishResult{}}
		for i, e := range events {
			sequence := uint64(i + 1)
			reply.Results = append(reply.Results, api.PublishResult{ID: e.ID, Sequence: &sequence})
		}
		sizes <- len(events)
		_ = json.NewEncoder(w).Encode(reply)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func oneEvent(id int, data string) string {
	return fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"/lines","type":"line","data":%q}`+"\n", id, data)
}

func TestLinesArePublishedInBoundedPieces(t *testing.T) {
	sizes := make(chan int, 1000)
	url := batches(t, sizes)
	var in strings.Builder
	for i := range 1000 {
		in.WriteString(oneEvent(i, ""))
	}
	for i := range 10 {
		in.WriteString(oneEvent(1000+i, strings.Repeat("x", 300<<10)))
	}
	root := newRoot()
	var out strings.Builder
	root.SetOut(&out)
	root.SetIn(strings.NewReader(in.String()))
	if code := execute(root, []string{"publish", "orders", "--file", "-", "--server", url}); code != exitDone || out.String() != "1010 events stored\n" {
		t.Errorf("%d: %s", code, out.String())
	}
	close(sizes)
	sum, requests := 0, 0
	for n := range sizes {
		if sum, requests = sum+n, requests+1; n > pieceEvents || sum > 1000+pieceEvents && n > pieceBytes/(300<<10)+1 {
			t.Errorf("a piece has %d events", n)
		}
	}
	if sum != 1010 || requests < 12 {
		t.Errorf("%d events in %d requests", sum, requests)
	}
}

// What a slow producer has written does not wait for what it has not.
func TestLinesArePublishedWhenTheyAreThere(t *testing.T) {
	sizes := make(chan int, 10)
	url := batches(t, sizes)
	r, w := io.Pipe()
	root := newRoot()
	root.SetOut(io.Discard)
	root.SetIn(r)
	done := make(chan int, 1)
	go func() { done <- execute(root, []string{"publish", "orders", "--file", "-", "--server", url}) }()
	half := oneEvent(4, "")
	for _, text := range []string{oneEvent(1, "") + oneEvent(2, ""), oneEvent(3, "") + half[:20]} {
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
		select {
		case <-sizes:
		case <-time.After(20 * time.Second):
			t.Fatal("the lines are not sent before more come")
		}
	}
	if _, err := io.WriteString(w, half[20:]); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if code := <-done; code != exitDone {
		t.Error(code)
	}
}
