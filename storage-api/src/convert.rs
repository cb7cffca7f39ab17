//! Contract types to protobuf and back.
//!
//! Towards protobuf nothing can fail. From protobuf everything is checked: a missing field, a value out of range or
//! an unknown member of a choice is an error that names the field, never a default. Bytes that will be kept are copied
//! out of the frame they arrived in: a retained message must not hold on to a received frame.

mod answer;
mod attach;
mod delivery;
mod operation;
mod parts;
mod report;
mod session;
mod shared;

#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod round_trip;

pub(crate) use delivery::{deliveries_of, runs_of};

use bytes::Bytes;
use freshet_storage_contract::{IncarnationId, ShardId};

use crate::{WireError, limits::MAX_LIST_ITEMS};

/// A field that must be there.
fn required<T>(value: Option<T>, field: &'static str) -> Result<T, WireError> {
    value.ok_or(WireError::Missing { field })
}

/// A number that counts from 1, so that zero means that it was not set.
fn counted(value: u64, field: &'static str) -> Result<u64, WireError> {
    if value == 0 {
        Err(WireError::Missing { field })
    } else {
        Ok(value)
    }
}

fn shard(value: Option<u32>, field: &'static str) -> Result<ShardId, WireError> {
    let number = required(value, field)?;
    u16::try_from(number).map(ShardId).map_err(|_| WireError::Invalid {
        field,
        why: "not a shard number",
    })
}

fn incarnation(value: &[u8], field: &'static str) -> Result<IncarnationId, WireError> {
    match <[u8; 16]>::try_from(value) {
        Ok(bytes) => Ok(IncarnationId(u128::from_be_bytes(bytes))),
        Err(_) if value.is_empty() => Err(WireError::Missing { field }),
        Err(_) => Err(WireError::Invalid {
            field,
            why: "not 16 bytes",
        }),
    }
}

fn incarnation_bytes(incarnation: IncarnationId) -> Bytes {
    Bytes::copy_from_slice(&incarnation.0.to_be_bytes())
}

/// A member of an enumeration; the first one means "not set".
fn member<E: TryFrom<i32>>(value: i32, field: &'static str) -> Result<E, WireError> {
    if value == 0 {
        return Err(WireError::Missing { field });
    }
    E::try_from(value).map_err(|_| WireError::Invalid {
        field,
        why: "not known to this version",
    })
}

fn client_id(value: &Bytes, field: &'static str) -> Result<Bytes, WireError> {
    if value.is_empty() {
        return Err(WireError::Missing { field });
    }
    utf8(value, field)?;
    Ok(copied(value))
}

/// An MQTT UTF-8 string: not longer than its length field can say (MQTT 5.0, 1.5.4).
fn utf8<'v>(value: &'v [u8], field: &'static str) -> Result<&'v str, WireError> {
    if value.len() > usize::from(u16::MAX) {
        return Err(WireError::Invalid {
            field,
            why: "longer than 65,535 bytes",
        });
    }
    std::str::from_utf8(value).map_err(|_| WireError::Invalid {
        field,
        why: "not UTF-8",
    })
}

/// Bytes of their own, independent of the frame that `value` points into.
fn copied(value: &Bytes) -> Bytes {
    Bytes::copy_from_slice(value)
}

/// Converts each item of a list of bounded length.
pub(crate) fn list<P, C>(
    items: Vec<P>,
    field: &'static str,
    convert: impl FnMut(P) -> Result<C, WireError>,
) -> Result<Vec<C>, WireError> {
    if items.len() > MAX_LIST_ITEMS {
        return Err(WireError::TooMany {
            field,
            items: items.len(),
        });
    }
    items.into_iter().map(convert).collect()
}
