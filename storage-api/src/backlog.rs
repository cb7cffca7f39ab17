//! What waits for the transport in one direction of a stream: bounded by bytes, never awaited by who fills it.
//!
//! The sender appends at the end of its turn; the transport takes all that has gathered when it has room, as frames of
//! [`TARGET_FRAME_BYTES`]. So a fast transport sees one frame per turn and a slow one fewer, larger frames. Frames are
//! made and encoded on the transport's side, not in the sender's turn.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures::Stream;
use thiserror::Error;
use tokio::sync::Notify;
use tonic::Status;

use crate::{
    batch::Item,
    limits::{MAX_ITEM_BYTES, TARGET_FRAME_BYTES},
};

/// Why items were not taken for sending. They stay with the sender.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// Too much is waiting for the transport.
    #[error("{waiting_bytes} bytes are waiting for the transport")]
    Full {
        /// What waits.
        waiting_bytes: usize,
    },
    /// The stream has ended.
    #[error("the stream has ended")]
    Closed,
    /// An item that no frame can carry and that cannot be split.
    #[error("an item of {bytes} bytes does not fit into a frame of {MAX_ITEM_BYTES}")]
    TooLarge {
        /// What the item is charged with.
        bytes: usize,
    },
}

/// How a stream ends after everything before has been sent.
pub(crate) enum End<F> {
    /// In order.
    Orderly,
    /// With a last frame that says why.
    Frame(F),
    /// With a gRPC status.
    Status(Status),
}

struct State<I: Item> {
    /// Sent before all items.
    first: Option<I::Frame>,
    items: VecDeque<I>,
    waiting_bytes: usize,
    end: Option<End<I::Frame>>,
    /// The transport wants no more.
    closed: bool,
    transport: Option<Waker>,
}

struct Shared<I: Item> {
    bound_bytes: usize,
    state: Mutex<State<I>>,
    /// Notified when items were taken or the transport has gone.
    room: Notify,
}

impl<I: Item> Shared<I> {
    fn lock(&self) -> MutexGuard<'_, State<I>> {
        // Nothing panics while it holds the lock; if it did, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The filling side. Dropping it ends the stream in order.
pub(crate) struct BacklogSender<I: Item>(Arc<Shared<I>>);

/// The transport's side.
pub(crate) struct BacklogStream<I: Item>(Arc<Shared<I>>);

/// A backlog of at most about `bound_bytes`.
pub(crate) fn backlog<I: Item>(bound_bytes: usize) -> (BacklogSender<I>, BacklogStream<I>) {
    let state = State {
        first: None,
        items: VecDeque::new(),
        waiting_bytes: 0,
        end: None,
        closed: false,
        transport: None,
    };
    let shared = Arc::new(Shared {
        bound_bytes,
        state: Mutex::new(state),
        room: Notify::new(),
    });
    (BacklogSender(shared.clone()), BacklogStream(shared))
}

impl<I: Item> BacklogSender<I> {
    /// Sends a frame before all items.
    pub(crate) fn begin(&self, frame: I::Frame) {
        let mut state = self.0.lock();
        state.first = Some(frame);
        wake(state);
    }

    /// Takes all of `items`, or none. An empty backlog takes any number, so that a turn's batch always fits sometime.
    pub(crate) fn try_send(&self, items: &mut Vec<I>) -> Result<(), SendError> {
        if items.is_empty() {
            return Ok(());
        }
        let mut bytes = 0_usize;
        let mut largest = 0;
        for item in items.iter() {
            let charged = item.charged_bytes();
            bytes = bytes.saturating_add(charged);
            largest = largest.max(charged);
        }
        if largest > MAX_ITEM_BYTES {
            *items = std::mem::take(items).into_iter().flat_map(I::split).collect();
            let largest = items.iter().map(I::charged_bytes).max().unwrap_or(0);
            if largest > MAX_ITEM_BYTES {
                return Err(SendError::TooLarge { bytes: largest });
            }
        }
        let mut state = self.0.lock();
        if state.closed || state.end.is_some() {
            return Err(SendError::Closed);
        }
        if state.waiting_bytes > 0 && state.waiting_bytes.saturating_add(bytes) > self.0.bound_bytes {
            return Err(SendError::Full {
                waiting_bytes: state.waiting_bytes,
            });
        }
        state.waiting_bytes = state.waiting_bytes.saturating_add(bytes);
        if state.items.is_empty() {
            state.items = std::mem::take(items).into();
        } else {
            state.items.extend(items.drain(..));
        }
        wake(state);
        Ok(())
    }

