// A HiveMQ client of MQTT 5.0.

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.hivemq.client.mqtt.MqttGlobalPublishFilter;
import com.hivemq.client.mqtt.datatypes.MqttQos;
import com.hivemq.client.mqtt.datatypes.MqttTopicFilter;
import com.hivemq.client.mqtt.mqtt5.Mqtt5AsyncClient;
import com.hivemq.client.mqtt.mqtt5.Mqtt5Client;
import com.hivemq.client.mqtt.mqtt5.message.connect.Mqtt5Connect;
import com.hivemq.client.mqtt.mqtt5.message.connect.Mqtt5ConnectBuilder;
import com.hivemq.client.mqtt.mqtt5.message.connect.Mqtt5ConnectRestrictions;
import com.hivemq.client.mqtt.mqtt5.message.connect.Mqtt5ConnectRestrictionsBuilder;
import com.hivemq.client.mqtt.mqtt5.message.publish.Mqtt5Publish;
import com.hivemq.client.mqtt.mqtt5.message.publish.Mqtt5PublishBuilder;
import com.hivemq.client.mqtt.mqtt5.message.publish.Mqtt5WillPublish;
import com.hivemq.client.mqtt.mqtt5.message.publish.Mqtt5WillPublishBuilder;
import com.hivemq.client.mqtt.mqtt5.message.subscribe.Mqtt5RetainHandling;
import com.hivemq.client.mqtt.mqtt5.message.subscribe.Mqtt5Subscribe;
import com.hivemq.client.mqtt.mqtt5.message.subscribe.Mqtt5Subscription;
import com.hivemq.client.mqtt.mqtt5.message.unsubscribe.Mqtt5Unsubscribe;
import java.util.ArrayList;
import java.util.List;

/** One client. */
final class Peer5 implements Driver.Peer {
    private final String name;
    private Mqtt5AsyncClient client;

    Peer5(String name) {
        this.name = name;
    }

    @Override
    public void connect(JsonObject command) {
        client = Mqtt5Client.builder()
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
        Mqtt5ConnectBuilder connect = Mqtt5Connect.builder()
                .cleanStart(command.get("clean").getAsBoolean())
                .keepAlive(command.get("keep_alive_s").getAsInt());
        if (command.has("session_expiry_interval_s")) {
            connect = connect.sessionExpiryInterval(command.get("session_expiry_interval_s").getAsLong());
        }
        if (command.has("authentication_method")) {
            connect = connect.enhancedAuth(new Riddle(command.get("authentication_method").getAsString()));
        }
        if (command.has("will")) {
            connect = connect.willPublish(will(command.getAsJsonObject("will")));
        }
        connect = connect.restrictions(restrictions(command));
        client.connect(connect.build()).thenAccept(ack -> Driver.tellConnected(name, ack.isSessionPresent()));
    }

    private static Mqtt5ConnectRestrictions restrictions(JsonObject command) {
        Mqtt5ConnectRestrictionsBuilder restrictions = Mqtt5ConnectRestrictions.builder();
        if (command.has("receive_maximum")) {
            restrictions = restrictions.receiveMaximum(command.get("receive_maximum").getAsInt());
        }
        if (command.has("topic_alias_maximum")) {
            restrictions = restrictions.topicAliasMaximum(command.get("topic_alias_maximum").getAsInt());
        }
        if (!command.get("assign_topic_aliases").getAsBoolean()) {
            restrictions = restrictions.sendTopicAliasMaximum(0);
        }
        return restrictions.build();
    }

    private static Mqtt5WillPublish will(JsonObject will) {
        Mqtt5WillPublishBuilder.Complete builder = Mqtt5WillPublish.builder()
                .topic(will.get("topic").getAsString())
                .payload(Driver.payload(will))
                .qos(MqttQos.fromCode(will.get("qos").getAsInt()))
                .retain(will.get("retain").getAsBoolean());
        if (will.has("delay_s")) {
            builder = builder.delayInterval(will.get("delay_s").getAsLong());
        }
        return builder.build();
    }

    @Override
    public void subscribe(JsonObject command) {
        List<Mqtt5Subscription> subscriptions = new ArrayList<>();
        for (JsonElement element : command.getAsJsonArray("filters")) {
            JsonObject filter = element.getAsJsonObject();
            subscriptions.add(Mqtt5Subscription.builder()
                    .topicFilter(filter.get("topic_filter").getAsString())
                    .qos(MqttQos.fromCode(filter.get("qos").getAsInt()))
                    .retainAsPublished(filter.get("retain_as_published").getAsBoolean())
                    .retainHandling(Mqtt5RetainHandling.fromCode(filter.get("retain_handling").getAsInt()))
                    .build());
        }
        Mqtt5Subscribe subscribe = Mqtt5Subscribe.builder().addSubscriptions(subscriptions).build();
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
        Mqtt5Unsubscribe unsubscribe = Mqtt5Unsubscribe.builder().addTopicFilters(filters).build();
        client.unsubscribe(unsubscribe).thenRun(() -> Driver.tell(name, "unsubscribed"));
    }

    /** Topic aliases are the library's own business: it uses them as far as the broker allows. */
    @Override
    public void publish(JsonObject command) {
        long tag = command.get("tag").getAsLong();
        Mqtt5PublishBuilder.Complete builder = Mqtt5Publish.builder()
                .topic(command.get("topic").getAsString())
                .payload(Driver.payload(command))
                .qos(MqttQos.fromCode(command.get("qos").getAsInt()))
                .retain(command.get("retain").getAsBoolean());
        if (command.has("message_expiry_interval_s")) {
            builder = builder.messageExpiryInterval(command.get("message_expiry_interval_s").getAsLong());
        }
        client.publish(builder.build()).whenComplete((result, error) -> {
            Throwable failure = error != null ? error : result.getError().orElse(null);
            if (failure != null) {
                Driver.tellWhy(name, "failed", failure);
            } else {
                Driver.tellPublished(name, tag);
            }
        });
    }

    @Override
    public void disconnect() {
        client.disconnect();
    }
}
