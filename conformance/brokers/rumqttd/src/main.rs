//! rumqttd as a broker of its own: says where it listens, and ends with its standard input.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

// What the scripts expect of a broker's limits; the rest is as in rumqttd's own example.
const MAX_PACKET_BYTES: usize = 1 << 20;
const RECEIVE_MAXIMUM: usize = 32;
/// Between two looks whether a port is open.
const LOOK: Duration = Duration::from_millis(2);

fn main() -> Result<(), Box<dyn Error>> {
    // It speaks each version at a port of its own, and does not choose one by itself.
    let (old, new) = (free_port()?, free_port()?);
    let router = RouterConfig {
        max_connections: 1_000,
        max_outgoing_packet_count: 200,
        max_segment_size: 100 << 20,
        max_segment_count: 10,
        ..RouterConfig::default()
    };
    let mut broker = Broker::new(Config {
        router,
        v4: Some(server("3.1.1", old)),
        v5: Some(server("5.0", new)),
        ..Config::default()
    });
    thread::spawn(move || {
        // Returns when nothing listens any more.
        if let Err(error) = broker.start() {
            eprintln!("{error}");
        }
        std::process::exit(1);
    });
    for address in [old, new] {
        // It does not say when it listens.
        while TcpStream::connect(address).is_err() {
            thread::sleep(LOOK);
        }
    }
    println!("listens on mqtt://{old} mqtt://{new}");
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn server(name: &str, listen: SocketAddr) -> HashMap<String, ServerSettings> {
    let settings = ServerSettings {
        name: name.to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections: ConnectionSettings {
            connection_timeout_ms: 60_000,
            max_payload_size: MAX_PACKET_BYTES,
            max_inflight_count: RECEIVE_MAXIMUM,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    HashMap::from([(name.to_owned(), settings)])
}
