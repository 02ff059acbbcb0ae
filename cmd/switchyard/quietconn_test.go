package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// quietPipe is a quiet connection and the client's end of it.
func quietPipe(t *testing.T) (*quietConn, net.Conn) {
	server, client := net.Pipe()
	c := newQuietConn(server)
	t.Cleanup(func() {
		c.Close()
		client.Close()
	})
	return c, client
}

func setReadDeadline(t *testing.T, c net.Conn, at time.Time) {
	t.Helper()
	if err := c.SetReadDeadline(at); err != nil {
		t.Fatal(err)
	}
}

// readOne reads one byte in the background.
func readOne(c net.Conn) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		done <- err
	}()
	return done
}

func TestAReadOfOneByteIsEndedByADeadlineInThePast(t *testing.T) {
	for name, after := range map[string]time.Duration{"while it waits": 0, "when it is in the connection": 2 * patience} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, client := quietPipe(t)
				for range 3 {
					setReadDeadline(t, c, time.Time{})
					done := readOne(c)
					synctest.Wait()
					time.Sleep(after)
					began := time.Now()
					setReadDeadline(t, c, time.Unix(1, 0))
					if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Fatalf("the read ended with %v", err)
					}
					if took := time.Since(began); took != 0 {
						t.Errorf("it ended %v later", took)
					}
				}
				setReadDeadline(t, c, time.Time{})
				go client.Write([]byte("hello"))
				got := make([]byte, 5)
				if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
					t.Errorf("then it read %q, %v", got, err)
				}
			})
		})
	}
}

func TestADeadlineThatPassedBeforeTheReadEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := quietPipe(t)
		setReadDeadline(t, c, time.Unix(1, 0))
		for _, size := range []int{1, 100} {
			if _, err := c.Read(make([]byte, size)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a read of %d ended with %v", size, err)
			}
		}
	})
}

func TestAReadEndsAtTheDeadlineThatWasSetLast(t *testing.T) {
	for name, deadlines := range map[string][]time.Duration{
		"one":                     {5 * time.Second},
		"a later one":             {time.Second, 5 * time.Second},
		"an earlier one":          {time.Minute, 5 * time.Second},
		"one after there is none": {time.Second, 0, 5 * time.Second},
	} {
		for _, during := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c, _ := quietPipe(t)
					began := time.Now()
					set := func(d time.Duration) {
						at := time.Time{}
						if d > 0 {
							at = began.Add(d)
						}
						setReadDeadline(t, c, at)
					}
					set(deadlines[0])
					if !during {
						for _, d := range deadlines {
							set(d)
						}
					}
					done := make(chan error, 1)
					go func() {
						_, err := c.Read(make([]byte, 100))
						done <- err
					}()
					synctest.Wait()
					if during {
						for _, d := range deadlines {
							set(d)
						}
					}
					err := <-done
					if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != 5*time.Second {
						t.Errorf("it ended after %v with %v", took, err)
					}
				})
			})
		}
	}
}

func TestClosingEndsAReadOfOneByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := quietPipe(t)
		done := readOne(c)
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case err := <-done:
			if err == nil {
				t.Error("it read something")
			}
		default:
			t.Error("it still reads")
		}
	})
}

// pipeListener gives a server the connections that are sent.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l pipeListener) Close() error   { close(l.closed); return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// serveQuietly serves h with the deadlines of the program, and connects to it.
func serveQuietly(t *testing.T, h http.HandlerFunc) net.Conn {
	l := pipeListener{make(chan net.Conn), make(chan struct{})}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	served := make(chan struct{})
	go func() {
		_ = server.Serve(quietListener{l})
		close(served)
	}()
	here, there := net.Pipe()
	l.conns <- there
	t.Cleanup(func() {
		here.Close()
		server.Close()
		<-served
	})
	return here
}

func TestAHandlerLearnsThatItsClientIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan error, 1)
		client := serveQuietly(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			select {
			case <-r.Context().Done():
				gone <- r.Context().Err()
			case <-time.After(time.Minute):
				gone <- nil
			}
		})
		if _, err := io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		client.Close()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("its context ended with %v", err)
		}
	})
}

func TestRequestsAreServedHoweverLongTheyTakeAndHoweverTheyFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := serveQuietly(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			d, _ := time.ParseDuration(r.URL.Query().Get("for"))
			time.Sleep(d)
			_, _ = w.Write(body)
		})
		answers := bufio.NewReader(client)
		send := func(text string) {
			if _, err := io.WriteString(client, text); err != nil {
				t.Error(err)
			}
		}
		expect := func(want string) {
			t.Helper()
			res, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if got, err := io.ReadAll(res.Body); err != nil || string(got) != want {
				t.Fatalf("the answer is %q, %v; want %q", got, err, want)
			}
		}
		post := func(d, body string) string {
			return "POST /?for=" + d + " HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n" + body
		}
		for _, d := range []string{"0s", "10ms", "150ms", "30s", "0s"} {
			send(post(d, "x"))
			expect("x")
			time.Sleep(time.Minute) // less than a connection may be idle, more than all other deadlines
		}
		go send(post("50ms", "a") + post("1s", "b") + post("0s", "c"))
		expect("a")
		expect("b")
		expect("c")
		began := time.Now()
		send(post("0s", "y")[:20]) // and no more
		if _, err := io.Copy(io.Discard, answers); err != nil {
			t.Error(err)
		}
		if waited := time.Since(began); waited < 10*time.Second || waited > time.Minute {
			t.Errorf("the server waited %v for the rest of a request", waited)
		}
	})
}
