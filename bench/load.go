package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// client posts prebuilt requests over one keep-alive connection, as cheaply as
// possible: one write, as few reads as the answer needs, nothing allocated.
// One goroutine at a time may use it.
type client struct {
	conn   net.Conn
	buf    []byte // of the answer
	post   []byte // the request
	ids    []int  // where its ids are
	keys   []int  // where its keys are
	events int    // in one request
}

// answerTime bounds one request.
const answerTime = 30 * time.Second

// request is a POST with the places of the ids in it.
func request(addr, path, contentType string, body []byte, ids []int) (post []byte, places []int) {
	post = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
		path, addr, contentType, len(body))
	for _, id := range ids {
		places = append(places, len(post)+id)
	}
	return append(post, body...), places
}

// newClient connects to addr. It posts one event at a time, or batches when n
// is above 1, to the bus of the benchmarks.
func newClient(addr string, n int) (*client, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, buf: make([]byte, 64<<10), events: n}
	if n == 1 {
		c.post, c.ids = request(addr, eventsPath, "application/cloudevents+json", structured(), []int{idOffset})
	} else {
		body, ids := batch(n)
		c.post, c.ids = request(addr, eventsPath, "application/cloudevents-batch+json", body, ids)
	}
	for _, id := range c.ids {
		c.keys = append(c.keys, id-idOffset+keyOffset)
	}
	return c, nil
}

// newClients makes n of them, which go with the closer.
func newClients(c *closer, addr string, n, events int) ([]*client, error) {
	all := make([]*client, 0, n)
	for range n {
		one, err := newClient(addr, events)
		if err != nil {
			return nil, err
		}
		c.add(one.conn.Close)
		all = append(all, one)
	}
	return all, nil
}

// send posts with fresh ids and returns how many events were accepted.
func (c *client) send(ids *idSource) (int, error) {
	for _, at := range c.ids {
		putID(c.post[at:], ids.at(time.Now()))
	}
	return c.events, c.exchange()
}

// keyed makes each client a worker that gives each event the next key.
func keyed(clients []*client, ids *idSource, key func() int) []worker {
	all := make([]worker, len(clients))
	for i, c := range clients {
		all[i] = func() (int, error) {
			for _, at := range c.keys {
				putKey(c.post[at:], key())
			}
			return c.send(ids)
		}
	}
	return all
}

// workers makes each client a worker of drive.
func workers(clients []*client, ids *idSource) []worker {
	all := make([]worker, len(clients))
	for i, c := range clients {
		all[i] = func() (int, error) { return c.send(ids) }
	}
	return all
}

// exchange sends the request and reads its answer, which has to be a 202.
func (c *client) exchange() error {
	if err := c.conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	if _, err := c.conn.Write(c.post); err != nil {
		return err
	}
	n, head, length := 0, -1, 0
	for {
		got, err := c.conn.Read(c.buf[n:])
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		n += got
		if head < 0 {
			if head, length, err = parseHead(c.buf[:n]); err != nil {
				return err
			}
		}
		if head >= 0 && (length >= 0 && n >= head+length || length < 0 && bytes.HasSuffix(c.buf[head:n], []byte("0\r\n\r\n"))) {
			break
		}
		if n == len(c.buf) {
			c.buf = append(c.buf, make([]byte, len(c.buf))...)
		}
	}
	if !bytes.HasPrefix(c.buf[:n], []byte("HTTP/1.1 202 ")) {
		return fmt.Errorf("the answer is no 202: %.300q", c.buf[:n])
	}
	return nil
}

// parseHead finds the end of an answer's head, -1 when it is not there yet,
// and the length of the body, -1 when it is chunked. A chunked body of JSON
// ends where its last chunk does: text in JSON has no line breaks.
func parseHead(b []byte) (head, length int, err error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return -1, 0, nil
	}
	const name = "\r\nContent-Length: "
	i := bytes.Index(b[:end], []byte(name))
	if i < 0 {
		if !bytes.Contains(b[:end], []byte("\r\nTransfer-Encoding: chunked")) {
			return 0, 0, errors.New("the answer says nothing about its length")
		}
		return end + 4, -1, nil
	}
	text := b[i+len(name) : end]
	if j := bytes.IndexByte(text, '\r'); j >= 0 {
		text = text[:j]
	}
	if length, err = strconv.Atoi(string(text)); err != nil {
		return 0, 0, fmt.Errorf("the answer's Content-Length: %w", err)
	}
	return end + 4, length, nil
}
