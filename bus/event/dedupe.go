package event

import (
	"crypto/sha256"
	"encoding/binary"
)

// DedupeKey is the key under which an event is known to have been published
// already: source and id identify an event (CloudEvents core, "id"). It is a
// truncated SHA-256 over both with their lengths, so nobody can make an event
// that passes for another's and suppresses it.
func DedupeKey(source, id string) [16]byte {
	buf := make([]byte, 0, 256)
	buf = binary.AppendUvarint(buf, uint64(len(source)))
	buf = append(buf, source...)
	buf = binary.AppendUvarint(buf, uint64(len(id)))
	buf = append(buf, id...)
	sum := sha256.Sum256(buf)
	return [16]byte(sum[:16])
}
