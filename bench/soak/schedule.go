package main

import (
	"math/rand/v2"
	"time"
)

// The kinds of steps that are no broken target or disk.
const (
	stepKill     = "SIGKILL"
	stepPowerCut = "power cut"
	stepTear     = "torn tail" // after a SIGKILL or a power cut
	stepStop     = "stop"      // in order, and start
	stepBroken   = "broken configuration"

	stepHeal    = "heal target"
	stepReload  = "reload"
	stepPause   = "pause"
	stepResume  = "resume"
	stepRedrive = "redrive"
	stepReplay  = "replay"
	stepCancel  = "cancel replay"
	stepSeek    = "seek"
	stepTarget  = "target " // and the mood
	stepTrouble = "trouble "
)

// step is one thing that is done to a server.
type step struct {
	kind    string
	fault   bool // it counts as one
	target  string
	mood    mood
	trouble trouble
	n       int           // a number for what else there is to choose
	dwell   time.Duration // until the next step
}

// schedule makes the steps of a seed, with so many faults. The same seed makes
// the same steps.
func schedule(random *rand.Rand, faults int, s server, targets []string, p pace, inMemory bool) []step {
	var steps []step
	troubles := s.troubles()
	for made := 0; made < faults; {
		next := step{target: targets[random.IntN(len(targets))], n: random.IntN(1 << 20), dwell: time.Duration(random.Int64N(int64(p.dwell)))}
		if random.IntN(25) == 0 {
			next.dwell = 3 * p.dwell // calm, so that repeats show which come too late
		}
		switch n := random.IntN(100); {
		case n < 12:
			next.kind, next.fault = stepKill, true
		case n < 19 && inMemory:
			next.kind, next.fault = stepPowerCut, true
		case n < 19:
			next.kind, next.fault = stepKill, true
		case n < 23:
			next.kind, next.fault = stepTear, true
		case n < 26:
			next.kind, next.fault = stepStop, true
		case n < 28 && !inMemory:
			next.kind, next.fault = stepBroken, true
		case n < 36 && len(troubles) > 0:
			next.trouble, next.fault = troubles[random.IntN(len(troubles))], true
			next.kind = stepTrouble + string(next.trouble)
		case n < 58:
			next.mood, next.fault = moods()[random.IntN(len(moods()))], true
			next.kind = stepTarget + string(next.mood)
		case n < 75:
			next.kind = stepHeal
		case n < 79:
			next.kind = stepPause
		case n < 84:
			next.kind = stepResume
		case n < 88:
			next.kind = stepRedrive
		case n < 91:
			next.kind = stepReplay
		case n < 92:
			next.kind = stepCancel
		case n < 93:
			next.kind = stepSeek
		case n < 97:
			next.kind = stepReload
		default:
			continue
		}
		if next.fault {
			made++
		}
		steps = append(steps, next)
	}
	return steps
}
