package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
	"github.com/switchyard-dev/switchyard/configs"
)

func newApply() *cobra.Command {
	var dry bool
	cmd := newApplying(&dry, func(cmd *cobra.Command, answer api.ApplyAnswer) {
		counts := map[string]int{}
		for _, o := range answer.Objects {
			counts[o.Result]++
			fmt.Fprintf(cmd.OutOrStdout(), "%-9s  %s %s\n", o.Result, o.Kind, o.Name)
		}
		summary := fmt.Sprintf("%d created, %d changed, %d unchanged", counts[api.Created], counts[api.Changed], counts[api.Unchanged])
		if dry {
			summary = "a dry run, nothing was changed; it would be " + summary
		}
		fmt.Fprintln(cmd.OutOrStdout(), summary)
	})
	cmd.Use = "apply FILE|DIR|-"
	cmd.Short = "Create and change objects of a running server as a configuration file has them"
	cmd.Long = "Create and change buses, targets, sources and rules of a running server through its API, as a\n" +
		"configuration file, the files of a folder or standard input (-) have them. All of them are checked first,\n" +
		"and they come into force together or not at all. What stands in a file of the server is read-only, what is\n" +
		"not in FILE stays as it is (see switchyard delete), and references such as ${env:NAME} are refused."
	cmd.Example = "  switchyard apply rules.yaml\n" +
		"  switchyard apply rules.yaml --dry-run\n" +
		"  switchyard apply -f - < rules.yaml"
	cmd.Flags().BoolVar(&dry, "dry-run", false, "check, and say what would be done")
	return cmd
}

func newDiff() *cobra.Command {
	dry := true
	cmd := newApplying(&dry, showDiff)
	cmd.Use = "diff FILE|DIR|-"
	cmd.Short = "Show what apply would change"
	cmd.Long = "Show which objects of a configuration file a running server does not have, or has with other settings.\n" +
		"Secrets are not shown. Nothing is changed."
	cmd.Example = "  switchyard diff rules.yaml"
	return cmd
}

