//! What a stream carries in one frame: what items cost, how too large ones are split, how a frame is made of them.

mod sessions;

use std::collections::VecDeque;

use freshet_storage_contract::{
    Answer, Delivery, DeliveryControl, InterestChange, InterestDelta, NumberedDelivery, Operation, PublishBatch,
    PublishSeq, QoS, RegisteredSession, Will,
};

use self::sessions::{
    FILTER_ID_BYTES, exchange_bytes, fetched_bytes, message_bytes, positions_bytes, pulled_bytes, session_change_bytes,
    stored_bytes,
};
use crate::{
    convert::runs_of,
    limits::{MAX_INTEREST_BYTES, MAX_ITEM_BYTES, TARGET_FRAME_BYTES},
    proto::{self, operation::Operation as Member},
};

/// Charged for an item, or a part of one, beside its bytes. More than its fields take on the wire.
const OVERHEAD_BYTES: usize = 64;
/// Two numbers, sixteen bytes, and what stands before them.
const LASTING_BYTES: usize = 48;
/// A lease and what became of its message.
const SETTLED_BYTES: usize = 32;

/// What operations are charged with where they wait: at least their size on the wire, and about their size in memory.
#[must_use]
pub fn charged_bytes(operations: &[Operation]) -> usize {
    operations.iter().map(Item::charged_bytes).sum()
}

/// Eleven numbers of at most ten bytes, each behind its tag.
const REPORT_BYTES: usize = 11 * 11;

/// An item of one of the four directions.
pub(crate) trait Item: Sized + Send + 'static {
    /// The frame that carries such items.
    type Frame: Send + 'static;

    /// What the item is charged with: at least what it takes on the wire.
    fn charged_bytes(&self) -> usize;

    /// What it may be charged with.
    fn limit_bytes(&self) -> usize {
        MAX_ITEM_BYTES
    }

    /// Cuts what is above [`MAX_ITEM_BYTES`] into items below it, as far as the contract lets it be cut.
    fn split(self) -> Vec<Self> {
        vec![self]
    }

    /// Makes a frame.
    fn frame(items: Vec<Self>) -> Self::Frame;

    /// Makes the frames of items that leave together: one, unless an item travels in parts.
    fn frames(items: Vec<Self>, frames: &mut VecDeque<Self::Frame>) {
        frames.push_back(Self::frame(items));
    }
}

impl Item for Operation {
    type Frame = proto::OperationFrame;

    fn charged_bytes(&self) -> usize {
        OVERHEAD_BYTES
            + match self {
                Self::RenewLease => 0,
                Self::Interest(delta) => delta.changes.iter().map(change_bytes).sum(),
                Self::Publish(batch) => {
                    let messages: usize = batch.messages.iter().map(|m| message_bytes(m)).sum();
                    messages + batch.lasting.map_or(0, |_| LASTING_BYTES)
                }
                Self::AttachSession(attach) => attach.client_id.len() + will_bytes(attach.will.as_deref()),
                Self::RegisterSessions { sessions, .. } => sessions.iter().map(session_bytes).sum(),
                Self::DetachSession { client_id, .. } => client_id.len(),
                Self::ReadRetained(read) => read.topic_filter.len() + read.after.as_ref().map_or(0, |a| a.len()),
                Self::UpdateSession(update) => {
                    update.client_id.len() + update.changes.iter().map(session_change_bytes).sum::<usize>()
                }
                Self::EnsureDurable(ensure) => ensure.topic_filter.len(),
                Self::Release(release) => exchange_bytes(&release.of),
                Self::Pull(pull) => pull.filters.iter().map(|f| OVERHEAD_BYTES + f.topic_filter.len()).sum(),
                Self::Fetch(fetch) => positions_bytes(fetch.positions.len()),
                Self::SettleShared(settle) => settle.settled.len() * SETTLED_BYTES,
                Self::Report(_) => REPORT_BYTES,
            }
    }

    fn split(self) -> Vec<Self> {
        match self {
            Self::Publish(PublishBatch {
                shard,
                mut first,
                messages,
                mut lasting,
            }) => cut(messages, MAX_ITEM_BYTES - LASTING_BYTES, |m| message_bytes(m))
                .into_iter()
                .map(|messages| {
                    let batch = PublishBatch {
                        shard,
                        first,
                        messages,
                        lasting,
                    };
                    first = PublishSeq(first.0.saturating_add(batch.messages.len() as u64));
                    if let Some(lasting) = &mut lasting {
                        let counted = batch.messages.iter().filter(|m| m.qos != QoS::AtMostOnce);
                        lasting.first = lasting.first.saturating_add(counted.count() as u64);
                    }
                    Self::Publish(batch)
                })
                .collect(),
            Self::RegisterSessions { shard, sessions } => cut(sessions, MAX_ITEM_BYTES, session_bytes)
                .into_iter()
                .map(|sessions| Self::RegisterSessions { shard, sessions })
                .collect(),
            other => vec![other],
        }
    }

    fn limit_bytes(&self) -> usize {
        match self {
            Self::Interest(_) => MAX_INTEREST_BYTES,
            _ => MAX_ITEM_BYTES,
        }
    }

