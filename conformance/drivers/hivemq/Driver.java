// Runs HiveMQ clients as told: a command a line on standard input, an event a line on standard output.
//
// One process hosts all clients of a run; `peer` says which is meant. The words are those of `src/message.rs`.

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;

/** The process. */
public final class Driver {
    private static final int PLAIN_PAYLOAD_BYTES = 256;
    private static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.UTF_8);

    private Driver() {}

    /** A client, of either version. */
    interface Peer {
        void connect(JsonObject command);

        void subscribe(JsonObject command);

        void unsubscribe(JsonObject command);

        void publish(JsonObject command);

        void disconnect();
    }

    static void tell(String peer, String event, JsonObject fields) {
        fields.addProperty("peer", peer);
        fields.addProperty("event", event);
        synchronized (OUT) {
            OUT.println(fields);
            OUT.flush();
        }
    }

    static void tell(String peer, String event) {
        tell(peer, event, new JsonObject());
    }

    static void tellConnected(String peer, boolean sessionPresent) {
        JsonObject fields = new JsonObject();
        fields.addProperty("session_present", sessionPresent);
        tell(peer, "connected", fields);
    }

    static void tellWhy(String peer, String event, Throwable why) {
        JsonObject fields = new JsonObject();
        fields.addProperty("why", String.valueOf(why));
        tell(peer, event, fields);
    }

    static void tellPublished(String peer, long tag) {
        JsonObject fields = new JsonObject();
        fields.addProperty("tag", tag);
        tell(peer, "published", fields);
    }

    static void tellMessage(String peer, String topic, int qos, boolean retain, byte[] payload) {
        JsonObject fields = new JsonObject();
        fields.addProperty("topic", topic);
        fields.addProperty("qos", qos);
        fields.addProperty("retain", retain);
        fields.addProperty("payload", toldPayload(payload));
        tell(peer, "message", fields);
    }

    private static String toldPayload(byte[] payload) {
        if (payload.length <= PLAIN_PAYLOAD_BYTES) {
            return new String(payload, StandardCharsets.UTF_8);
        }
        try {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(payload);
            return payload.length + ":" + HexFormat.of().formatHex(digest);
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }

    static byte[] payload(JsonObject message) {
        return message.get("payload").getAsString().getBytes(StandardCharsets.UTF_8);
    }

    public static void main(String[] arguments) throws IOException {
        Map<String, Peer> peers = new HashMap<>();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonObject command = JsonParser.parseString(line).getAsJsonObject();
            String name = command.get("peer").getAsString();
            try {
                obey(peers, name, command);
            } catch (RuntimeException error) {
                // What a library refuses is an answer, and the other clients go on.
                tellWhy(name, "failed", error);
            }
        }
        System.exit(0);
    }

    private static void obey(Map<String, Peer> peers, String name, JsonObject command) {
        String what = command.get("do").getAsString();
        if (what.equals("connect")) {
            JsonElement version = command.get("version");
            peers.put(name, version.getAsInt() == 5 ? new Peer5(name) : new Peer3(name));
        }
        if (what.equals("forget")) {
            Peer forgotten = peers.remove(name);
            if (forgotten != null) {
                forgotten.disconnect();
            }
            return;
        }
        Peer peer = peers.get(name);
        switch (what) {
            case "connect" -> peer.connect(command);
            case "subscribe" -> peer.subscribe(command);
            case "unsubscribe" -> peer.unsubscribe(command);
            case "publish" -> peer.publish(command);
            case "disconnect" -> peer.disconnect();
            default -> throw new IllegalArgumentException(what);
        }
    }
}
