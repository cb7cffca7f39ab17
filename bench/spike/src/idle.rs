//! What a connection that does nothing costs the proxy: anonymous resident memory per client that has its CONNACK, plain
//! and with TLS 1.3. The kernel's socket buffers are not in it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use freshet_bench_load::{Broker as _, wire};

use crate::processes::Broker;

/// Connections before the first reading, so that code and buffers of the process itself are not counted.
const WARM_UP: usize = 50;
const LIMIT: Duration = Duration::from_secs(30);

/// Bytes of the proxy per idle connection, over `connections` of them.
///
/// # Errors
/// When a connection is refused.
pub(crate) fn idle_bytes(broker: &Broker, connections: u32, tls: bool) -> anyhow::Result<f64> {
    let config = client_config()?;
    let mut sockets = Vec::new();
    let mut connect = |count: usize| -> anyhow::Result<()> {
        for _ in 0..count {
            sockets.push(if tls {
                connect_tls(broker.addresses()[0], &config)?
            } else {
                connect_plain(broker.addresses()[0])?
            });
        }
        Ok(())
    };
    connect(WARM_UP)?;
    let before = broker.memory()?.proxy_bytes;
    connect(usize::try_from(connections)?)?;
    let after = broker.memory()?.proxy_bytes;
    let kib = u32::try_from(after.saturating_sub(before) / 1024)?;
    Ok(f64::from(kib) * 1024.0 / f64::from(connections))
}

fn connect_plain(broker: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut socket = open(broker)?;
    greet(&mut socket)?;
    Ok(socket)
}

/// The client's TLS state is dropped after CONNACK: the server cannot tell, and only the server is measured.
fn connect_tls(broker: SocketAddr, config: &Arc<ClientConfig>) -> anyhow::Result<TcpStream> {
    let mut socket = open(broker)?;
    let mut session = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost")?)?;
    greet(&mut rustls::Stream::new(&mut session, &mut socket))?;
    Ok(socket)
}

fn open(broker: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&broker, LIMIT)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(LIMIT))?;
    Ok(socket)
}

fn greet(stream: &mut (impl Read + Write)) -> anyhow::Result<()> {
    let mut hello = Vec::new();
    wire::encode_connect(&mut hello, "idle");
    stream.write_all(&hello)?;
    stream.flush()?;
    let mut answer = [0; wire::CONNACK.len()];
    stream.read_exact(&mut answer)?;
    anyhow::ensure!(answer == wire::CONNACK, "refused: {answer:?}");
    Ok(())
}

fn client_config() -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAnyone { schemes }))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The proxy under test makes its certificate itself; who it is does not matter to its memory.
#[derive(Debug)]
struct TrustAnyone {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
