package bus

import (
	"context"

	"github.com/switchyard-dev/switchyard/bus/store"
)

// tableBytes bounds the events of one page of a table, about.
const tableBytes = 16 << 20

// TableQuery asks for rows of the table of a bus.
type TableQuery struct {
	Prefix string // of the subjects; "" takes all
	After  string // the subject to go on after; "" begins
	Limit  int    // rows at most; 0 is 100
}

// Table returns rows of the table of a compacted bus: the newest event of each
// subject, in byte order of subject. next is the After of the next page, "" at
// the end. A page may be short for the size of its events. ErrUnknownBus,
// store.ErrNoTable, store.ErrTableUnfinished.
func (e *Engine) Table(ctx context.Context, bus string, q TableQuery) (rows []store.Record, next string, err error) {
	id, err := e.BusID(bus)
	if err != nil {
		return nil, "", err
	}
	if q.Limit <= 0 {
		q.Limit = 100
	}
	return e.store.ReadTable(ctx, id, q.Prefix, q.After, q.Limit, tableBytes, nil)
}

// TableRow returns the newest event of one subject of a compacted bus:
// store.ErrNotFound if there is none, and the errors of Table.
func (e *Engine) TableRow(ctx context.Context, bus, subject string) (store.Record, error) {
	id, err := e.BusID(bus)
	if err != nil {
		return store.Record{}, err
	}
	return e.store.TableRow(ctx, id, subject)
}
