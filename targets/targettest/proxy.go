package targettest

import (
	"net"
	"sync"
	"testing"
)

// Proxy stands before a TCP receiver and makes it hang, or cannot be reached.
type Proxy struct {
	t       *testing.T
	address string
	backend string

	mu        sync.Mutex
	changed   *sync.Cond
	behaviour Behaviour
	listener  net.Listener
	conns     map[net.Conn]bool
	running   sync.WaitGroup
}

// NewProxy makes a proxy before the receiver at backend, on a free port. It
// ends with the test.
func NewProxy(t *testing.T, backend string) *Proxy {
	p := &Proxy{t: t, backend: backend, address: "127.0.0.1:0", conns: map[net.Conn]bool{}}
	p.changed = sync.NewCond(&p.mu)
	p.Set(Accept)
	t.Cleanup(func() {
		p.Set(Down)
		p.running.Wait()
	})
	return p
}

// Address is where the proxy listens.
func (p *Proxy) Address() string { return p.address }

// Set changes the behaviour: RefuseForNow closes each connection at once, Hang
// passes nothing on, Down does not listen; any other passes everything on.
func (p *Proxy) Set(b Behaviour) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behaviour = b
	if b == Down && p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	if b == Down || b == RefuseForNow {
		for c := range p.conns {
			c.Close()
		}
	}
	if b != Down && p.listener == nil {
		l, err := net.Listen("tcp", p.address)
		if err != nil {
			p.t.Errorf("the proxy cannot listen: %v", err)
			return
		}
		p.listener, p.address = l, l.Addr().String()
		p.running.Go(func() { p.accept(l) })
	}
	p.changed.Broadcast()
}

func (p *Proxy) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(c) })
	}
}

// hold keeps a connection for Set to close; it reports whether to go on.
func (p *Proxy) hold(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.behaviour == Down || p.behaviour == RefuseForNow {
		c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	c.Close()
}

func (p *Proxy) serve(c net.Conn) {
	if !p.hold(c) {
		return
	}
	defer p.drop(c)
	if !p.pass() {
		return
	}
	backend, err := net.Dial("tcp", p.backend)
	if err != nil {
		return
	}
	if !p.hold(backend) {
		return
	}
	defer p.drop(backend)
	var both sync.WaitGroup
	both.Go(func() { p.copy(backend, c) })
	p.copy(c, backend)
	both.Wait()
}

// pass waits while the proxy hangs; it reports whether to go on.
func (p *Proxy) pass() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.behaviour == Hang {
		p.changed.Wait()
	}
	return p.behaviour != Down && p.behaviour != RefuseForNow
}

// copy passes bytes on, until either end is closed; then it closes both.
func (p *Proxy) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && p.pass() {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
