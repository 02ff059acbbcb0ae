package main

import (
	"context"
	"errors"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// jetStream is the peer: a NATS server in this process, with one file stream
// that is synced before each acknowledgement (sync_interval: always).
const jetStream = "JetStream always"

// jetStreamConnections are shared by the publishers, each of which waits for
// its acknowledgement before it publishes again.
const jetStreamConnections = 4

// jetStreamAppend is the contender: publishers of payload.
func jetStreamAppend(e *environment, c *closer, publishers int, payload []byte) (contender, error) {
	dir, err := e.folder(c, "jetstream")
	if err != nil {
		return contender{}, err
	}
	server, err := natsserver.NewServer(&natsserver.Options{
		DontListen: true, JetStream: true, StoreDir: dir, SyncAlways: true, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return contender{}, err
	}
	server.Start()
	c.add(func() error {
		server.Shutdown()
		server.WaitForShutdown()
		return nil
	})
	if !server.ReadyForConnections(answerTime) {
		return contender{}, errors.New("the NATS server did not start")
	}
	var streams []jetstream.JetStream
	for range min(jetStreamConnections, publishers) {
		conn, err := nats.Connect("", nats.InProcessServer(server))
		if err != nil {
			return contender{}, err
		}
		c.add(func() error { conn.Close(); return nil })
		js, err := jetstream.New(conn)
		if err != nil {
			return contender{}, err
		}
		streams = append(streams, js)
	}
	_, err = streams[0].CreateStream(context.Background(), jetstream.StreamConfig{
		Name: "bench", Subjects: []string{"bench"}, Storage: jetstream.FileStorage, MaxBytes: keepBytes,
	})
	if err != nil {
		return contender{}, err
	}
	return contender{jetStream, func(ctx context.Context, d time.Duration) (measures, error) {
		all := make([]worker, publishers)
		for i := range all {
			js := streams[i%len(streams)]
			all[i] = func() (int, error) {
				_, err := js.Publish(ctx, "bench", payload)
				return 1, err
			}
		}
		t, err := drive(ctx, all, d)
		if err != nil {
			return nil, err
		}
		return t.measures(), nil
	}}, nil
}
