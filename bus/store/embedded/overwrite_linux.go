package embedded

import "golang.org/x/sys/unix"

// overwritesInPlace reports whether a file in dir that is written again keeps its blocks, so
// that no metadata has to be written with them.
func overwritesInPlace(dir string) bool {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return false
	}
	switch int64(st.Type) { //nolint:unconvert // its type differs by architecture
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.OVERLAYFS_SUPER_MAGIC:
		return true
	}
	return false // others copy on write, live in memory or are far away
}
