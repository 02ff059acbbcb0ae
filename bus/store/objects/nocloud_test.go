//go:build !cloud

package objects_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/switchyard-dev/switchyard/bus/store/objects"
)

func TestBuildsWithoutCloudSaySo(t *testing.T) {
	for _, address := range []string{"gs://b/p", "azblob://c"} {
		l, err := objects.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		_, err = objects.Open(t.Context(), l, objects.Options{})
		if !errors.Is(err, objects.ErrUnsupported) || !strings.Contains(err.Error(), "-tags cloud") {
			t.Errorf("Open %s: %v", address, err)
		}
	}
}