    /// Like [`Self::try_send`], waiting while the backlog is full. Cancelled, it has sent nothing.
    pub(crate) async fn send(&self, items: &mut Vec<I>) -> Result<(), SendError> {
        loop {
            let room = self.0.room.notified();
            match self.try_send(items) {
                Err(SendError::Full { .. }) => room.await,
                done => return done,
            }
        }
    }

    /// Bytes that wait for the transport.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.0.lock().waiting_bytes
    }

    /// Whether the transport wants no more.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.lock().closed
    }

    /// Ends the stream behind what was sent. The first end counts.
    pub(crate) fn finish(&self, end: End<I::Frame>) {
        let mut state = self.0.lock();
        if state.end.is_none() {
            state.end = Some(end);
        }
        wake(state);
    }
}

impl<I: Item> Drop for BacklogSender<I> {
    fn drop(&mut self) {
        self.finish(End::Orderly);
    }
}

/// Wakes the transport after the lock has been released.
fn wake<I: Item>(mut state: MutexGuard<'_, State<I>>) {
    let transport = state.transport.take();
    drop(state);
    if let Some(transport) = transport {
        transport.wake();
    }
}

impl<I: Item> Stream for BacklogStream<I> {
    type Item = Result<I::Frame, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.lock();
        if let Some(frame) = state.first.take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if !state.items.is_empty() {
            let items = take_frame(&mut state);
            drop(state);
            // One sender per backlog, so at most one waits.
            self.0.room.notify_one();
            return Poll::Ready(Some(Ok(I::frame(items))));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        let ended = match state.end.take() {
            None => {
                state.transport = Some(context.waker().clone());
                return Poll::Pending;
            }
            Some(End::Orderly) => None,
            Some(End::Frame(frame)) => Some(Ok(frame)),
            Some(End::Status(status)) => Some(Err(status)),
        };
        state.closed = true;
        Poll::Ready(ended)
    }
}

impl<I: Item> Drop for BacklogStream<I> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        state.waiting_bytes = 0;
        let items = std::mem::take(&mut state.items);
        drop(state);
        drop(items);
        self.0.room.notify_one();
    }
}

