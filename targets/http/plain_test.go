package http

import (
	"bufio"
	"io"
	"net"
	nethttp "net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/targets"
)

// keptServer answers each request on a connection with what answer gives; n
// counts the connections, i the requests on one, both from 1. It closes a
// connection once answer says so.
func keptServer(t *testing.T, answer func(c net.Conn, n, i int) (more bool)) (url string, closed <-chan int) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan int, 100)
	var all sync.WaitGroup
	all.Go(func() {
		for n := 1; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer func() { c.Close(); ended <- n }()
				in := bufio.NewReader(c)
				for i := 1; ; i++ {
					req, err := nethttp.ReadRequest(in)
					if err != nil {
						return
					}
					if _, err := io.Copy(io.Discard, req.Body); err != nil || !answer(c, n, i) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return "http://" + l.Addr().String(), ended
}

func targetOf(t *testing.T, url string) *target {
	c := NewConfig()
	c.URL, c.Timeout = url, 5*time.Second
	return newTarget(t, c, targets.Env{})
}

const (
	answered202  = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
	idleTimedOut = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)

// What a receiver says on a connection that it gives up answers no request.
func TestWhatComesOnAnIdleConnectionIsNoAnswer(t *testing.T) {
	for name, answer := range map[string]func(c net.Conn, n, i int) bool{
		"with the answer before": func(c net.Conn, n, i int) bool {
			if n == 1 {
				io.WriteString(c, answered202+idleTimedOut)
				return false
			}
			io.WriteString(c, answered202)
			return true
		},
		"after it": func(c net.Conn, n, i int) bool {
			io.WriteString(c, answered202)
			if n == 1 {
				io.WriteString(c, idleTimedOut)
			}
			return n > 1
		},
		"just as the next request comes": func(c net.Conn, n, i int) bool {
			if n == 1 && i == 2 {
				io.WriteString(c, idleTimedOut)
				return false
			}
			io.WriteString(c, answered202)
			return true
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, closed := keptServer(t, answer)
			target, e := targetOf(t, url), parse(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`)
			for i := range 3 {
				if err := target.Deliver(t.Context(), deliveryOf(e)); err != nil {
					t.Fatalf("delivery %d: %v", i+1, err)
				}
				if i == 0 && name == "after it" {
					<-closed
				}
			}
			target.Close()
		})
	}
}

// A 408 on a connection of its own is the receiver's answer.
func TestATimeoutOfANewConnectionIsAnAnswer(t *testing.T) {
	requests := make(chan int, 10)
	url, _ := keptServer(t, func(c net.Conn, n, i int) bool {
		requests <- n
		io.WriteString(c, idleTimedOut)
		return false
	})
	target := targetOf(t, url)
	d := deliveryOf(parse(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`))
	if err := target.Deliver(t.Context(), d); err == nil || targets.IsPermanent(err) || d.Answer.Status != nethttp.StatusRequestTimeout {
		t.Fatalf("got %v with status %d; want one that is tried again, with 408", err, d.Answer.Status)
	}
	if len(requests) != 1 {
		t.Errorf("the receiver got %d requests in one attempt", len(requests))
	}
	target.Close()
}

func TestIdleConnectionsAreClosedInTheEnd(t *testing.T) {
	url, closed := keptServer(t, func(c net.Conn, n, i int) bool {
		io.WriteString(c, answered202)
		return true
	})
	target := targetOf(t, url)
	deliver := func() {
		t.Helper()
		if err := target.Deliver(t.Context(), deliveryOf(parse(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`))); err != nil {
			t.Fatal(err)
		}
	}
	deliver()
	target.plain.expire() // too early for what was just used
	deliver()
	if len(closed) != 0 {
		t.Fatal("a connection was closed that was just used")
	}
	target.plain.mu.Lock()
	target.plain.idle[0].since = time.Now().Add(-idleTimeout)
	target.plain.mu.Unlock()
	target.plain.expire()
	if n := <-closed; n != 1 {
		t.Errorf("connection %d was closed, not the first and only one", n)
	}
	deliver()
	target.Close()
	if n := <-closed; n != 2 {
		t.Errorf("connection %d was closed with the target", n)
	}
}

// An answer to an informational one before it, with a body in chunks, is read
// as HTTP/1.1 has it, and its connection used again.
func TestAnswersOfEveryFormKeepTheirConnection(t *testing.T) {
	url, closed := keptServer(t, func(c net.Conn, n, i int) bool {
		switch i {
		case 1:
			io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"+answered202)
		case 2:
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n")
		case 3:
			io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		case 4:
			io.WriteString(c, "HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nwhy?")
		default:
			io.WriteString(c, answered202)
		}
		return true
	})
	target := targetOf(t, url)
	for i := range 5 {
		d := deliveryOf(parse(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`))
		err := target.Deliver(t.Context(), d)
		if failed := i == 3; (err != nil) != failed || failed && !strings.HasSuffix(err.Error(), "why?") {
			t.Errorf("request %d: %v", i+1, err)
		}
	}
	if len(closed) != 0 {
		t.Error("a connection was given up that could be used again")
	}
	target.Close()
}

// Bodies of every size arrive whole; large ones may be answered before they
// are read.
func TestLargeBodies(t *testing.T) {
	url, requests := recorder(t)
	target := targetOf(t, url)
	for _, size := range []int{1, maxPlainBody - 20, maxPlainBody + 20, 200 << 10} {
		data := strings.Repeat("x", size)
		if err := target.Deliver(t.Context(), deliveryOf(parse(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":"`+data+`"}`))); err != nil {
			t.Fatal(err)
		}
		if got := (<-requests).body; string(got) != `"`+data+`"` {
			t.Errorf("of %d bytes came %d", size+2, len(got))
		}
	}
	refusing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer refusing.Close()
	go func() {
		c, err := refusing.Accept()
		if err != nil {
			return
		}
		// An answer to no request at all would be another thing.
		if _, err := io.ReadFull(c, make([]byte, 4<<10)); err != nil {
			t.Error(err)
		}
		io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		time.AfterFunc(10*time.Second, func() { c.Close() })
	}()
	target = targetOf(t, "http://"+refusing.Addr().String())
	d := deliveryOf(parse(t, `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":"`+strings.Repeat("x", 240<<10)+`"}`))
	if err := target.Deliver(t.Context(), d); !targets.IsPermanent(err) || d.Answer.Status != 413 {
		t.Errorf("an answer before the end of the request: %v, status %d", err, d.Answer.Status)
	}
}
