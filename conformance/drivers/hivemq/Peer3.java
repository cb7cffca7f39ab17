// A HiveMQ client of MQTT 3.1.1.

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.hivemq.client.mqtt.MqttGlobalPublishFilter;
import com.hivemq.client.mqtt.datatypes.MqttQos;
import com.hivemq.client.mqtt.mqtt3.Mqtt3AsyncClient;
import com.hivemq.client.mqtt.mqtt3.Mqtt3Client;
import com.hivemq.client.mqtt.mqtt3.message.connect.Mqtt3ConnectBuilder;
import com.hivemq.client.mqtt.mqtt3.message.connect.Mqtt3Connect;
import com.hivemq.client.mqtt.mqtt3.message.publish.Mqtt3Publish;
import com.hivemq.client.mqtt.mqtt3.message.subscribe.Mqtt3Subscription;
import com.hivemq.client.mqtt.mqtt3.message.unsubscribe.Mqtt3Unsubscribe;
import com.hivemq.client.mqtt.datatypes.MqttTopicFilter;
import com.hivemq.client.mqtt.mqtt3.message.subscribe.Mqtt3Subscribe;
import java.util.ArrayList;
import java.util.List;

/** One client. */
final class Peer3 implements Driver.Peer {
    private final String name;
    private Mqtt3AsyncClient client;

    Peer3(String name) {
        this.name = name;
    }

    @Override
    public void connect(JsonObject command) {
        client = Mqtt3Client.builder()
                .identifier(command.get("client_id").getAsString())
                .serverHost("127.0.0.1")
                .serverPort(command.get("port").getAsInt())
                .addDisconnectedListener(context -> Driver.tellWhy(name, "closed", context.getCause()))
                .buildAsync();
        client.publishes(MqttGlobalPublishFilter.ALL, message -> Driver.tellMessage(
                name,
                message.getTopic().toString(),
                message.getQos().getCode(),
                message.isRetain(),
                message.getPayloadAsBytes()));
        Mqtt3ConnectBuilder connect = Mqtt3Connect.builder()
                .cleanSession(command.get("clean").getAsBoolean())
                .keepAlive(command.get("keep_alive_s").getAsInt());
        if (command.has("will")) {
            JsonObject will = command.getAsJsonObject("will");
            connect = connect.willPublish(message(will));
        }
        client.connect(connect.build()).thenAccept(ack -> Driver.tellConnected(name, ack.isSessionPresent()));
    }

    @Override
    public void subscribe(JsonObject command) {
        List<Mqtt3Subscription> subscriptions = new ArrayList<>();
        for (JsonElement element : command.getAsJsonArray("filters")) {
            JsonObject filter = element.getAsJsonObject();
            subscriptions.add(Mqtt3Subscription.builder()
                    .topicFilter(filter.get("topic_filter").getAsString())
                    .qos(MqttQos.fromCode(filter.get("qos").getAsInt()))
                    .build());
        }
        Mqtt3Subscribe subscribe = Mqtt3Subscribe.builder().addSubscriptions(subscriptions).build();
        client.subscribe(subscribe).whenComplete((ack, error) -> {
            if (error != null) {
                Driver.tellWhy(name, "failed", error);
            } else {
                Driver.tell(name, "subscribed");
            }
        });
    }

    @Override
    public void unsubscribe(JsonObject command) {
        List<MqttTopicFilter> filters = new ArrayList<>();
        command.getAsJsonArray("topic_filters").forEach(filter -> filters.add(MqttTopicFilter.of(filter.getAsString())));
        Mqtt3Unsubscribe unsubscribe = Mqtt3Unsubscribe.builder().addTopicFilters(filters).build();
        client.unsubscribe(unsubscribe).thenRun(() -> Driver.tell(name, "unsubscribed"));
    }

    @Override
    public void publish(JsonObject command) {
        long tag = command.get("tag").getAsLong();
        client.publish(message(command)).whenComplete((published, error) -> {
            if (error != null) {
                Driver.tellWhy(name, "failed", error);
            } else {
                Driver.tellPublished(name, tag);
            }
        });
    }

    @Override
    public void disconnect() {
        client.disconnect();
    }

    private static Mqtt3Publish message(JsonObject message) {
        return Mqtt3Publish.builder()
                .topic(message.get("topic").getAsString())
                .payload(Driver.payload(message))
                .qos(MqttQos.fromCode(message.get("qos").getAsInt()))
                .retain(message.get("retain").getAsBoolean())
                .build();
    }
}
