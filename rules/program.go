package rules

import (
	"errors"
	"fmt"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// program is one compiled expression; equal sources share it. An expression
// that needs a budget has one CEL program for each tier, planned when it is
// first wanted.
type program struct {
	env    *cel.Env
	source string
	plain  cel.Program // of a straight expression
	ast    *ast.AST    // of any other
	tiers  [maxTier + 1]atomic.Pointer[cel.Program]
	plan   sync.Mutex

	suspension *suspension
}

func newProgram(env *cel.Env, source string, checked *ast.AST) (*program, error) {
	p := &program{env: env, source: source, suspension: new(suspension)}
	if straight(checked.Expr()) {
		planned, err := env.PlanProgram(checked, planOptions()...)
		if err != nil {
			return nil, compileError(source, 1, 1, err.Error(), "")
		}
		p.plain = planned
		return p, nil
	}
	p.ast = checked
	if _, err := p.forTier(0); err != nil {
		return nil, compileError(source, 1, 1, err.Error(), "")
	}
	return p, nil
}

func planOptions(more ...cel.ProgramOption) []cel.ProgramOption {
	return append([]cel.ProgramOption{
		cel.EvalOptions(cel.OptOptimize),
		cel.OptimizeRegex(matches("matches"), matches("matches_string")),
	}, more...)
}

func (p *program) forTier(t int) (cel.Program, error) {
	if planned := p.tiers[t].Load(); planned != nil {
		return *planned, nil
	}
	p.plan.Lock()
	defer p.plan.Unlock()
	if planned := p.tiers[t].Load(); planned != nil {
		return *planned, nil
	}
	planned, err := p.env.PlanProgram(p.ast, planOptions(cel.CostTracking(meter{}), cel.CostLimit(budget(t)))...)
	if err != nil {
		return nil, err
	}
	p.tiers[t].Store(&planned)
	return planned, nil
}

// run evaluates the expression; size is that of the event.
func (p *program) run(vars cel.Activation, size int) (ref.Val, error) {
	if p.plain != nil {
		out, _, err := p.plain.Eval(vars)
		return out, err
	}
	s := p.suspension
	if v, ok := vars.(*view); ok && v.apart {
		s = new(suspension)
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	planned, err := p.forTier(tier(size))
	if err != nil {
		return nil, err
	}
	out, _, err := planned.Eval(vars)
	if err != nil && overran(err) {
		s.overrun()
		return nil, &OverrunError{Budget: budget(tier(size))}
	}
	s.good()
	return out, err
}

// OverrunError says that an expression took more than its budget on an event.
type OverrunError struct {
	// Budget is what it had, in CEL cost units.
	Budget uint64
}

// Error gives the budget.
func (e *OverrunError) Error() string {
	return fmt.Sprintf("the expression takes too long on this event (more than %d cost units)", e.Budget)
}

func overran(err error) bool {
	var cancelled interpreter.EvalCancelledError
	return errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded
}

// matches compiles the pattern of a call of matches once, and bounds the text
// that it is applied to.
func matches(overload string) *interpreter.RegexOptimization {
	return &interpreter.RegexOptimization{
		Function:   "matches",
		OverloadID: overload,
		RegexIndex: 1,
		Factory: func(call interpreter.InterpretableCall, pattern string) (interpreter.InterpretableCall, error) {
			re, err := regexp.Compile(pattern)
			if err != nil {
				return nil, err
			}
			size, err := regexSize(pattern)
			if err != nil {
				return nil, err
			}
			return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(args ...ref.Val) ref.Val {
				s, ok := args[0].(types.String)
				if !ok {
					return types.MaybeNoSuchOverloadErr(args[0])
				}
				if problem := regexSteps(len(s), size); problem != "" {
					return types.NewErrFromString(problem)
				}
				return types.Bool(re.MatchString(string(s)))
			}), nil
		},
	}
}

// suspension keeps an expression that overruns again and again from being run.
type suspension struct {
	strikes atomic.Int32
	until   atomic.Int64 // Unix nanoseconds; 0 when it is not suspended
	mu      sync.Mutex
	pause   time.Duration
}

const (
	strike        = 16 // an overrun weighs as much as this many good runs
	suspendAt     = 5 * strike
	firstPause    = 30 * time.Second
	longestPause  = 10 * time.Minute
	suspendReason = "suspended until %s: the expression keeps taking more than its budget"
)

// check returns an error while the expression is suspended. When the time has
// passed, one run is let through, which decides.
func (s *suspension) check() error {
	until := s.until.Load()
	if until == 0 {
		return nil
	}
	if time.Now().UnixNano() >= until {
		// The strikes stay just below the limit, so one more overrun suspends again.
		if s.until.CompareAndSwap(until, 0) {
			s.strikes.Store(suspendAt - strike)
		}
		return nil
	}
	return &SuspendedError{Until: time.Unix(0, until).UTC()}
}

func (s *suspension) overrun() {
	if s.strikes.Add(strike) < suspendAt {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until.Load() != 0 {
		return
	}
	s.pause = min(max(2*s.pause, firstPause), longestPause)
	s.until.Store(time.Now().Add(s.pause).UnixNano())
}

func (s *suspension) good() {
	if n := s.strikes.Load(); n > 0 && s.strikes.Add(-1) == 0 {
		s.mu.Lock()
		s.pause = 0
		s.mu.Unlock()
	}
}

// active reports whether the expression is suspended now.
func (s *suspension) active() bool {
	until := s.until.Load()
	return until != 0 && time.Now().UnixNano() < until
}

// SuspendedError says that an expression is not run for a while, for it kept
// overrunning its budget.
type SuspendedError struct {
	// Until is when it will be tried again.
	Until time.Time
}

// Error gives the reason and the time.
func (e *SuspendedError) Error() string {
	return fmt.Sprintf(suspendReason, e.Until.Format(time.RFC3339))
}
