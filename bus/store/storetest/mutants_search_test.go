package storetest

import (
	"context"
	"slices"

	"github.com/switchyard-dev/switchyard/bus/event"
	"github.com/switchyard-dev/switchyard/bus/store"
)

func searchMutants() []mutant {
	return []mutant{
		{"does not find by an extension", func(b *broken) {
			b.scan = func(ctx context.Context, bus store.BusID, q store.ScanQuery) (store.Scanned, error) {
				out, err := b.Model.Scan(ctx, bus, q)
				if slices.ContainsFunc(q.Has, func(a store.AttributeValue) bool { return !event.IsContextAttribute(a.Name) }) {
					out.Records = nil
				}
				return out, err
			}
		}},
		{"scans upwards only", func(b *broken) {
			b.scan = func(ctx context.Context, bus store.BusID, q store.ScanQuery) (store.Scanned, error) {
				q.Newest = false
				return b.Model.Scan(ctx, bus, q)
			}
		}},
		{"passes over an event when a scan goes on", func(b *broken) {
			b.scan = func(ctx context.Context, bus store.BusID, q store.ScanQuery) (store.Scanned, error) {
				out, err := b.Model.Scan(ctx, bus, q)
				if out.Next > 0 && q.Newest {
					out.Next--
				}
				return out, err
			}
		}},
		{"forgets dead letters in a search", func(b *broken) {
			b.eventsWith = func(ctx context.Context, bus store.BusID, q store.DeliveriesQuery) ([]uint64, uint64, error) {
				q.Dead = false
				return b.Model.WithDeliveries(ctx, bus, q)
			}
		}},
		{"does not list what has expired", func(b *broken) {
			b.eventsWith = func(ctx context.Context, bus store.BusID, q store.DeliveriesQuery) ([]uint64, uint64, error) {
				q.Expired = false
				return b.Model.WithDeliveries(ctx, bus, q)
			}
		}},
		{"does not list what retention has passed", func(b *broken) {
			b.eventsWith = func(ctx context.Context, bus store.BusID, q store.DeliveriesQuery) ([]uint64, uint64, error) {
				bounds, err := b.Bounds(bus)
				if err != nil {
					return nil, 0, err
				}
				q.From = max(q.From, bounds.History)
				return b.Model.WithDeliveries(ctx, bus, q)
			}
		}},
		{"does not scan what retention has passed", func(b *broken) {
			b.scan = func(ctx context.Context, bus store.BusID, q store.ScanQuery) (store.Scanned, error) {
				bounds, err := b.Bounds(bus)
				if err != nil {
					return store.Scanned{}, err
				}
				q.From = max(q.From, bounds.History)
				return b.Model.Scan(ctx, bus, q)
			}
		}},
		{"scans beyond the range", func(b *broken) {
			b.scan = func(ctx context.Context, bus store.BusID, q store.ScanQuery) (store.Scanned, error) {
				if !q.Newest && q.To > 0 {
					q.To++
				}
				return b.Model.Scan(ctx, bus, q)
			}
		}},
	}
}
