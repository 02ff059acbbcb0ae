//go:build unix

package seglog

import "syscall"

func systemIdentity(sys any) Identity {
	if st, ok := sys.(*syscall.Stat_t); ok {
		return Identity{device: uint64(st.Dev), node: uint64(st.Ino)} //nolint:unconvert // their types differ by system
	}
	return Identity{}
}
