package enrich

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/switchyard-dev/switchyard/targets"
)

// hostile accepts connections, reads the head of a request from each, and does
// as answer says until the test ends.
func hostile(t *testing.T, answer func(net.Conn)) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
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
				for {
					line, err := in.ReadString('\n')
					if err != nil {
						return
					}
					if line == "\r\n" {
						break
					}
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
	return l.Addr().String()
}

// repeat writes until the other side has had enough, with pauses.
func repeat(c net.Conn, text string, every time.Duration) {
	for {
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
		time.Sleep(every)
	}
}

func TestHostileEndpoints(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	for _, c := range []struct {
		name      string
		answer    func(net.Conn)
		want      string
		permanent bool
	}{
		{"never answers", func(c net.Conn) { io.Copy(io.Discard, c) }, "timeout after 300ms", false},
		{"a byte at a time", func(c net.Conn) {
			io.WriteString(c, head+"Content-Length: 100000\r\n\r\n")
			repeat(c, "1", 10*time.Millisecond)
		}, "timeout after 300ms", false},
		{"an endless body", func(c net.Conn) {
			io.WriteString(c, head+"\r\n")
			repeat(c, strings.Repeat("1", 1<<16), 0)
		}, "the answer is larger than 1048576 bytes", true},
		{"an endless body of a failure", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n\r\n")
			repeat(c, strings.Repeat("x", 1<<16), 0)
		}, "503 Service Unavailable: xxx", false},
		{"ten megabytes of headers", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for range 10_000 {
				if _, err := io.WriteString(c, "X-Header: "+strings.Repeat("x", 1000)+"\r\n"); err != nil {
					return
				}
			}
		}, "server response headers exceeded 65536 bytes", false},
		{"closes without an answer", func(net.Conn) {}, "the connection was closed before an answer came", false},
		{"closes within an answer", func(c net.Conn) { io.WriteString(c, head+"Content-Length: 100\r\n\r\n{") }, "the connection was closed before an answer came", false},
		{"says JSON and sends none", func(c net.Conn) { io.WriteString(c, head+"Content-Length: 4\r\n\r\n<a/>") },
			`the answer's content type is "application/json", and it is not JSON`, true},
		{"the same key twice", func(c net.Conn) { io.WriteString(c, head+"Content-Length: 13\r\n\r\n"+`{"a":1,"a":2}`) },
			`the answer's content type is "application/json", and it is not JSON`, true},
		{"nests without end", func(c net.Conn) {
			io.WriteString(c, head+"Content-Length: 100000\r\n\r\n"+strings.Repeat("[", 50_000)+strings.Repeat("]", 50_000))
		}, `the answer's content type is "application/json", and it is not JSON`, true},
		{"sends bytes", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08")
		}, "is neither JSON nor text", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Cleanup(func() { goleak.VerifyNone(t) })
			e := enricher(t, Call{URL: mustURL(t, "http://"+hostile(t, c.answer)), Timeout: 300 * time.Millisecond})
			begun := time.Now()
			_, _, err := enrich(t, e, orderOf(t, "1"))
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("it took %v", took)
			}
			if err == nil || !strings.HasPrefix(err.Error(), "enrich customer: "+c.want) && !strings.Contains(err.Error(), c.want) || targets.IsPermanent(err) != c.permanent {
				t.Errorf("%v (permanent %v)", err, targets.IsPermanent(err))
			}
			e.Close()
		})
	}
}
