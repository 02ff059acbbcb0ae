package main

import (
	"fmt"
	"syscall"
)

// memoryDisk is a file system in memory whose size is changed while it is in
// use, which takes the rights of root.
type memoryDisk struct{ dir string }

// newDisk mounts a disk at dir. It is nil where that is not allowed.
func newDisk(dir string) disk {
	if syscall.Mount("soak", dir, "tmpfs", 0, fmt.Sprintf("size=%d", diskSize)) != nil {
		return nil
	}
	return memoryDisk{dir}
}

func (d memoryDisk) leave(bytes uint64) error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &s); err != nil {
		return fmt.Errorf("look at the disk: %w", err)
	}
	used := (s.Blocks - s.Bfree) * uint64(s.Bsize)
	if err := syscall.Mount("soak", d.dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", min(used+bytes, diskSize))); err != nil {
		return fmt.Errorf("change the size of the disk: %w", err)
	}
	return nil
}

func (d memoryDisk) close() error { return syscall.Unmount(d.dir, 0) }
