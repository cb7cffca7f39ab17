//! What a storage node says of the leases of proxies: the answer of [`PATH`], as protobuf of at most [`MAX_BYTES`].
//!
//! The second witness of a proxy's death, beside its silence at `/loadz`. Written by storage; read by the operator only while
//! it doubts that some proxy is alive. What each member means stands in `proto/freshet/load/v1/load.proto`.

use prost::Message as _;

use crate::LoadError;
use crate::proto::Leases;

/// Path of the answer at a storage node's metrics port.
pub const PATH: &str = "/leases";

/// Version of the contract.
pub const VERSION: u32 = 1;

/// Answers that are longer are not read: names of ten thousand pods fit.
pub const MAX_BYTES: usize = 1 << 20;

/// Encodes an answer.
#[must_use]
pub fn encode(leases: &Leases) -> Vec<u8> {
    leases.encode_to_vec()
}

/// Decodes an answer.
///
/// # Errors
/// [`LoadError`]: nothing is known of the leases.
pub fn decode(bytes: &[u8]) -> Result<Leases, LoadError> {
    if bytes.len() > MAX_BYTES {
        return Err(LoadError::TooLong);
    }
    let leases = Leases::decode(bytes).map_err(|_| LoadError::Unreadable)?;
    if leases.version != VERSION {
        return Err(LoadError::Version(leases.version));
    }
    Ok(leases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_read_as_they_were_written() {
        let leases = Leases {
            version: VERSION,
            held: vec!["mqtt-proxy-1".to_owned(), "mqtt-proxy-2".to_owned()],
            lost: vec!["mqtt-proxy-3".to_owned()],
        };
        assert_eq!(decode(&encode(&leases)), Ok(leases));
    }

    #[test]
    fn an_answer_that_is_something_else_says_nothing() {
        assert_eq!(decode(&[]), Err(LoadError::Version(0)));
        assert_eq!(decode(b"held mqtt-proxy-1"), Err(LoadError::Unreadable));
        assert_eq!(decode(&vec![0; MAX_BYTES + 1]), Err(LoadError::TooLong));
    }
}
