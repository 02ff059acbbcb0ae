package event

// Defaults of Limits.
const (
	// DefaultMaxEventSize is the limit of one event's Size: 256 KiB.
	DefaultMaxEventSize = 256 << 10
	// DefaultMaxBatch is the limit of events in one batch.
	DefaultMaxBatch = 10_000
)

// Limits bounds what the decoders accept. The zero value means the defaults.
type Limits struct {
	// MaxEventSize is the most bytes of one event, as Size counts them;
	// 0 is DefaultMaxEventSize.
	MaxEventSize int
	// MaxBatch is the most events of one batch; 0 is DefaultMaxBatch.
	MaxBatch int
}

func (l Limits) eventSize() int {
	if l.MaxEventSize > 0 {
		return l.MaxEventSize
	}
	return DefaultMaxEventSize
}

func (l Limits) batch() int {
	if l.MaxBatch > 0 {
		return l.MaxBatch
	}
	return DefaultMaxBatch
}
