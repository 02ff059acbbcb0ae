package rules

import (
	"runtime"
	"slices"
	"strconv"
	"unsafe"
	"weak"
)

// stepsTo are the steps to places in the data, which are in the order of their
// paths. Those to the same places are one.
func (ps *places) stepsTo(places []*place) []patternStep {
	paths := make([][]string, len(places))
	var name []byte
	for i, p := range places {
		paths[i] = p.keys
		name = strconv.AppendInt(append(name, ' '), int64(p.id), 10)
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if steps := ps.steps[string(name)].value(); steps != nil {
		return steps
	}
	steps := slices.Clone(growSteps(make([]patternStep, 1), paths, 0, 0, 0))
	steps[0].places = places // so that their ids stay theirs
	key := string(name)
	ps.steps[key] = weakSteps{weak.Make(&steps[0]), len(steps)}
	runtime.AddCleanup(&steps[0], ps.forgetSteps, key)
	return steps
}

func comparePaths(a, b *place) int { return slices.Compare(a.keys, b.keys) }

// weakSteps are steps as long as some pattern has them.
type weakSteps struct {
	first weak.Pointer[patternStep]
	count int
}

func (w weakSteps) value() []patternStep {
	if first := w.first.Value(); first != nil {
		return unsafe.Slice(first, w.count)
	}
	return nil
}

// forgetSteps drops steps that no pattern has any more, unless they came back.
func (ps *places) forgetSteps(key string) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.steps[key].value() == nil {
		delete(ps.steps, key)
	}
}

// growSteps makes the step at an index: that of paths which are one to a depth,
// and are numbered from first on. It appends those below it.
func growSteps(steps []patternStep, paths [][]string, at int, first int32, depth int) []patternStep {
	own := 0
	for own < len(paths) && len(paths[own]) == depth {
		own++
	}
	s := patternStep{first: first, own: first + int32(own), last: first + int32(len(paths))}
	for i := own; i < len(paths); {
		end := i + 1
		for end < len(paths) && paths[end][depth] == paths[i][depth] {
			end++
		}
		s.names, s.next = append(s.names, paths[i][depth]), append(s.next, int32(len(steps)))
		steps = growSteps(append(steps, patternStep{}), paths[i:end], len(steps), first+int32(i), depth+1)
		i = end
	}
	steps[at] = s
	return steps
}
