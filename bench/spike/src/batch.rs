//! What a proxy and the storage process exchange: one [`Batch`] per turn, whose records stay one run of bytes.
//!
//! A gRPC message per publish would cost more than the publish, so a batch carries all publishes of a turn in one field
//! and one reason code per publish in another. Used by the worker, the echo process and both drivers.

use bytes::{BufMut, Bytes, BytesMut};

/// The one message of the stream, in both directions.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Batch {
    /// Records one after the other, see [`Record`].
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) records: Bytes,
    /// One reason code per record, in their order; empty on the way to storage.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) reason_codes: Bytes,
}

/// One publish inside a batch: `length: u32` of what follows, `publisher: u64`, `packet_id: u16` (0 at QoS 0),
/// `topic length: u16`, topic, payload; integers are big-endian.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) publisher: u64,
    pub(crate) packet_id: u16,
    pub(crate) topic: &'a [u8],
    pub(crate) payload: &'a [u8],
}

const HEADER_BYTES: usize = 8 + 2 + 2;

/// Appends `record` to a batch under construction.
pub(crate) fn append(records: &mut BytesMut, record: &Record<'_>) {
    let topic_length = u16::try_from(record.topic.len()).unwrap_or(u16::MAX);
    let length = u32::try_from(HEADER_BYTES + record.topic.len() + record.payload.len()).unwrap_or(u32::MAX);
    records.put_u32(length);
    records.put_u64(record.publisher);
    records.put_u16(record.packet_id);
    records.put_u16(topic_length);
    records.put_slice(record.topic);
    records.put_slice(record.payload);
}

/// Reads the record at `offset` and returns it with the offset of the next, or `None` at the end or on damaged bytes.
pub(crate) fn record_at(records: &[u8], offset: usize) -> Option<(Record<'_>, usize)> {
    let (length, rest) = records.get(offset..)?.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let body = rest.get(..length)?;
    let (publisher, body) = body.split_first_chunk()?;
    let (packet_id, body) = body.split_first_chunk()?;
    let (topic_length, body) = body.split_first_chunk()?;
    let (topic, payload) = body.split_at_checked(usize::from(u16::from_be_bytes(*topic_length)))?;
    let record = Record {
        publisher: u64::from_be_bytes(*publisher),
        packet_id: u16::from_be_bytes(*packet_id),
        topic,
        payload,
    };
    Some((record, offset + 4 + length))
}

/// The answer of a storage that accepts everything: the same records, with success for each.
pub(crate) fn acknowledge(batch: Batch) -> Batch {
    let mut reason_codes = BytesMut::new();
    let mut offset = 0;
    while let Some((_, next)) = record_at(&batch.records, offset) {
        reason_codes.put_u8(0);
        offset = next;
    }
    Batch {
        records: batch.records,
        reason_codes: reason_codes.freeze(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_of_a_batch_gets_one_reason_code() {
        let mut records = BytesMut::new();
        for packet_id in 0..3 {
            append(
                &mut records,
                &Record {
                    publisher: 1,
                    packet_id,
                    topic: b"t",
                    payload: b"payload",
                },
            );
        }
        let answer = acknowledge(Batch {
            records: records.freeze(),
            reason_codes: Bytes::new(),
        });
        assert_eq!(answer.reason_codes, Bytes::from_static(&[0, 0, 0]));
        let (second, _) = record_at(&answer.records, record_at(&answer.records, 0).unwrap().1).unwrap();
        assert_eq!(
            second,
            Record {
                publisher: 1,
                packet_id: 1,
                topic: b"t",
                payload: b"payload"
            }
        );
    }

    #[test]
    fn a_cut_batch_ends_at_the_last_whole_record() {
        let mut records = BytesMut::new();
        append(
            &mut records,
            &Record {
                publisher: 1,
                packet_id: 2,
                topic: b"t",
                payload: b"p",
            },
        );
        let cut = records.freeze().slice(..10);
        assert_eq!(record_at(&cut, 0), None);
    }
}
