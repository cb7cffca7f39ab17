//! What a worker does with a batch that storage returned: PUBACK to its publishers, PUBLISH to its subscribers, and the
//! offsets of the records that other workers' subscribers want.

use std::mem;

use bytes::Bytes;

use super::Worker;
use crate::batch::{self, Batch, Record};
use crate::mailbox::Mail;
use freshet_bench_load::wire;

impl Worker {
    /// Acknowledges and delivers a batch.
    pub(crate) fn receive(&mut self, batch: &Batch) {
        let mut offset = 0;
        for reason_code in &batch.reason_codes {
            let Some((record, next)) = batch::record_at(&batch.records, offset) else {
                break;
            };
            if record.packet_id != 0 && *reason_code == 0 {
                self.send_puback(record.publisher, record.packet_id);
            }
            let mut workers = self.deliver(&record);
            while workers != 0 {
                self.crossing[workers.trailing_zeros() as usize].push(offset);
                workers &= workers - 1;
            }
            offset = next;
        }
        for worker in 0..self.crossing.len() {
            if !self.crossing[worker].is_empty() {
                let offsets = mem::take(&mut self.crossing[worker]);
                self.post(
                    worker,
                    Mail::Deliver {
                        records: batch.records.clone(),
                        offsets,
                    },
                );
            }
        }
    }

    /// Delivers the records that another worker found this worker's connections to want.
    pub(super) fn deliver_at(&mut self, records: &Bytes, offsets: &[usize]) {
        for &offset in offsets {
            if let Some((record, _)) = batch::record_at(records, offset) {
                self.deliver(&record);
            }
        }
    }

    fn send_puback(&mut self, token: u64, packet_id: u16) {
        if let Some((slot, _)) = self.connections.by_token(token) {
            self.queue(slot, |out| wire::encode_puback(out, packet_id));
        }
    }

    /// Queues the record for this worker's receivers and returns the set of other workers that have some.
    fn deliver(&mut self, record: &Record<'_>) -> u64 {
        let Self {
            filters,
            connections,
            dirty,
            frames,
            tally,
            ..
        } = self;
        let Some(interest) = filters.matching(record.topic) else {
            return 0;
        };
        let published_at = u8::from(record.packet_id != 0);
        let mut packet_id_at = 0;
        for (qos, frame) in (0..).zip(frames.iter_mut()) {
            frame.clear();
            if interest
                .receivers
                .iter()
                .any(|receiver| receiver.qos.min(published_at) == qos)
            {
                packet_id_at = wire::encode_publish(frame, record.topic, qos, 0, record.payload);
            }
        }
        // QoS 1 was encoded last, so the offset is its own; QoS 0 has no packet id.
        interest.receivers.retain(|receiver| {
            let Some((slot, connection)) = connections.by_token(receiver.token) else {
                return false;
            };
            let qos = receiver.qos.min(published_at);
            let packet_id = if qos == 1 { connection.next_packet_id() } else { 0 };
            let frame = &frames[usize::from(qos)];
            let became_dirty = connections.queue(slot, |out| {
                let start = out.len();
                out.extend_from_slice(frame);
                if qos == 1 {
                    out[start + packet_id_at..start + packet_id_at + 2].copy_from_slice(&packet_id.to_be_bytes());
                }
            });
            if became_dirty {
                dirty.push(slot);
            }
            tally.delivered += 1;
            true
        });
        interest.workers
    }
}
