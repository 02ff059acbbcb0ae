//go:build cloud

package objects_test

import (
	"testing"

	"github.com/switchyard-dev/switchyard/bus/store/objects"
	"github.com/switchyard-dev/switchyard/bus/store/objects/objectstest"
)

func TestCloud(t *testing.T) {
	for _, prefix := range []string{"", "some/where"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			objectstest.Run(t, func(*testing.T) objects.Storage { return objects.NewMemory(prefix) })
		})
	}
}
