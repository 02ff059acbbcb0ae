package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/switchyard-dev/switchyard/api"
)

func newTransactions() *cobra.Command {
	cmd := &cobra.Command{Use: "transactions", Short: "Begin, list and answer transactions"}
	cmd.AddCommand(newTransactionsList(), newTransactionsBegin(), newTransactionsCommit(), newTransactionsRollback())
	return cmd
}

func newTransactionsList() *cobra.Command {
	var c client
	var state string
	cmd := &cobra.Command{
		Use: "list", Short: "List transactions", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			path := "/v1/transactions"
			if state != "" {
				path += "?state=" + url.QueryEscape(state)
			}
			items, err := collect[api.Transaction](cmd.Context(), &c, path, everything)
			if err != nil {
				return err
			}
			if c.out.json() {
				return printJSON(cmd, items)
			}
			var rows [][]string
			for _, t := range items {
				rows = append(rows, []string{t.ID, t.State, strconv.Itoa(t.Count), strconv.Itoa(t.Checks), t.CheckURL, t.LastError})
			}
			return table(cmd, "ID\tSTATE\tEVENTS\tCHECKS\tCHECK URL\tLAST ERROR", rows)
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&state, "state", "", "only open, parked, committed or rolledback ones")
	return cmd
}

func newTransactionsBegin() *cobra.Command {
	var c client
	var req api.TransactionRequest
	var file string
	cmd := &cobra.Command{
		Use:   "begin [BUS] FILE",
		Short: "Keep a CloudEvents JSON batch unseen until it is committed; FILE - is standard input",
		Example: "  switchyard transactions begin orders events.json --check-url http://127.0.0.1:9000/check\n" +
			"  switchyard transactions begin events.json --bus orders",
		Args: arguments(0, 2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if err := busAndFile(args, &req.Bus, &file, true); err != nil {
				return err
			}
			if file == "" {
				return &usageError{errors.New("name a file of events; - is standard input")}
			}
			if req.Events, err = readInput(cmd, file); err != nil {
				return err
			}
			if !json.Valid(req.Events) {
				return fmt.Errorf("%s: is not JSON; give a CloudEvents JSON batch", file)
			}
			body, err := json.Marshal(req)
			if err != nil {
				return err
			}
			var started api.TransactionStarted
			if _, err := c.call(cmd.Context(), http.MethodPost, "/v1/transactions", jsonBody(), body, &started); err != nil {
				return err
			}
			if c.out.json() {
				return printJSON(cmd, started)
			}
			fmt.Fprintln(cmd.OutOrStdout(), started.ID)
			return nil
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&req.Bus, "bus", "", "the bus of the events, the same as BUS; without it each names its own in the extension bus")
	cmd.Flags().StringVarP(&file, "file", "f", "", "the file, the same as FILE")
	cmd.Flags().StringVar(&req.CheckURL, "check-url", "", "where to ask when it is neither committed nor rolled back")
	return cmd
}

func newTransactionsCommit() *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use: "commit ID", Short: "Record the events of a transaction, all at once", Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r api.PublishResults
			if _, err := c.call(cmd.Context(), http.MethodPost, "/v1/transactions/"+url.PathEscape(args[0])+"/commit", jsonBody(), []byte("{}"), &r); err != nil {
				return err
			}
			if c.out.json() {
				return printJSON(cmd, r)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is committed; %s\n", args[0], counted(len(r.Results), "event", "events"))
			return nil
		},
	}
	c.flags(cmd)
	return cmd
}

func newTransactionsRollback() *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use: "rollback ID", Short: "Drop the events of a transaction", Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var t api.Transaction
			if _, err := c.call(cmd.Context(), http.MethodPost, "/v1/transactions/"+url.PathEscape(args[0])+"/rollback", jsonBody(), []byte("{}"), &t); err != nil {
				return err
			}
			if c.out.json() {
				return printJSON(cmd, t)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is rolled back; %s dropped\n", args[0], counted(t.Count, "event is", "events are"))
			return nil
		},
	}
	c.flags(cmd)
	return cmd
}
