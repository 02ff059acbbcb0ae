package storetest

import "testing"

func TestModelConforms(t *testing.T) {
	Run(t, OpenModel)
}
