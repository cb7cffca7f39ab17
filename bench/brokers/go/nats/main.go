// nats-server with MQTT and, since there is no MQTT without it, JetStream, whose files are not flushed.
package main

import (
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	folder, err := os.MkdirTemp("", "freshet-bench-nats-")
	if err != nil {
		log.Fatal(err)
	}
	options := &server.Options{
		ServerName:   "bench",
		Host:         "127.0.0.1",
		Port:         -1,
		NoLog:        true,
		NoSigs:       true,
		JetStream:    true,
		StoreDir:     folder,
		SyncInterval: time.Hour,
		MaxConn:      1 << 20,
	}
	options.MQTT.Host = "127.0.0.1"
	options.MQTT.Port = -1
	options.MQTT.MaxAckPending = 65535
	broker, err := server.NewServer(options)
	if err != nil {
		log.Fatal(err)
	}
	broker.Start()
	if !broker.ReadyForConnections(20 * time.Second) {
		log.Fatal("nats-server does not listen")
	}
	fmt.Printf("mqtt://127.0.0.1:%d\n", options.MQTT.Port)
	// Ends, and takes its folder with it, when the measurement closes its standard input.
	_, _ = os.Stdin.Read(make([]byte, 1))
	_ = os.RemoveAll(folder)
}