// newApplying makes a command that applies a file, or only asks what that would
// change, and shows the answer.
func newApplying(dry *bool, show func(*cobra.Command, api.ApplyAnswer)) *cobra.Command {
	var c client
	var file string
	cmd := &cobra.Command{
		Args: arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := theFile(args, file)
			if err != nil {
				return err
			}
			answer, err := apply(cmd, &c, name, *dry)
			if err != nil {
				return err
			}
			if c.out.json() {
				return printJSON(cmd, answer)
			}
			show(cmd, answer)
			return nil
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVarP(&file, "file", "f", "", "the file or folder, the same as FILE; - is standard input")
	return cmd
}

// theFile is the one file that an argument or --file names.
func theFile(args []string, flag string) (string, error) {
	switch {
	case len(args) == 0 && flag == "":
		return "", &usageError{errors.New("name a file; - is standard input")}
	case len(args) == 0:
		return flag, nil
	case flag != "" && flag != args[0]:
		return "", &usageError{fmt.Errorf("%q and --file %q: name one file", args[0], flag)}
	}
	return args[0], nil
}

// apply sends what a file has to the server, once each object by itself is good.
// Warnings go to standard error.
func apply(cmd *cobra.Command, c *client, file string, dry bool) (answer api.ApplyAnswer, err error) {
	objects, err := readObjects(cmd, file)
	if err != nil {
		return answer, err
	}
	var req api.ApplyRequest
	places := map[string]string{} // by what pointers of the request begin with
	for _, o := range objects {
		section := map[string]*map[string]json.RawMessage{
			configs.Buses: &req.Buses, configs.Targets: &req.Targets, configs.Sources: &req.Sources, configs.Rules: &req.Rules,
		}[o.Kind]
		if *section == nil {
			*section = map[string]json.RawMessage{}
		}
		(*section)[o.Name] = o.Raw
		places["/"+o.Kind+"/"+o.Name] = o.Origin.String()
	}
	body, err := json.Marshal(req)
	if err != nil {
		return answer, err
	}
	path := "/v1/apply"
	if dry {
		path += "?dryRun=true"
	}
	var refused *refusal
	_, err = c.call(cmd.Context(), http.MethodPost, path, jsonBody(), body, &answer)
	if errors.As(err, &refused) && len(refused.problem.Errors) > 0 {
		for _, f := range refused.problem.Errors {
			fmt.Fprintln(cmd.ErrOrStderr(), applyFault(f, places))
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "switchyard: %s: nothing was changed\n", file)
		return answer, errors.Join(errConfiguration, errReported)
	}
	for _, o := range answer.Objects {
		place := places["/"+plural(o.Kind)+"/"+o.Name]
		for _, w := range o.Warnings {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: warning: %s %s: %s\n", place, o.Kind, o.Name, w.Message)
		}
	}
	return answer, err
}

// readObjects reads the objects of a file, and reports what is wrong with them.
func readObjects(cmd *cobra.Command, file string) ([]configs.Object, error) {
	loader, err := newLoader()
	if err != nil {
		return nil, err
	}
	var objects []configs.Object
	var found configs.Diagnostics
	if file == "-" {
		data, err := readInput(cmd, file)
		if err != nil {
			return nil, err
		}
		objects, found = loader.ReadObjectsOf("standard input", data)
	} else {
		objects, found = loader.ReadObjects(file)
	}
	if found.HasErrors() { // the server warns of what it takes
		fmt.Fprintln(cmd.ErrOrStderr(), found.Errors())
		return nil, errors.Join(errConfiguration, errReported)
	}
	if len(objects) == 0 {
		return nil, fmt.Errorf("%s has no buses, targets, sources or rules", file)
	}
	return objects, nil
}

// applyFault says what the server found wrong with an object, and where it is.
func applyFault(f api.ProblemField, places map[string]string) string {
	parts := strings.Split(f.Pointer, "/")
	if len(parts) < 3 {
		return f.Detail
	}
	place := places[strings.Join(parts[:3], "/")]
	return fmt.Sprintf("%s: %s: %s", place, strings.Join(parts[1:], "."), f.Detail)
}

func showDiff(cmd *cobra.Command, answer api.ApplyAnswer) {
	w := cmd.OutOrStdout()
	same := 0
	for _, o := range answer.Objects {
		switch o.Result {
		case api.Created:
			fmt.Fprintf(w, "+ %s %s\n", o.Kind, o.Name)
		case api.Changed:
			fmt.Fprintf(w, "~ %s %s\n", o.Kind, o.Name)
		default:
			same++
		}
		for _, s := range o.Changes {
			before, after := cmp.Or(string(s.Before), "(none)"), cmp.Or(string(s.After), "(none)")
			if before == after {
				fmt.Fprintf(w, "    %s: a secret in it is another one\n", s.Setting)
				continue
			}
			fmt.Fprintf(w, "    %s: %s → %s\n", s.Setting, before, after)
		}
	}
	fmt.Fprintf(w, "%s unchanged\n", counted(same, "object is", "objects are"))
}

// plural is the kind that one object is of, as addresses have it.
func plural(one string) string {
	i := slices.IndexFunc(objectKinds(), func(kind string) bool { return one == kind || one == api.Singular(kind) })
	if i < 0 {
		return ""
	}
	return objectKinds()[i]
}

func newDelete() *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use:   "delete KIND NAME",
		Short: "Remove a bus, source, rule or target that was made through the API",
		Example: "  switchyard delete rule large-eu-orders\n" +
			"  switchyard delete targets crm",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errors.New("delete takes a kind (bus, source, rule or target) and a name")
			}
			if plural(args[0]) == "" {
				return fmt.Errorf("%q is not one of bus, source, rule, target%s", args[0], configs.DidYouMean(args[0], []string{"bus", "source", "rule", "target"}, "kinds"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name := plural(args[0]), args[1]
			done := deletion{Kind: api.Singular(kind), Name: name}
			if _, err := c.call(cmd.Context(), http.MethodDelete, "/v1/"+kind+"/"+url.PathEscape(name), nil, nil, &done.Deletion); err != nil {
				return err
			}
			if c.out.json() {
				return printJSON(cmd, done)
			}
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, "%s %s is removed\n", done.Kind, name)
			for _, o := range done.Orphaned {
				fmt.Fprintf(w, "  %s keeps %s and %s until the name returns or they are purged\n", o.Subscription,
					counted(int(o.Deliveries), "delivery", "deliveries"), counted(int(o.DeadLetters), "dead letter", "dead letters"))
			}
			return nil
		},
	}
	c.flags(cmd)
	return cmd
}

// deletion is what delete -o json prints.
type deletion struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	api.Deletion
}
