//! What a proxy says of its load: the answer of [`PATH`], as protobuf of at most [`MAX_BYTES`]. And what storage says of the
//! leases of proxies ([`leases`]).
//!
//! Written by the proxy, read by the operator once a second. What each member means stands in
//! `proto/freshet/load/v1/load.proto`. Leaves out HTTP, and what the numbers lead to (`freshet_scaling`).

pub mod leases;
mod proto;

use prost::Message as _;
use thiserror::Error;

pub use proto::{Cpu, Latency, Leases, Load, Memory, Moves, Phase, RoundTrip};

/// Path of the answer at a proxy's metrics port.
pub const PATH: &str = "/loadz";

/// Media type of the answer.
pub const CONTENT_TYPE: &str = "application/x-protobuf";

/// Version of the contract.
pub const VERSION: u32 = 1;

/// No answer is longer, whatever the numbers are.
pub const MAX_BYTES: usize = 512;

/// Why an answer cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LoadError {
    /// Longer than any answer is.
    #[error("the answer is longer than any is")]
    TooLong,
    /// Not protobuf, or of other members.
    #[error("the answer cannot be read")]
    Unreadable,
    /// Its numbers may mean something else.
    #[error("the answer has version {0}, and this reader knows {VERSION}")]
    Version(u32),
}

/// Encodes an answer.
#[must_use]
pub fn encode(load: &Load) -> Vec<u8> {
    load.encode_to_vec()
}

/// Decodes an answer.
///
/// # Errors
/// [`LoadError`]: the proxy's load is not known.
pub fn decode(bytes: &[u8]) -> Result<Load, LoadError> {
    if bytes.len() > MAX_BYTES {
        return Err(LoadError::TooLong);
    }
    let load = Load::decode(bytes).map_err(|_| LoadError::Unreadable)?;
    if load.version != VERSION {
        return Err(LoadError::Version(load.version));
    }
    Ok(load)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn greatest() -> Load {
        let most = Some(u64::MAX);
        let round_trip = RoundTrip {
            qos: 2,
            count: u32::MAX,
            p50_ms: u32::MAX,
            p99_ms: u32::MAX,
            newest_p99_ms: Some(u32::MAX),
        };
        Load {
            version: VERSION,
            incarnation: u64::MAX,
            uptime_ms: u64::MAX,
            phase: Phase::Ended.into(),
            storage_attached: true,
            unanswered_workers: u32::MAX,
            clients: most,
            connections: most,
            attaching_clients: most,
            connects_total: most,
            accepts_total: most,
            publishes_in_total: most,
            deliveries_out_total: most,
            bytes_in_total: most,
            bytes_out_total: most,
            publishes_outstanding: most,
            publish_bytes_outstanding: most,
            outbound_bytes: most,
            storage_backlog_bytes: most,
            cpu: Some(Cpu {
                usage_us_total: most,
                periods_total: most,
                throttled_periods_total: most,
                throttled_us_total: most,
                limit_millicores: most,
            }),
            memory: Some(Memory {
                used_bytes: most,
                limit_bytes: most,
            }),
            publish_round_trips: vec![round_trip; 3],
            moves: Some(Moves {
                moved_total: u64::MAX,
                finishing: u64::MAX,
                at_risk: u64::MAX,
            }),
            connacks: Some(Latency {
                count: u32::MAX,
                p50_ms: u32::MAX,
                p99_ms: u32::MAX,
            }),
        }
    }

    #[test]
    fn the_greatest_numbers_fit() {
        let bytes = encode(&greatest());
        assert!(bytes.len() <= MAX_BYTES, "{}", bytes.len());
        assert_eq!(decode(&bytes), Ok(greatest()));
    }

    #[test]
    fn what_is_not_known_is_not_zero() {
        let load = Load {
            version: VERSION,
            clients: Some(0),
            ..Load::default()
        };
        let load = decode(&encode(&load)).expect("an answer");
        assert_eq!((load.clients, load.connections, load.cpu), (Some(0), None, None));
    }

    #[test]
    fn a_member_of_a_later_release_is_passed_over_and_another_version_is_not() {
        let mut bytes = encode(&greatest());
        // Member 1000, a varint.
        bytes.extend_from_slice(&[0xc0, 0x3e, 0x01]);
        assert_eq!(decode(&bytes), Ok(greatest()));
        let later = Load {
            version: 2,
            ..greatest()
        };
        assert_eq!(decode(&encode(&later)), Err(LoadError::Version(2)));
        assert_eq!(decode(&[]), Err(LoadError::Version(0)));
        assert_eq!(decode(&[0; MAX_BYTES + 1]), Err(LoadError::TooLong));
    }

    proptest! {
        #[test]
        fn whatever_is_answered_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(load) = decode(&bytes) {
                prop_assert_eq!(load.version, VERSION);
            }
        }
    }
}
