//! TLS 1.3 for a connection without buffers of its own: rustls's unbuffered interface over the worker's read buffer.
//!
//! Called by the worker's connections. Bytes are kept per connection only while a record is incomplete or the socket is
//! full. The certificate is made at start-up and trusted by nobody: what is measured is the server's memory.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

/// The TLS session cannot go on.
#[derive(Debug)]
pub(crate) struct Broken;

impl From<rustls::Error> for Broken {
    fn from(_: rustls::Error) -> Self {
        Self
    }
}

/// One connection's TLS state.
pub(crate) struct TlsSession {
    connection: UnbufferedServerConnection,
    /// The beginning of a record, to stand before the next read.
    pub(crate) undecrypted: Vec<u8>,
    /// Records that the socket has yet to take.
    pub(crate) unsent: Vec<u8>,
}

/// A configuration with a fresh certificate, without tickets and without a session cache.
///
/// # Errors
/// When the certificate cannot be made.
pub(crate) fn server_config() -> anyhow::Result<Arc<ServerConfig>> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
    let chain = vec![CertificateDer::from(cert.der().to_vec())];
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

impl TlsSession {
    pub(crate) fn new(config: &Arc<ServerConfig>) -> Result<Self, Broken> {
        let connection = UnbufferedServerConnection::new(Arc::clone(config))?;
        Ok(Self {
            connection,
            undecrypted: Vec::new(),
            unsent: Vec::new(),
        })
    }

    /// Goes on with the handshake and appends what clients said to `plaintext`. `incoming` starts with what
    /// `undecrypted` held; what remains of it is kept there again.
    pub(crate) fn decrypt(&mut self, incoming: &mut [u8], plaintext: &mut Vec<u8>) -> Result<(), Broken> {
        let mut consumed = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(&mut incoming[consumed..]);
            let mut waits = false;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plaintext.extend_from_slice(record.payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    append_sized(&mut self.unsent, |room| match data.encode(room) {
                        Ok(length) => Ok(length),
                        Err(EncodeError::InsufficientSize(size)) => Err(Some(size.required_size)),
                        Err(EncodeError::AlreadyEncoded) => Err(None),
                    })?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => waits = true,
                _ => return Err(Broken),
            }
            consumed += discard;
            if waits {
                self.undecrypted = incoming[consumed..].to_vec();
                return Ok(());
            }
        }
    }

    /// Appends `plaintext`, as records, to what is unsent.
    pub(crate) fn encrypt(&mut self, plaintext: &[u8]) -> Result<(), Broken> {
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut self.undecrypted);
        let ConnectionState::WriteTraffic(mut traffic) = state? else {
            return Err(Broken);
        };
        append_sized(&mut self.unsent, |room| match traffic.encrypt(plaintext, room) {
            Ok(length) => Ok(length),
            Err(EncryptError::InsufficientSize(size)) => Err(Some(size.required_size)),
            Err(EncryptError::EncryptExhausted) => Err(None),
        })
    }
}

/// Appends what `write` produces, which says by `Err(Some(size))` how much room it needs.
fn append_sized(
    out: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Result<(), Broken> {
    let start = out.len();
    let mut written = write(&mut []);
    if let Err(Some(size)) = written {
        out.resize(start + size, 0);
        written = write(&mut out[start..]);
    }
    out.truncate(start + written.map_err(|_| Broken)?);
    Ok(())
}
