package api

import (
	"net/http"
	"strings"
	"sync/atomic"
)

// origins makes the texts that say who published with a request. They stand on
// the path of every event, and few publishers make most requests, so it keeps
// the last ones. It may be used from many goroutines at once.
type origins struct {
	last [64]atomic.Pointer[string]
}

// principalMost bounds what is kept of a principal, in bytes.
const principalMost = 128

// of is what bus.Origin says of a request: its kind and, as requests are not
// authenticated, the address that it came from. What proxies say of others in
// headers is not believed, for anyone can say it.
func (o *origins) of(kind string, r *http.Request) string {
	host := r.RemoteAddr
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	host = host[:min(len(host), principalMost)]
	hash := uint32(len(kind))
	for i := range len(host) {
		hash = (hash ^ uint32(host[i])) * 16777619
	}
	slot := &o.last[hash%uint32(len(o.last))]
	if p := slot.Load(); p != nil && len(*p) == len(kind)+1+len(host) && strings.HasPrefix(*p, kind) && strings.HasSuffix(*p, host) {
		return *p
	}
	text := kind + "/" + host
	slot.Store(&text)
	return text
}
