// A function as Knative runs them: it takes an event by HTTP, in binary or
// structured mode, and may answer with another one. It uses the standard
// library only.
//
//	PORT=8081 go run ./configs/functions/go
package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

// photo is the data of the events that it takes.
type photo struct {
	Name string `json:"name"`
}

// thumbnail is the data of the events that it answers with.
type thumbnail struct {
	Of   string `json:"of"`
	Name string `json:"name"`
}

func main() {
	address := "127.0.0.1:8081"
	if port := os.Getenv("PORT"); port != "" {
		address = ":" + port
	}
	if host := os.Getenv("HOST"); host != "" {
		address = host + address[strings.LastIndex(address, ":"):]
	}
	server := &http.Server{Addr: address, Handler: http.HandlerFunc(handle), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func handle(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		http.Error(w, "the event is too large", http.StatusRequestEntityTooLarge)
		return
	}
	id, data := r.Header.Get("ce-id"), body
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/cloudevents+json") {
		var event struct {
			ID   string          `json:"id"`
			Data json.RawMessage `json:"data"`
		}
		if err := json.Unmarshal(body, &event); err != nil {
			http.Error(w, "not an event", http.StatusBadRequest)
			return
		}
		id, data = event.ID, event.Data
	}
	var p photo
	// 400 says that no other attempt will help: the event becomes a dead letter.
	if err := json.Unmarshal(data, &p); err != nil || p.Name == "" || id == "" {
		http.Error(w, "want the name of a photo", http.StatusBadRequest)
		return
	}
	w.Header().Set("ce-specversion", "1.0")
	// The id is made of the event's, so that a repeat makes the same event again.
	w.Header().Set("ce-id", id+"-thumbnail")
	w.Header().Set("ce-source", "/functions/thumbnail")
	w.Header().Set("ce-type", "com.example.thumbnail.made")
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(thumbnail{Of: p.Name, Name: "small-" + p.Name}); err != nil {
		log.Print(err)
	}
}
