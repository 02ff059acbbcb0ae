package configs

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"strconv"

	"gopkg.in/yaml.v3"
)

// CheckListen says what is wrong with an address to listen on.
func CheckListen(address string) error {
	if _, port, err := net.SplitHostPort(address); err != nil || !validPort(port) {
		return fmt.Errorf("%s is not an address to listen on; write host:port, such as 127.0.0.1:8080", quote(address))
	}
	return nil
}

func (d *document) decodeServer(n *yaml.Node, s *Server) {
	d.decode(n, reflect.ValueOf(s).Elem(), pathOf("server"))
	if _, listen := child(n, "listen"); listen != nil {
		if err := CheckListen(s.Listen); err != nil {
			d.report(listen, pathOf("server", "listen"), err.Error())
		}
	}
	if s.Limits.Waiting <= 0 {
		d.reportBelow(n, pathOf("server"), "it must be more than 0, such as 64MiB", "limits", "waiting")
	}
	if _, data := child(n, "data"); !isNull(data) {
		if s.Data == "" {
			d.report(data, pathOf("server", "data"), "it must name a folder")
		} else if !filepath.IsAbs(s.Data) {
			s.Data = filepath.Join(d.folder(), s.Data)
		}
	}
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n <= 65535
}

func (d *document) decodeNetwork(n *yaml.Node, net *Network) {
	if n.Kind != yaml.MappingNode && !isNull(n) {
		d.wrongType(n, pathOf("network"), "settings (key: value)")
		return
	}
	// The standard library's errors about prefixes speak to programmers.
	if _, allow := child(n, "allow"); allow != nil && allow.Kind == yaml.SequenceNode {
		for i, c := range allow.Content {
			path := pathOf("network", "allow").at(i)
			prefix, err := netip.ParsePrefix(c.Value)
			switch {
			case err != nil:
				d.reportf(c, path, "%s is not a network; write one such as 10.1.0.0/16, or 10.1.2.3/32 for one address", quote(c.Value))
			case prefix != prefix.Masked():
				d.reportf(c, path, "%s has bits set after its prefix; did you mean %s?", quote(c.Value), quote(prefix.Masked().String()))
			default:
				net.Allow = append(net.Allow, prefix)
			}
		}
		rest := shallow(n)
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value != "allow" {
				rest.Content = append(rest.Content, n.Content[i], n.Content[i+1])
			}
		}
		n = rest
	}
	d.decode(n, reflect.ValueOf(net).Elem(), pathOf("network"))
}
