package http

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/switchyard-dev/switchyard/targets"
)

// rawServer accepts connections, reads the head and the body of one request
// from each, and then does as answer says. It ends with the test.
func rawServer(t *testing.T, answer func(net.Conn)) (address string, sent <-chan string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	heads := make(chan string, 100)
	var all sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			all.Go(func() {
				defer c.Close()
				in := bufio.NewReader(c)
				var head strings.Builder
				length := 0
				for {
					line, err := in.ReadString('\n')
					if err != nil {
						return
					}
					head.WriteString(line)
					fmt.Sscanf(line, "Content-Length: %d", &length)
					if line == "\r\n" {
						break
					}
				}
				if _, err := io.CopyN(io.Discard, in, int64(length)); err != nil {
					return
				}
				select {
				case heads <- head.String():
				default: // nobody looks
				}
				answer(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String(), heads
}

// drip writes a byte at a time until the other side has had enough.
func drip(c net.Conn, b byte) {
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for range pace.C {
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
	}
}

// flood writes until the other side has had enough.
func flood(c net.Conn, text string) {
	for {
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
	}
}

func TestHostileReceivers(t *testing.T) {
	const timeout = 300 * time.Millisecond
	for _, c := range []struct {
		name   string
		answer func(net.Conn)
		want   string // "" for success, else the start of the error
		status int
		bound  time.Duration // by which the attempt is over
	}{
		{"never answers", func(c net.Conn) { io.Copy(io.Discard, c) }, "timeout after 300ms", 0, 2 * time.Second},
		{"one byte of the head at a time", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nX: ")
			drip(c, 'x')
		}, "timeout after 300ms", 0, 2 * time.Second},
		{"one byte of a good answer at a time", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
			drip(c, 'x')
		}, "", 200, 2 * time.Second},
		{"one byte of a bad answer at a time", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 503 Busy\r\nContent-Length: 100000\r\n\r\n")
			drip(c, 'x')
		}, "503 Service Unavailable: x", 503, 2 * time.Second},
		{"an endless good answer", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			flood(c, strings.Repeat("x", 1000))
		}, "", 200, 2 * time.Second},
		{"an endless bad answer", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 500 Oops\r\n\r\n")
			flood(c, strings.Repeat("x", 1000))
		}, "500 Internal Server Error: xxx", 500, 2 * time.Second},
		{"endless chunks", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			flood(c, "1\r\nx\r\n")
		}, "", 200, 2 * time.Second},
		{"closes without an answer", func(net.Conn) {}, "the connection was closed before an answer came", 0, 2 * time.Second},
		{"closes within the head", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200") }, "the connection was closed before an answer came", 0, 2 * time.Second},
		{"closes within a good answer", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf") }, "", 200, 2 * time.Second},
		{"closes within a bad answer", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\nhalf") }, "500 Internal Server Error: half", 500, 2 * time.Second},
		{"huge headers", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			flood(c, "X-Header: "+strings.Repeat("x", 1000)+"\r\n")
		}, "server response headers exceeded 65536 bytes", 0, 2 * time.Second},
		{"endless 100 Continue", func(c net.Conn) { flood(c, "HTTP/1.1 100 Continue\r\n\r\n") }, "server response headers exceeded", 0, 2 * time.Second},
		{"switches the protocol", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			drip(c, 'x')
		}, "101 Switching Protocols", 101, 2 * time.Second},
		{"does not speak HTTP", func(c net.Conn) { io.WriteString(c, "220 mail.example.com ESMTP\r\n") }, "malformed HTTP", 0, 2 * time.Second},
		{"compresses without being asked", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08")
		}, "", 200, 2 * time.Second},
		{"breaks lines within its headers", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 302 Found\r\nLocation: http://a\x01b\r\n\r\n")
		}, "", -1, 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Cleanup(func() { goleak.VerifyNone(t) })
			address, _ := rawServer(t, c.answer)
			config := NewConfig()
			config.URL, config.Timeout = "http://"+address, timeout
			target, err := config.build(targets.Env{})
			if err != nil {
				t.Fatal(err)
			}
			defer target.Close()
			d := deliveryOf(order(t))
			begun := time.Now()
			err = target.Deliver(t.Context(), d)
			if took := time.Since(begun); took > c.bound {
				t.Errorf("it took %v", took)
			}
			switch {
			case c.status < 0:
				if err == nil {
					t.Error("it counts as accepted")
				}
				return
			case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want) || targets.IsPermanent(err)):
				t.Errorf("the error is %v", err)
			}
			if d.Answer.Status != c.status || d.Answer.Address != address {
				t.Errorf("the answer is %+v", d.Answer)
			}
		})
	}
}

func TestAttemptThatIsEndedSaysSo(t *testing.T) {
	address, sent := rawServer(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	config := NewConfig()
	config.URL = "http://" + address
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-sent
		cancel()
	}()
	err := newTarget(t, config, targets.Env{}).Deliver(ctx, deliveryOf(order(t)))
	if !errors.Is(err, context.Canceled) || err.Error() != "no answer before the attempt was ended" {
		t.Errorf("the error is %v", err)
	}
}

// The receiver closes an idle connection just as the next request is sent on it.
func TestConnectionClosedWhileIdleIsReplaced(t *testing.T) {
	address, _ := rawServer(t, func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") })
	config := NewConfig()
	config.URL = "http://" + address
	target := newTarget(t, config, targets.Env{})
	for i := range 200 {
		if err := target.Deliver(t.Context(), deliveryOf(order(t))); err != nil {
			t.Fatalf("delivery %d: %v", i, err)
		}
	}
}

func TestDialThatHangsEndsWithTheAttemptAndTheTarget(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	ended := make(chan struct{})
	config := NewConfig()
	config.URL, config.Timeout = "http://receiver.example", time.Minute
	target, err := config.build(targets.Env{Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := target.Deliver(ctx, deliveryOf(order(t))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
	target.Close()
	<-ended
}

func TestHandshakeThatHangsEndsWithTheTarget(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	address, _ := rawServer(t, func(net.Conn) {}) // which waits for a line that never ends
	config := NewConfig()
	config.URL, config.Timeout = "https://"+address, time.Minute
	target, err := config.build(targets.Env{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := target.Deliver(ctx, deliveryOf(order(t))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
	target.Close()
}
