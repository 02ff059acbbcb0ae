package configs

import (
	"path/filepath"

	"gopkg.in/yaml.v3"

	"github.com/switchyard-dev/switchyard/bus/store/objects"
)

// Bounds of a segment, which is made in memory.
const leastSegment, mostSegment = 64 << 10, 256 << 20

// archive checks a bus's archive and reads where it is.
func (d *document) archive(n *yaml.Node, b *Bus, path keyPath) {
	key, settings := child(n, "archive")
	if key == nil || isNull(settings) {
		return
	}
	a := &b.Archive
	if d.api() {
		d.reportBelow(n, path, "a bus with an archive works in configuration files only, for it writes to folders and buckets with the server's own rights", "archive")
		return
	}
	var err error
	switch a.Location, err = objects.Parse(a.To); {
	case a.To == "":
		d.reportBelow(n, path, "it must say where to: a folder, or s3://BUCKET/PREFIX", "archive", "to")
	case err != nil:
		d.reportBelow(n, path, err.Error(), "archive", "to")
	default:
		if a.Location.Scheme == "file" && !filepath.IsAbs(a.Location.Path) {
			a.Location.Path = filepath.Join(d.folder(), a.Location.Path)
		}
		if err := a.Location.Supported(); err != nil {
			d.reportBelow(n, path, err.Error(), "archive", "to")
		} else if err := a.Keys().Check(a.Location); err != nil {
			d.reportBelow(n, path, err.Error(), "archive", "accessKey")
		}
	}
	switch {
	case a.Age < 0:
		d.reportBelow(n, path, "it cannot be negative; leave it out to keep events for ever", "archive", "age")
	case a.Age > 0 && a.Age < b.Retention.Age:
		d.reportBelow(n, path, "it is shorter than retention.age ("+b.Retention.Age.String()+"), so nothing would ever be read from the archive; make it longer or leave the archive out", "archive", "age")
	}
	if a.Size < 0 {
		d.reportBelow(n, path, "it cannot be negative; leave it out for no limit", "archive", "size")
	}
	if a.After <= 0 {
		d.reportBelow(n, path, "it must be more than 0, such as 1h", "archive", "after")
	}
	if a.Segment < leastSegment || a.Segment > mostSegment {
		d.reportBelow(n, path, "it must be between 64KiB and 256MiB", "archive", "segment")
	}
}