/// Takes the items of the next frame: at least one, and as many as stay within [`TARGET_FRAME_BYTES`].
fn take_frame<I: Item>(state: &mut State<I>) -> Vec<I> {
    if state.waiting_bytes <= TARGET_FRAME_BYTES {
        state.waiting_bytes = 0;
        return std::mem::take(&mut state.items).into();
    }
    let mut bytes = 0;
    let mut count = 0;
    for item in &state.items {
        let charged = item.charged_bytes();
        if count > 0 && bytes + charged > TARGET_FRAME_BYTES {
            break;
        }
        bytes += charged;
        count += 1;
    }
    state.waiting_bytes = state.waiting_bytes.saturating_sub(bytes);
    state.items.drain(..count).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use freshet_storage_contract::{
        InterestChange, InterestDelta, InterestVersion, Message, Operation, PublishBatch, PublishSeq, PublisherId, QoS,
        ShardId,
    };
    use futures::{FutureExt, StreamExt};

    use super::*;
    use crate::{limits::MAX_FRAME_BYTES, proto::OperationFrame};

    fn message(payload_bytes: usize) -> Message {
        Message {
            topic_name: Bytes::from_static(b"a"),
            payload: Bytes::from(vec![0; payload_bytes]),
            qos: QoS::AtMostOnce,
            retain: false,
            publisher: PublisherId(0),
            message_expiry_interval_s: None,
            forwarded_properties: Bytes::new(),
        }
    }

    fn publish(first: u64, payloads: &[usize]) -> Operation {
        let messages = payloads.iter().map(|&bytes| message(bytes)).collect();
        Operation::Publish(PublishBatch {
            shard: ShardId(0),
            first: PublishSeq(first),
            messages,
        })
    }

    fn take(stream: &mut BacklogStream<Operation>) -> Option<OperationFrame> {
        stream
            .next()
            .now_or_never()
            .flatten()
            .map(|frame| frame.expect("no status was given"))
    }

    #[test]
    fn what_gathers_while_the_transport_is_busy_leaves_in_one_frame() {
        let (sender, mut stream) = backlog(1 << 20);
        assert!(take(&mut stream).is_none());
        for _ in 0..3 {
            sender.try_send(&mut vec![Operation::RenewLease; 2]).unwrap();
        }
        assert_eq!(take(&mut stream).unwrap().operations.len(), 6);
        assert!(take(&mut stream).is_none());
        assert_eq!(sender.waiting_bytes(), 0);
    }

    #[test]
    fn a_large_backlog_leaves_in_order_and_in_frames_of_bounded_size() {
        let (sender, mut stream) = backlog(usize::MAX);
        let mut operations: Vec<_> = (1..=100).map(|first| publish(first, &[10_000])).collect();
        sender.try_send(&mut operations).unwrap();
        assert!(operations.is_empty());
        let mut firsts = Vec::new();
        let mut frames = 0;
        while let Some(frame) = take(&mut stream) {
            frames += 1;
            assert!(prost::Message::encoded_len(&frame) <= TARGET_FRAME_BYTES);
            for operation in frame.operations {
                let Ok(Operation::Publish(batch)) = operation.try_into() else {
                    panic!("a batch was sent")
                };
                firsts.push(batch.first.0);
            }
        }
        assert_eq!(firsts, (1..=100).collect::<Vec<_>>());
        assert_eq!((frames, sender.waiting_bytes()), (4, 0));
    }

    #[test]
    fn a_batch_above_the_bound_is_split_and_keeps_its_numbers() {
        let (sender, mut stream) = backlog(usize::MAX);
        sender
            .try_send(&mut vec![publish(7, &[3 << 20, 1 << 20, 1 << 20, 100])])
            .unwrap();
        let mut numbers = Vec::new();
        while let Some(frame) = take(&mut stream) {
            assert!(prost::Message::encoded_len(&frame) <= MAX_FRAME_BYTES);
            for operation in frame.operations {
                let Ok(Operation::Publish(batch)) = operation.try_into() else {
                    panic!("a batch was sent")
                };
                numbers.push((batch.first.0, batch.messages.len()));
            }
        }
        assert_eq!(numbers, [(7, 1), (8, 3)]);
    }

    #[test]
    fn what_cannot_be_split_is_refused_and_stays_with_the_caller() {
        let (sender, _stream) = backlog(usize::MAX);
        let changes = vec![
            InterestChange::Add {
                filter_id: freshet_storage_contract::FilterId(1),
                topic_filter: Bytes::from(vec![b'a'; 60_000]),
            };
            100
        ];
        let delta = InterestDelta {
            shard: ShardId(0),
            version: InterestVersion(1),
            complete: false,
            changes,
        };
        for operation in [Operation::Interest(delta), publish(1, &[5 << 20])] {
            let mut operations = vec![operation.clone()];
            assert!(matches!(
                sender.try_send(&mut operations),
                Err(SendError::TooLarge { .. })
            ));
            assert_eq!(operations, [operation]);
        }
    }

    #[test]
    fn a_full_backlog_takes_nothing_and_an_empty_one_takes_any_batch() {
        let (sender, mut stream) = backlog(1_000);
        sender.try_send(&mut vec![publish(1, &[5_000])]).unwrap();
        let mut next = vec![Operation::RenewLease];
        assert!(matches!(sender.try_send(&mut next), Err(SendError::Full { .. })));
        assert_eq!(next.len(), 1);
        take(&mut stream).unwrap();
        sender.try_send(&mut next).unwrap();
        assert!(next.is_empty());
    }

    #[tokio::test]
    async fn a_sender_that_waits_goes_on_when_there_is_room_or_nobody_left() {
        let (sender, mut stream) = backlog(10);
        sender.try_send(&mut vec![Operation::RenewLease]).unwrap();
        let mut next = vec![publish(1, &[1])];
        let (sent, ()) = tokio::join!(sender.send(&mut next), async {
            take(&mut stream).unwrap();
        });
        sent.unwrap();
        let mut next = vec![publish(2, &[1])];
        let (sent, ()) = tokio::join!(sender.send(&mut next), async { drop(stream) });
        assert_eq!(sent, Err(SendError::Closed));
    }

    #[test]
    fn a_stream_ends_behind_what_was_sent() {
        let (sender, mut stream) = backlog(1_000);
        sender.begin(OperationFrame::default());
        sender.try_send(&mut vec![Operation::RenewLease]).unwrap();
        sender.finish(End::Status(Status::aborted("over")));
        assert_eq!(
            sender.try_send(&mut vec![Operation::RenewLease]),
            Err(SendError::Closed)
        );
        assert_eq!(take(&mut stream).unwrap().operations.len(), 0);
        assert_eq!(take(&mut stream).unwrap().operations.len(), 1);
        let end = stream.next().now_or_never().flatten();
        assert!(matches!(end, Some(Err(status)) if status.code() == tonic::Code::Aborted));
        assert!(stream.next().now_or_never().flatten().is_none());
        assert!(sender.is_closed());
    }
}
