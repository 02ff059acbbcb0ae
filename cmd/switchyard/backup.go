package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus/component"
	"github.com/switchyard-dev/switchyard/bus/store"
	"github.com/switchyard-dev/switchyard/bus/store/backup"
	"github.com/switchyard-dev/switchyard/bus/store/embedded"
	"github.com/switchyard-dev/switchyard/bus/store/objects"
)

func newBackup() *cobra.Command {
	var c client
	var data, pace, recheck string
	cmd := &cobra.Command{
		Use:   "backup DIR|URL",
		Short: "Copy a server's data, while it runs, to a folder or a bucket",
		Long: "Copy everything that a server holds, as it is at this moment, to a folder or an S3 bucket\n" +
			"(s3://BUCKET/PREFIX?region=&endpoint=). The server goes on; what an earlier backup there has is not copied\n" +
			"again. The data passes through this command: the folder is one of this machine, and the keys of a bucket\n" +
			"are those of this command's environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY). With --data the\n" +
			"data folder of a stopped server is copied. A backup that is interrupted is not there, and the next one\n" +
			"goes on from where it was. It copies at a pace that leaves a running server its disk (--rate).\n" +
			"Of what it takes over from earlier backups it reads a part again (--recheck); what is damaged there is named\n" +
			"and copied anew, which mends the earlier backups too.",
		Example: "  switchyard backup /mnt/backups/switchyard\n" +
			"  switchyard backup s3://backups/switchyard?region=eu-west-1 --server http://127.0.0.1:8080\n" +
			"  switchyard backup /mnt/backups/switchyard --data /var/lib/switchyard",
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			perSecond, err := component.ParseSize(pace)
			if err != nil {
				return &usageError{fmt.Errorf("--rate: %w", err)}
			}
			again, err := recheckBytes(recheck)
			if err != nil {
				return &usageError{err}
			}
			if data != "" && !cmd.Flags().Changed("rate") {
				perSecond = 0 // nobody else needs the disk
			}
			at, err := openStorage(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer at.Close()
			sn, closeSource, err := snapshotOf(cmd, &c, data)
			if err != nil {
				return err
			}
			w, err := backup.Write(cmd.Context(), at, sn, backup.Options{Release: release, Progress: said(cmd, "copied"), Rate: int64(perSecond), Recheck: again})
			if err = errors.Join(err, closeSource()); err != nil {
				return err
			}
			if c.out.json() {
				return printJSON(cmd, w)
			}
			for _, b := range w.Mended {
				fmt.Fprintf(cmd.OutOrStdout(), "%s (object %s): %s; it was copied anew\n", b.Name, b.Object, b.Reason)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "backup %s: %s, %s; copied %s, %s; read again %s, %s\n", w.ID, counted(w.Files, "file", "files"), size(w.Bytes),
				counted(w.CopiedFiles, "file", "files"), size(w.CopiedBytes), counted(w.CheckedFiles, "file", "files"), size(w.CheckedBytes))
			return nil
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&data, "data", "", "copy this data folder, whose server is stopped, instead of asking a server")
	cmd.Flags().StringVar(&pace, "rate", component.Size(backup.DefaultRate).String(), "bytes a second that are copied at most; 0, and without this flag a stopped server's folder, has no limit")
	cmd.Flags().StringVar(&recheck, "recheck", component.Size(backup.DefaultRecheck).String(), "bytes of what earlier backups have that are read again and held against their checksums, in turn from backup to backup; 0 none, all everything")
	cmd.AddCommand(newBackupList(), newBackupVerify(), newBackupPrune())
	return cmd
}

// recheckBytes is the value of --recheck.
func recheckBytes(text string) (int64, error) {
	if text == "all" {
		return backup.RecheckAll, nil
	}
	n, err := component.ParseSize(text)
	if err != nil {
		return 0, fmt.Errorf("--recheck: %w; or all", err)
	}
	return int64(n), nil
}

// openStorage opens the folder or bucket of an argument.
func openStorage(ctx context.Context, text string) (objects.Storage, error) {
	l, err := objects.Parse(text)
	if err != nil {
		return nil, &usageError{err}
	}
	return objects.Open(ctx, l, objects.Options{})
}

// existing opens the storage that backups are read from: a folder that is not
// there is not made.
func existing(ctx context.Context, text string) (objects.Storage, error) {
	if l, err := objects.Parse(text); err == nil && l.Scheme == "file" {
		if _, err := os.Stat(l.Path); err != nil {
			return nil, fmt.Errorf("there are no backups in %q: %w", l.Path, err)
		}
	}
	return openStorage(ctx, text)
}

// withBackups is a command about the backups in its argument.
func withBackups(run func(*cobra.Command, objects.Storage) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		at, err := existing(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		defer at.Close()
		return run(cmd, at)
	}
}

// said tells progress on standard error, not too often.
func said(cmd *cobra.Command, what string) func(backup.Progress) {
	say := paced(cmd)
	return func(p backup.Progress) {
		say("%s: %d of %d files, %s of %s", what, p.Files, p.OfFiles, size(p.Bytes), size(p.OfBytes))
	}
}

// size is a number of bytes for people.
func size(n int64) string {
	for _, u := range []struct {
		name string
		unit int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.unit {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.unit), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// snapshotOf takes a snapshot of a running server or of a data folder; the
// returned function lets go of it.
func snapshotOf(cmd *cobra.Command, c *client, data string) (store.Snapshot, func() error, error) {
	if data == "" {
		sn, err := takeRemote(cmd.Context(), c)
		if err != nil {
			return nil, nil, err
		}
		return sn, sn.Close, nil
	}
	if cmd.Flags().Changed("server") {
		return nil, nil, &usageError{errors.New("--server and --data exclude each other: a backup is of a running server or of the folder of a stopped one")}
	}
	if _, err := os.Stat(filepath.Join(data, "FORMAT")); err != nil {
		return nil, nil, fmt.Errorf("%q is not a data folder of Switchyard: %w", data, err)
	}
	st, err := embedded.Open(embedded.Options{Dir: data, NoBackground: true, DiskReserve: -1})
	if err != nil {
		return nil, nil, err
	}
	sn, err := st.Snapshot(cmd.Context())
	if err != nil {
		return nil, nil, errors.Join(err, st.Close())
	}
	return sn, func() error { return errors.Join(sn.Close(), st.Close()) }, nil
}

// remote is the snapshot of a running server.
type remote struct {
	c    *client
	path string
	info store.SnapshotInfo
}

// takeTimeout bounds how long a server takes for a snapshot: it reads the state
// once for that.
const takeTimeout = 30 * time.Minute

func takeRemote(ctx context.Context, c *client) (*remote, error) {
	ctx, cancel := context.WithTimeout(ctx, takeTimeout)
	defer cancel()
	res, err := c.send(ctx, http.MethodPost, "/v1/snapshots", jsonBody(), []byte("{}"))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var s api.Snapshot
	if err := json.NewDecoder(io.LimitReader(res.Body, maxReply)).Decode(&s); err != nil {
		return nil, fmt.Errorf("%s did not answer with a snapshot; is it a Switchyard server? %w", c.server, err)
	}
	return &remote{c: c, path: "/v1/snapshots/" + url.PathEscape(s.ID), info: s.SnapshotInfo}, nil
}

// Info implements store.Snapshot.
func (r *remote) Info() store.SnapshotInfo { return r.info }

// Open implements store.Snapshot.
func (r *remote) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	res, err := r.c.send(ctx, http.MethodGet, r.path+"/file?name="+url.QueryEscape(name), nil, nil)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// Close implements store.Snapshot. It is not bound to the context of the
// command, so that an interrupted one lets go too.
func (r *remote) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := r.c.call(ctx, http.MethodDelete, r.path, jsonBody(), nil, nil)
	var refused *refusal
	if errors.As(err, &refused) {
		return nil // it has ended by itself
	}
	return err
}

// listed is one backup of a list.
type listed struct {
	ID    string    `json:"id"`
	Store string    `json:"store,omitempty"`
	Taken time.Time `json:"taken"`
	Files int       `json:"files"`
	Bytes int64     `json:"bytes"`
	Error string    `json:"error,omitempty"`
}

func newBackupList() *cobra.Command {
	var out output
	var limit int
	cmd := &cobra.Command{
		Use:     "list DIR|URL",
		Short:   "List backups, the newest first",
		Example: "  switchyard backup list /mnt/backups/switchyard",
		Args:    arguments(1, 1),
		RunE: withBackups(func(cmd *cobra.Command, at objects.Storage) error {
			ids, err := backup.IDs(cmd.Context(), at)
			if err != nil {
				return err
			}
			all := []listed{}
			for i := len(ids) - 1; i >= 0 && (limit <= 0 || len(all) < limit); i-- {
				l := listed{ID: ids[i]}
				m, err := backup.Get(cmd.Context(), at, ids[i])
				switch {
				case errors.Is(err, backup.ErrNoBackup):
					continue // it went meanwhile
				case errors.Is(err, backup.ErrDamaged):
					l.Error = err.Error()
				case err != nil:
					return err
				default:
					l.Store, l.Taken, l.Files, l.Bytes = m.Store, m.Taken, len(m.Files), m.Bytes()
				}
				all = append(all, l)
			}
			if out.json() {
				return printJSON(cmd, all)
			}
			var rows [][]string
			for _, l := range all {
				if l.Error != "" {
					rows = append(rows, []string{l.ID, "damaged", "", "", ""})
					continue
				}
				rows = append(rows, []string{l.ID, l.Taken.Format(time.RFC3339Nano), fmt.Sprint(l.Files), size(l.Bytes), l.Store})
			}
			return table(cmd, "BACKUP\tTAKEN\tFILES\tSIZE\tSTORE", rows)
		}),
	}
	out.flag(cmd)
	cmd.Flags().IntVar(&limit, "limit", 100, "how many at most, 0 for all")
	return cmd
}

// verified is what a verification found.
type verified struct {
	ID    string       `json:"id"`
	Files int          `json:"files"`
	Bytes int64        `json:"bytes"`
	Bad   []backup.Bad `json:"bad"`
}

func newBackupVerify() *cobra.Command {
	var out output
	var id string
	cmd := &cobra.Command{
		Use:     "verify DIR|URL",
		Short:   "Read a backup in full and hold it against its checksums",
		Long:    "Read all files of a backup, the newest or the one that --backup names, and hold them against their\nchecksums. Ends with 1 if any is not what was written.",
		Example: "  switchyard backup verify /mnt/backups/switchyard",
		Args:    arguments(1, 1),
		RunE: withBackups(func(cmd *cobra.Command, at objects.Storage) error {
			m, err := backup.Get(cmd.Context(), at, id)
			if err != nil {
				return err
			}
			bad, err := backup.Verify(cmd.Context(), at, m, backup.Options{Progress: said(cmd, "read")})
			if err != nil {
				return err
			}
			if out.json() {
				err = printJSON(cmd, verified{m.ID, len(m.Files), m.Bytes(), bad})
			} else {
				for _, b := range bad {
					fmt.Fprintf(cmd.OutOrStdout(), "%s (object %s): %s\n", b.Name, b.Object, b.Reason)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "backup %s: %d of %s are damaged\n", m.ID, len(bad), counted(len(m.Files), "file", "files"))
			}
			if err == nil && len(bad) > 0 {
				err = errReported
			}
			return err
		}),
	}
	out.flag(cmd)
	cmd.Flags().StringVar(&id, "backup", "", "which backup; the newest by default")
	return cmd
}

// pruned is what was deleted.
type pruned struct {
	Deleted []string `json:"deleted"`
	Freed   int64    `json:"freed"`
}

func newBackupPrune() *cobra.Command {
	var out output
	var keep int
	cmd := &cobra.Command{
		Use:     "prune DIR|URL --keep N",
		Short:   "Delete all backups but the newest",
		Long:    "Delete all backups but the newest N of each store, with the files that no other backup needs. No backup may be made\nmeanwhile.",
		Example: "  switchyard backup prune /mnt/backups/switchyard --keep 14",
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if keep < 1 {
				return &usageError{errors.New("--keep: say how many backups are kept, 1 at least")}
			}
			return withBackups(func(cmd *cobra.Command, at objects.Storage) error {
				ids, freed, err := backup.Prune(cmd.Context(), at, keep)
				if err != nil {
					return err
				}
				if out.json() {
					return printJSON(cmd, pruned{ids, freed})
				}
				fmt.Fprintf(cmd.OutOrStdout(), "deleted %s, %s freed\n", counted(len(ids), "backup", "backups"), size(freed))
				return nil
			})(cmd, args)
		},
	}
	out.flag(cmd)
	cmd.Flags().IntVar(&keep, "keep", 0, "how many of the newest backups stay")
	return cmd
}
