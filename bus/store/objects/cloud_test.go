//go:build cloud

package objects

import "gocloud.dev/blob/memblob"

// NewMemory is a storage over the library that GCS and Azure share, in memory.
func NewMemory(prefix string) Storage {
	return newCloud(Location{Scheme: "gs", Bucket: "memory", Prefix: prefix}, memblob.OpenBucket(nil))
}