    fn frame(items: Vec<Self>) -> proto::OperationFrame {
        proto::OperationFrame {
            attach: None,
            operations: items.into_iter().map(Into::into).collect(),
        }
    }

    fn frames(items: Vec<Self>, frames: &mut VecDeque<proto::OperationFrame>) {
        match <[Self; 1]>::try_from(items) {
            // What is above the size of a frame leaves alone.
            Ok([Self::Interest(delta)]) => frames.extend(parts_of(delta).map(|part| proto::OperationFrame {
                attach: None,
                operations: vec![proto::Operation {
                    operation: Some(Member::Interest(part)),
                }],
            })),
            Ok([other]) => frames.push_back(Self::frame(vec![other])),
            Err(items) => frames.push_back(Self::frame(items)),
        }
    }
}

/// Cuts a change of interest into parts of about the size of a frame.
fn parts_of(delta: InterestDelta) -> impl Iterator<Item = proto::InterestDelta> {
    let InterestDelta {
        shard,
        version,
        complete,
        changes,
    } = delta;
    let parts = cut(changes, TARGET_FRAME_BYTES, change_bytes);
    let last = parts.len() - 1;
    parts.into_iter().enumerate().map(move |(index, changes)| {
        let mut part: proto::InterestDelta = InterestDelta {
            shard,
            version,
            complete,
            changes,
        }
        .into();
        part.continues = index < last;
        part
    })
}

impl Item for Answer {
    type Frame = proto::AnswerFrame;

    fn charged_bytes(&self) -> usize {
        OVERHEAD_BYTES
            + match self {
                Self::LeaseRenewed
                | Self::SessionRefused { .. }
                | Self::SessionUpdated { .. }
                | Self::UpdateRefused { .. }
                | Self::EnsureRefused { .. }
                | Self::Released { .. }
                | Self::SharedSettled { .. } => 0,
                Self::SessionAttached { session, .. } => session.as_deref().map_or(0, stored_bytes),
                Self::Published { outcomes, .. } => outcomes.len(),
                Self::TakeOver { client_id, .. } => client_id.len(),
            }
    }

    fn frame(items: Vec<Self>) -> proto::AnswerFrame {
        proto::AnswerFrame {
            link: None,
            answers: items.into_iter().map(Into::into).collect(),
        }
    }
}

impl Item for DeliveryControl {
    type Frame = proto::DeliveryControlFrame;

    fn charged_bytes(&self) -> usize {
        OVERHEAD_BYTES
    }

    fn frame(items: Vec<Self>) -> proto::DeliveryControlFrame {
        proto::DeliveryControlFrame {
            attach: None,
            controls: items.into_iter().map(Into::into).collect(),
        }
    }
}

impl Item for NumberedDelivery {
    type Frame = proto::DeliveryFrame;

    fn charged_bytes(&self) -> usize {
        OVERHEAD_BYTES
            + match &self.delivery {
                Delivery::Message {
                    filter_ids, message, ..
                } => message.charged_bytes() + FILTER_ID_BYTES * filter_ids.as_slice().len(),
                Delivery::Marker { .. } | Delivery::Overrun { .. } | Delivery::Started { .. } => 0,
                Delivery::Pulled { messages, .. } => pulled_bytes(messages),
                Delivery::Fetched { messages, .. } => fetched_bytes(messages),
                Delivery::Shared(shared) => OVERHEAD_BYTES + shared.message.charged_bytes(),
                Delivery::Retained { messages, next, .. } => {
                    messages.iter().map(|m| m.message.charged_bytes()).sum::<usize>()
                        + next.as_ref().map_or(0, |n| n.len())
                }
            }
    }

    fn frame(items: Vec<Self>) -> proto::DeliveryFrame {
        proto::DeliveryFrame {
            link: None,
            runs: runs_of(items),
        }
    }
}

pub(crate) fn change_bytes(change: &InterestChange) -> usize {
    OVERHEAD_BYTES
        + match change {
            InterestChange::Add { topic_filter, .. } => topic_filter.len(),
            InterestChange::SetGroup(group) => group.share_name.len() + group.topic_filter.len(),
            InterestChange::Remove { .. } => 0,
        }
}

fn session_bytes(session: &RegisteredSession) -> usize {
    let stored = session.session.as_deref().map_or(0, stored_bytes);
    OVERHEAD_BYTES + session.client_id.len() + will_bytes(session.will.as_ref()) + stored
}

fn will_bytes(will: Option<&Will>) -> usize {
    will.map_or(0, |w| OVERHEAD_BYTES + w.message.charged_bytes())
}

/// Cuts a list into lists, at least one, that are charged with at most `limit_bytes` each. An item above it stays alone.
fn cut<T>(items: Vec<T>, limit_bytes: usize, charged_bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut part_bytes = OVERHEAD_BYTES;
    for item in items {
        let bytes = charged_bytes(&item);
        if !part.is_empty() && part_bytes + bytes > limit_bytes {
            parts.push(std::mem::take(&mut part));
            part_bytes = OVERHEAD_BYTES;
        }
        part_bytes += bytes;
        part.push(item);
    }
    parts.push(part);
    parts
}
