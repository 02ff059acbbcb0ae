package configs

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzLoad looks for texts that make the loader panic, take long, or let a
// resolved reference be seen.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"*.yaml", "testdata/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	l := testLoader(f)
	l.ReadFile = func(string) ([]byte, error) { return nil, os.ErrNotExist }
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		start := time.Now()
		cfg, diags := l.LoadBytes("fuzz.yaml", data)
		for _, d := range diags {
			_ = d.String()
			_ = d.Pointer()
		}
		if !diags.HasErrors() {
			RunFixtures(cfg)
			for _, kind := range []string{Buses, Sources, Rules, Targets} {
				for _, o := range cfg.List(kind) {
					again, diags := l.ParseObject(kind, o.Name, o.View())
					_ = again
					_ = diags
				}
			}
		}
		l.ParseObject(Targets, "t", data)
		l.ParseObject(Rules, "r", data)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
