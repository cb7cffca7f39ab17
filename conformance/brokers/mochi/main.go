// Mochi MQTT as a broker of its own: says where it listens, and ends with its standard input.
package main

import (
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

// What the scripts expect of a broker's limits; everything else is Mochi's own default.
const (
	maxPacketBytes = 1 << 20
	receiveMaximum = 32
	topicAliases   = 16
)

func main() {
	capabilities := mqtt.NewDefaultServerCapabilities()
	capabilities.MaximumPacketSize = maxPacketBytes
	capabilities.ReceiveMaximum = receiveMaximum
	capabilities.TopicAliasMaximum = topicAliases
	// With its default every message would get an expiry interval of a day.
	capabilities.MaximumMessageExpiryInterval = 0
	// Its Paho mode and its other compatibilities, all of which the specification does not know, stay off.
	server := mqtt.New(&mqtt.Options{
		Capabilities: capabilities,
		Logger:       slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err := server.AddHook(new(auth.AllowHook), nil); err != nil {
		log.Fatal(err)
	}
	tcp := listeners.NewTCP(listeners.Config{ID: "tcp", Address: "127.0.0.1:0"})
	if err := server.AddListener(tcp); err != nil {
		log.Fatal(err)
	}
	if err := server.Serve(); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listens on mqtt://%s\n", tcp.Address())
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = server.Close()
}
