package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/switchyard-dev/switchyard/"

// mayImport says which packages of ours a folder may import beside those below
// it; the longest prefix of a folder counts. docs/architecture.md explains it.
func mayImport() map[string][]string {
	return map[string][]string{
		"cmd":                 {"*"},
		"bench":               {"*"},
		"api":                 {"bus", "bus/component", "bus/event", "bus/store", "bus/store/archive", "configs", "rules", "transform"},
		"api/console":         {},
		"configs":             {"bus/component", "bus/event", "bus/packed", "bus/persistent", "bus/store/objects", "sources", "targets", "rules", "transform", "transform/enrich"},
		"bus":                 {"bus/event", "bus/persistent", "bus/store", "rules", "transform", "transform/enrich", "sources", "targets"},
		"bus/event":           {},
		"bus/packed":          {},
		"bus/persistent":      {},
		"bus/component":       {},
		"bus/store":           {"bus/event"},
		"bus/store/archive":   {"bus/event", "bus/store", "bus/store/objects"},
		"bus/store/objects":   {"bus/component"},
		"bus/store/backup":    {"bus/store", "bus/store/objects"},
		"bus/store/storetest": {"bus/event", "bus/store"},
		"bus/store/embedded":  {"bus/event", "bus/store"},
		"rules":               {"bus/event", "bus/packed"},
		"transform":           {"bus/event", "rules"},
		"transform/enrich":    {"bus/event", "bus/component", "rules", "transform", "targets", "targets/http"},
		"sources":             {"bus/event", "bus/component"},
		"sources/webhook":     {"bus/event", "bus/component", "sources", "rules"},
		"sources/":            {"bus/event", "bus/component", "sources"},
		"targets":             {"bus/event", "bus/component"},
		"targets/":            {"bus/event", "bus/component", "targets", "targets/auth"},
		"targets/function":    {"bus/event", "bus/component", "targets", "targets/auth", "targets/http"},
	}
}

func TestImportsPointDownOnly(t *testing.T) {
	root := filepath.Join("..", "..")
	rules := mayImport()
	checked := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		folder := filepath.ToSlash(filepath.Dir(rel))
		allowed, ok := ruleFor(rules, folder)
		if !ok {
			t.Errorf("%s: folder %s has no rule for its imports", rel, folder)
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imported, ours := strings.CutPrefix(name, module)
			if !ours {
				continue
			}
			checked++
			if !permitted(allowed, folder, imported) {
				t.Errorf("%s imports %s, which %s may not", rel, imported, folder)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked < 20 {
		t.Errorf("only %d imports were checked", checked)
	}
}

// ruleFor finds the rule of a folder: its own, or the longest prefix's.
func ruleFor(rules map[string][]string, folder string) (allowed []string, ok bool) {
	best := -1
	for prefix, list := range rules {
		matches := folder == prefix || (strings.HasSuffix(prefix, "/") && strings.HasPrefix(folder, prefix)) || strings.HasPrefix(folder, prefix+"/")
		if matches && len(prefix) > best {
			best, allowed, ok = len(prefix), list, true
		}
	}
	return allowed, ok
}

func permitted(allowed []string, folder, imported string) bool {
	if strings.HasPrefix(imported, folder+"/") && !strings.HasPrefix(folder, "bus") {
		return true // what stands below a folder is part of it
	}
	if folder == "bus/store/objects/objectstest" && imported == "bus/store/objects" {
		return true
	}
	if folder == "bus/store/embedded" && imported == "bus/store/embedded/seglog" {
		return true
	}
	for _, a := range allowed {
		if a == "*" || a == imported {
			return true
		}
	}
	return false
}
