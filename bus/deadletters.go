package bus

import (
	"context"
	"fmt"

	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/rules"
)

// deadPage is how many dead letters are looked at in one step.
const deadPage = 256

// Selection says which dead letters of a subscription are meant: those with
// an id in IDs, else those whose event When matches, else all.
type Selection struct {
	IDs  []store.DeliveryID
	When *rules.Matcher
}

// Redrive puts the selected dead letters back into the subscription's queue
// and says how many. Those that die again meanwhile are not taken twice.
func (e *Engine) Redrive(ctx context.Context, sub store.SubscriptionID, sel Selection) (int, error) {
	return e.selectDead(ctx, sub, sel, e.store.Redrive)
}

// PurgeDead drops the selected dead letters and says how many.
func (e *Engine) PurgeDead(ctx context.Context, sub store.SubscriptionID, sel Selection) (int, error) {
	return e.selectDead(ctx, sub, sel, e.store.PurgeDead)
}

// selectDead applies act to the selected dead letters at once, so that a
// redrive keeps their order. Only as many are looked at as there were in the
// beginning; their ids are held in memory, 24 bytes each.
func (e *Engine) selectDead(ctx context.Context, sub store.SubscriptionID, sel Selection,
	act func(context.Context, store.SubscriptionID, []store.DeliveryID) (int, error)) (int, error) {
	if len(sel.IDs) > 0 {
		return act(ctx, sub, sel.IDs)
	}
	info, err := e.store.Subscription(sub)
	if err != nil {
		return 0, err
	}
	var ids []store.DeliveryID
	after := ""
	for left := info.Dead; left > 0; left -= deadPage {
		letters, next, err := e.store.ListDead(ctx, sub, after, int(min(left, deadPage)))
		if err != nil {
			return 0, fmt.Errorf("list dead letters: %w", err)
		}
		for i := range letters {
			if sel.When == nil || sel.When.Evaluate(letters[i].Record.Event).Matched {
				ids = append(ids, letters[i].ID)
			}
		}
		if next == "" {
			break
		}
		after = next
	}
	if len(ids) == 0 {
		return 0, nil
	}
	return act(ctx, sub, ids)
}
