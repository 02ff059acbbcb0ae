package rules

import (
	"slices"
	"strconv"
)

// stepsTo are the steps to the used fields, which are in the order of their
// paths. Those of the same paths are one.
func (ps *places) stepsTo(fields []field, used []int32) []patternStep {
	paths := make([][]string, len(used))
	var name []byte
	for i, n := range used {
		paths[i] = fields[n].path
		name = strconv.AppendInt(append(name, ' '), int64(ps.of(reachAll, "data", paths[i]).id), 10)
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if steps, ok := ps.steps[string(name)]; ok {
		return steps
	}
	steps := growSteps(make([]patternStep, 1), paths, 0, 0, 0)
	if ps.steps == nil {
		ps.steps = map[string][]patternStep{}
	}
	ps.steps[string(name)] = slices.Clip(steps)
	return steps
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
