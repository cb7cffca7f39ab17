// HiveMQ CE as a broker of its own: says where it listens, and ends with its standard input.

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import com.hivemq.embedded.EmbeddedExtension;
import com.hivemq.embedded.EmbeddedHiveMQ;
import com.hivemq.extension.sdk.api.ExtensionMain;
import com.hivemq.extension.sdk.api.auth.SimpleAuthenticator;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartOutput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopOutput;
import com.hivemq.extension.sdk.api.services.Services;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import org.slf4j.LoggerFactory;

public final class Broker {
    public static void main(String[] arguments) throws Exception {
        ((Logger) LoggerFactory.getLogger(Logger.ROOT_LOGGER_NAME)).setLevel(Level.OFF);
        try (EmbeddedHiveMQ broker = build(Path.of(arguments[1]), Path.of(arguments[0]))) {
            System.in.transferTo(java.io.OutputStream.nullOutputStream());
        }
        System.exit(0);
    }

    private static EmbeddedHiveMQ build(Path folder, Path template) throws Exception {
        int port;
        try (ServerSocket free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            port = free.getLocalPort();
        }
        Path configuration = Files.createDirectory(folder.resolve("conf"));
        String text = Files.readString(template).replace("@PORT@", Integer.toString(port));
        Files.writeString(configuration.resolve("config.xml"), text);
        EmbeddedExtension everybody = EmbeddedExtension.builder()
                .withId("everybody")
                .withName("Everybody")
                .withVersion("1")
                .withExtensionMain(new Everybody())
                .build();
        EmbeddedHiveMQ broker = EmbeddedHiveMQ.builder()
                .withConfigurationFolder(configuration)
                .withDataFolder(Files.createDirectory(folder.resolve("data")))
                .withExtensionsFolder(Files.createDirectory(folder.resolve("extensions")))
                .withEmbeddedExtension(everybody)
                .withoutLoggingBootstrap()
                .build();
        broker.start().join();
        System.out.println("listens on mqtt://127.0.0.1:" + port);
        return broker;
    }

    /** Without an extension that says so, nobody may connect. */
    private static final class Everybody implements ExtensionMain {
        @Override
        public void extensionStart(ExtensionStartInput input, ExtensionStartOutput output) {
            SimpleAuthenticator accepts = (request, answer) -> answer.authenticateSuccessfully();
            Services.securityRegistry().setAuthenticatorProvider(who -> accepts);
        }

        @Override
        public void extensionStop(ExtensionStopInput input, ExtensionStopOutput output) {}
    }
}
