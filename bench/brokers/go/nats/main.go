// nats-server with MQTT and, since there is no MQTT without it, JetStream, in a folder that it is given.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	folder := flag.String("folder", "", "where its files are, which are removed at the end")
	sync := flag.String("sync", "default", "when files are flushed: default (every two minutes), always (before an answer) or never")
	flag.Parse()
	if *folder == "" {
		log.Fatal("-folder is missing")
	}
	options := &server.Options{
		ServerName: "bench",
		Host:       "127.0.0.1",
		Port:       -1,
		NoLog:      true,
		NoSigs:     true,
		JetStream:  true,
		StoreDir:   *folder,
		MaxConn:    1 << 20,
	}
	switch *sync {
	case "default":
	case "always":
		options.SyncAlways = true
	case "never":
		options.SyncInterval = 24 * time.Hour
	default:
		log.Fatalf("-sync=%s: must be default, always or never", *sync)
	}
	options.MQTT.Host = "127.0.0.1"
	options.MQTT.Port = -1
	// A session has 65,535 together, and at QoS 2 two consumers.
	options.MQTT.MaxAckPending = 30000
	// A session that is made while many others are takes longer than the default when everything is flushed.
	options.MQTT.JSAPITimeout = time.Minute
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
	_ = os.RemoveAll(*folder)
}
