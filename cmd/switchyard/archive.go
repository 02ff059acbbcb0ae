package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/bus/store/archive"
	"github.com/switchyard-dev/switchyard/bus/store/objects"
)

func newArchive() *cobra.Command {
	cmd := &cobra.Command{
		Use: "archive", Short: "List or verify what is archived of a bus",
	}
	cmd.AddCommand(newArchiveList(), newArchiveVerify())
	return cmd
}

func newArchiveList() *cobra.Command {
	var c client
	var most int
	cmd := &cobra.Command{
		Use: "list BUS", Short: "List the objects of a bus's archive", Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkLimit(most); err != nil {
				return err
			}
			path := "/v1/buses/" + url.PathEscape(args[0]) + "/archive"
			var state api.ArchiveList
			if _, err := c.call(cmd.Context(), http.MethodGet, path+"?limit=1", nil, nil, &state); err != nil {
				return err
			}
			items, err := collect[api.ArchivedRange](cmd.Context(), &c, path, most)
			if err != nil {
				return err
			}
			if c.out.json() {
				return printJSON(cmd, api.ArchiveList{List: api.List[api.ArchivedRange]{Items: items}, Archive: state.Archive})
			}
			return showArchive(cmd, args[0], items, state.Archive)
		},
	}
	c.flags(cmd)
	cmd.Flags().IntVar(&most, "limit", 1000, "show at most this many, oldest first")
	return cmd
}

func showArchive(cmd *cobra.Command, bus string, items []api.ArchivedRange, st api.ArchiveState) error {
	var rows [][]string
	for _, r := range items {
		row := []string{strconv.FormatUint(r.First, 10), strconv.FormatUint(r.Last, 10), "", "", strconv.FormatInt(r.Bytes, 10), r.Object}
		if r.Gap {
			row[5] = "(removed before they could be archived)"
		} else if r.From != nil && r.To != nil {
			row[2], row[3] = r.From.Local().Format(time.DateTime), r.To.Local().Format(time.DateTime)
		}
		rows = append(rows, row)
	}
	if len(rows) > 0 {
		if err := table(cmd, "FIRST\tLAST\tFROM\tTO\tBYTES\tOBJECT", rows); err != nil {
			return err
		}
	}
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "%s: %s, %d bytes in %s; %s to be archived\n", bus, counted(st.Objects, "object", "objects"), st.Bytes, st.To,
		counted(int(st.Lag), "event", "events"))
	if st.Error != "" {
		fmt.Fprintf(w, "nothing is archived at present: %s\n", st.Error)
	}
	return nil
}

// verifiedArchive is what verify says.
type verifiedArchive struct {
	Objects  int       `json:"objects"`
	Events   uint64    `json:"events"`
	Bytes    int64     `json:"bytes"`
	Problems []problem `json:"problems"`
}

type problem struct {
	Object string `json:"object"`
	Error  string `json:"error"`
}

func newArchiveVerify() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "verify ADDRESS [BUS]",
		Short: "Read all of an archive and say what is wrong with it",
		Long: "Read every object under an address, which is that of archive.to in a configuration, check all of\n" +
			"its events, and say what is damaged and which events no object has. No server is needed and nothing\n" +
			"is changed. The keys of S3 come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the AWS credentials\n" +
			"file or the machine's role. Ends with 1 if anything is wrong.",
		Example: "  switchyard archive verify /mnt/archive orders\n" +
			"  switchyard archive verify 's3://events/archive?region=eu-west-1'",
		Args: arguments(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			bus := ""
			if len(args) == 2 {
				bus = args[1]
			}
			v, err := verifyArchive(cmd, args[0], bus)
			if err != nil {
				return err
			}
			if out.json() {
				err = printJSON(cmd, v)
			} else {
				w := cmd.OutOrStdout()
				for _, p := range v.Problems {
					fmt.Fprintln(w, p.Error)
				}
				fmt.Fprintf(w, "%s in %s with %s, %d bytes\n", counted(len(v.Problems), "problem", "problems"), counted(v.Objects, "object", "objects"),
					counted(int(v.Events), "event", "events"), v.Bytes)
			}
			if err == nil && len(v.Problems) > 0 {
				err = errReported
			}
			return err
		},
	}
	out.flag(cmd)
	return cmd
}

// verifyArchive reads an archive, with progress on standard error.
func verifyArchive(cmd *cobra.Command, address, bus string) (v verifiedArchive, err error) {
	ctx := cmd.Context()
	if bus != "" {
		if err := objects.CheckName(bus); err != nil {
			return v, &usageError{fmt.Errorf("%q is not the name of a bus", bus)}
		}
	}
	from, err := openStorage(ctx, address)
	if err != nil {
		return v, err
	}
	defer from.Close()
	prefixes, err := archive.Prefixes(ctx, from, bus)
	if err != nil {
		return v, err
	}
	if len(prefixes) == 0 {
		return v, fmt.Errorf("there is no archive of %s in %s", first(bus, "any bus"), from)
	}
	v.Problems = []problem{}
	say := paced(cmd)
	for _, prefix := range prefixes {
		segments, err := archive.List(ctx, from, prefix)
		if err != nil {
			return v, err
		}
		for i, g := range segments {
			if i > 0 && segments[i-1].Last+1 != g.First {
				v.Problems = append(v.Problems, problem{prefix, fmt.Sprintf("%s: no object has %s", prefix, archive.EventsBetween(segments[i-1].Last+1, g.First-1))})
			}
			n, err := archive.Verify(ctx, from, g)
			if ctx.Err() != nil {
				return v, ctx.Err()
			}
			if err != nil {
				v.Problems = append(v.Problems, problem{g.Object, err.Error()})
			}
			v.Objects++
			v.Events += n
			v.Bytes += g.Size()
			say("%s: %d of %d objects read", prefix, i+1, len(segments))
		}
	}
	return v, nil
}
