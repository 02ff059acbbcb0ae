package storetest

import (
	"fmt"
	"testing"
)

func TestModelConforms(t *testing.T) {
	Run(t, OpenModel)
}

func TestModelAgreesWithItself(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			Metamorphic(t, OpenModel, seed, 400)
		})
	}
}

func BenchmarkModel(b *testing.B) {
	Bench(b, OpenModel)
}
