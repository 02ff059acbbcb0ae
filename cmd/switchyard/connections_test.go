package main

import "testing"

func TestConnectionsLeaveTheStoreItsDescriptors(t *testing.T) {
	for _, test := range []struct {
		files uint64
		want  int
	}{
		{0, 0},         // not known
		{1<<63 - 1, 0}, // no limit
		{32, 8},        // too few for the store itself
		{64, 16},       // 48 are left alone
		{128, 64},      // half of them
		{1024, 512},    //
		{65536, 65536 - 512},
	} {
		if got := connectionsFor(test.files); got != test.want {
			t.Errorf("of %d descriptors connections get %d, want %d", test.files, got, test.want)
		}
	}
}
