package pull_test

import (
	"testing"
	"time"

	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/targets"
	"github.com/switchyard-dev/switchyard/targets/pull"
)

func TestALeaseIsBetweenOneSecondAndTwelveHours(t *testing.T) {
	for _, c := range []struct {
		lease time.Duration
		good  bool
	}{
		{time.Second, true}, {30 * time.Second, true}, {12 * time.Hour, true},
		{0, false}, {-time.Second, false}, {time.Second - 1, false}, {12*time.Hour + 1, false},
	} {
		config := pull.NewConfig()
		config.Lease = component.Duration(c.lease)
		var p component.Problems
		config.Validate(&p)
		if good := len(p.All) == 0; good != c.good {
			t.Errorf("a lease of %s: problems %v", c.lease, p.All)
		}
	}
}

func TestTheTargetShowsItsSettings(t *testing.T) {
	config := pull.Spec().New().(*pull.Config)
	config.Broadcast = true
	built, err := config.Build(targets.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := built.(targets.Pulled).Pull(), (targets.Pull{Lease: 30 * time.Second, Broadcast: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := built.Deliver(t.Context(), &targets.Delivery{}); !targets.IsPermanent(err) {
		t.Errorf("an attempt to deliver: %v", err)
	}
}
