"""Runs paho clients as told: a command a line on standard input, an event a line on standard output.

One process hosts all clients of a run; `peer` says which is meant. The words are those of `src/message.rs`.
"""

import hashlib
import json
import sys
import threading

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PLAIN_PAYLOAD_BYTES = 256
LOOPBACK = "127.0.0.1"

output = threading.Lock()


def tell(peer, event, **fields):
    with output:
        sys.stdout.write(json.dumps({"peer": peer, "event": event, **fields}) + "\n")
        sys.stdout.flush()


def told_payload(payload):
    if len(payload) <= PLAIN_PAYLOAD_BYTES:
        return payload.decode("utf-8", "replace")
    return f"{len(payload)}:{hashlib.sha256(payload).hexdigest()}"


def properties(packet_type, **values):
    chosen = {name: value for name, value in values.items() if value is not None}
    if not chosen:
        return None
    result = Properties(packet_type)
    for name, value in chosen.items():
        setattr(result, name, value)
    return result


class Peer:
    def __init__(self, name):
        self.name = name
        self.client = None
        self.v5 = False
        self.defined_aliases = set()
        # An acknowledgement may come before `publish` has returned the packet id that it is for.
        self.lock = threading.Lock()
        self.tags = {}
        self.early = {}

    def connect(self, command):
        self.v5 = command["version"] == 5
        arguments = {} if self.v5 else {"clean_session": command["clean"]}
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=command["client_id"],
            protocol=paho.MQTTv5 if self.v5 else paho.MQTTv311,
            reconnect_on_failure=False,
            **arguments,
        )
        self.client.on_connect = self.on_connect
        self.client.on_connect_fail = lambda client, userdata: tell(self.name, "closed", why="no connection")
        self.client.on_disconnect = lambda client, userdata, flags, code, props: tell(
            self.name, "closed", why=str(code)
        )
        self.client.on_subscribe = lambda client, userdata, mid, codes, props: tell(self.name, "subscribed")
        self.client.on_unsubscribe = lambda client, userdata, mid, codes, props: tell(self.name, "unsubscribed")
        self.client.on_message = self.on_message
        self.client.on_publish = self.on_publish
        will = command.get("will")
        if will:
            delay = properties(PacketTypes.WILLMESSAGE, WillDelayInterval=will.get("delay_s"))
            self.client.will_set(will["topic"], will["payload"], will["qos"], will["retain"], delay)
        if self.v5:
            more = {
                "clean_start": command["clean"],
                "properties": properties(
                    PacketTypes.CONNECT,
                    SessionExpiryInterval=command.get("session_expiry_interval_s"),
                    ReceiveMaximum=command.get("receive_maximum"),
                    TopicAliasMaximum=command.get("topic_alias_maximum"),
                    AuthenticationMethod=command.get("authentication_method"),
                ),
            }
        else:
            more = {}
        self.client.connect_async(LOOPBACK, command["port"], command["keep_alive_s"], **more)
        self.client.loop_start()

    def on_connect(self, client, userdata, flags, code, props):
        if code.is_failure:
            tell(self.name, "closed", why=str(code))
        else:
            tell(self.name, "connected", session_present=flags.session_present)

    def on_message(self, client, userdata, message):
        tell(
            self.name,
            "message",
            topic=message.topic,
            qos=message.qos,
            retain=bool(message.retain),
            payload=told_payload(message.payload),
        )

    def on_publish(self, client, userdata, mid, code, props):
        with self.lock:
            tag = self.tags.pop(mid, None)
            if tag is None:
                self.early[mid] = code.value
                return
        tell(self.name, "published", tag=tag, reason_code=code.value)

    def subscribe(self, command):
        filters = command["filters"]
        if self.v5:
            topics = [
                (
                    filter["topic_filter"],
                    SubscribeOptions(
                        qos=filter["qos"],
                        retainAsPublished=filter["retain_as_published"],
                        retainHandling=filter["retain_handling"],
                    ),
                )
                for filter in filters
            ]
            identifier = properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=command.get("identifier"))
            code, _ = self.client.subscribe(topics, properties=identifier)
        else:
            code, _ = self.client.subscribe([(filter["topic_filter"], filter["qos"]) for filter in filters])
        if code != paho.MQTT_ERR_SUCCESS:
            raise RuntimeError(paho.error_string(code))

    def unsubscribe(self, command):
        self.client.unsubscribe(command["topic_filters"])

    def publish(self, command):
        topic = command["topic"]
        alias = command.get("topic_alias")
        if alias is not None:
            if alias in self.defined_aliases:
                topic = ""
            self.defined_aliases.add(alias)
        more = None
        if self.v5:
            more = properties(
                PacketTypes.PUBLISH,
                MessageExpiryInterval=command.get("message_expiry_interval_s"),
                TopicAlias=alias,
                UserProperty=list(command.get("user_properties", {}).items()) or None,
            )
        info = self.client.publish(topic, command["payload"].encode(), command["qos"], command["retain"], more)
        # Without a connection it is queued in the client, which is no failure.
        if info.rc not in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_NO_CONN):
            raise RuntimeError(paho.error_string(info.rc))
        with self.lock:
            code = self.early.pop(info.mid, None)
            if code is None:
                self.tags[info.mid] = command["tag"]
                return
        tell(self.name, "published", tag=command["tag"], reason_code=code)

    def disconnect(self, command):
        self.client.disconnect()

    def forget(self, command):
        # The library's thread ends with the connection, and with it what holds its sockets.
        self.client.disconnect()


def main():
    peers = {}
    for line in sys.stdin:
        command = json.loads(line)
        name = command["peer"]
        forget = command["do"] == "forget"
        peer = peers.pop(name, None) if forget else peers.setdefault(name, Peer(name))
        if forget and (peer is None or peer.client is None):
            continue
        try:
            getattr(peer, command["do"])(command)
        except Exception as error:  # What a library refuses is an answer, and the other clients go on.
            tell(name, "failed", why=f"{type(error).__name__}: {error}")


main()
