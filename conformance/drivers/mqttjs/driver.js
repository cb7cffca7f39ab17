// Runs mqtt.js clients as told: a command a line on standard input, an event a line on standard output.
//
// One process hosts all clients of a run; `peer` says which is meant. The words are those of `src/message.rs`.

"use strict";

const { createHash } = require("node:crypto");
const { createInterface } = require("node:readline");
const mqtt = require("mqtt");

const PLAIN_PAYLOAD_BYTES = 256;
const V5 = 5;

function tell(peer, event, fields) {
  process.stdout.write(JSON.stringify({ peer, event, ...fields }) + "\n");
}

function toldPayload(payload) {
  if (payload.length <= PLAIN_PAYLOAD_BYTES) {
    return payload.toString("utf8");
  }
  return `${payload.length}:${createHash("sha256").update(payload).digest("hex")}`;
}

// Leaves out what the command does not say: the library then leaves it out, too.
function chosen(values) {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

class Peer {
  constructor(name) {
    this.name = name;
    this.definedAliases = new Set();
  }

  connect(command) {
    this.v5 = command.version === V5;
    const options = {
      host: "127.0.0.1",
      port: command.port,
      protocol: "mqtt",
      protocolVersion: command.version,
      clientId: command.client_id,
      clean: command.clean,
      keepalive: command.keep_alive_s,
      reconnectPeriod: 0,
      resubscribe: false,
    };
    if (this.v5) {
      options.properties = chosen({
        sessionExpiryInterval: command.session_expiry_interval_s,
        receiveMaximum: command.receive_maximum,
        topicAliasMaximum: command.topic_alias_maximum,
        authenticationMethod: command.authentication_method,
      });
    }
    if (command.will) {
      const { topic, payload, qos, retain, delay_s: delay } = command.will;
      options.will = { topic, payload: Buffer.from(payload), qos, retain };
      if (this.v5) {
        options.will.properties = chosen({ willDelayInterval: delay });
      }
    }
    this.client = mqtt.connect(options);
    this.client.on("connect", (packet) => tell(this.name, "connected", { session_present: packet.sessionPresent }));
    this.client.on("message", (topic, payload, packet) =>
      tell(this.name, "message", { topic, qos: packet.qos, retain: packet.retain, payload: toldPayload(payload) }),
    );
    this.client.on("error", (error) => {
      this.why = error.message;
    });
    this.client.on("disconnect", (packet) => {
      this.why = `reason code ${packet.reasonCode}`;
    });
    this.client.on("close", () => tell(this.name, "closed", { why: this.why ?? "" }));
  }

  subscribe(command) {
    const filters = {};
    for (const filter of command.filters) {
      const options = { qos: filter.qos };
      if (this.v5) {
        options.rap = filter.retain_as_published;
        options.rh = filter.retain_handling;
      }
      filters[filter.topic_filter] = options;
    }
    const properties = chosen({ subscriptionIdentifier: command.identifier });
    const options = properties === undefined ? {} : { properties };
    this.client.subscribe(filters, options, (error) => {
      this.answer(error, "subscribed", {});
    });
  }

  unsubscribe(command) {
    this.client.unsubscribe(command.topic_filters, (error) => this.answer(error, "unsubscribed", {}));
  }

  publish(command) {
    const options = { qos: command.qos, retain: command.retain };
    let { topic } = command;
    if (this.v5) {
      const alias = command.topic_alias;
      if (alias !== undefined) {
        if (this.definedAliases.has(alias)) {
          topic = "";
        }
        this.definedAliases.add(alias);
      }
      options.properties = chosen({
        messageExpiryInterval: command.message_expiry_interval_s,
        topicAlias: alias,
        userProperties: command.user_properties,
      });
    }
    this.client.publish(topic, Buffer.from(command.payload), options, (error, packet) =>
      this.answer(error, "published", { tag: command.tag, reason_code: error?.code ?? packet?.reasonCode ?? 0 }),
    );
  }

  disconnect() {
    this.client.end();
  }

  forget() {
    peers.delete(this.name);
    this.client?.end(true);
  }

  answer(error, event, fields) {
    if (error) {
      tell(this.name, "failed", { why: error.message });
    } else {
      tell(this.name, event, fields);
    }
  }
}

const peers = new Map();
createInterface({ input: process.stdin }).on("line", (line) => {
  const command = JSON.parse(line);
  if (!peers.has(command.peer)) {
    peers.set(command.peer, new Peer(command.peer));
  }
  try {
    peers.get(command.peer)[command.do](command);
  } catch (error) {
    // What a library refuses is an answer, and the other clients go on.
    tell(command.peer, "failed", { why: String(error) });
  }
}).on("close", () => process.exit(0));
