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
pub(crate) struct BacklogStream<I: Item> {
    shared: Arc<Shared<I>>,
    /// Frames of an item that travels in parts.
    parts: VecDeque<I::Frame>,
}

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
    (
        BacklogSender(shared.clone()),
        BacklogStream {
            shared,
            parts: VecDeque::new(),
        },
    )
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
        if items.iter().any(oversized) {
            *items = std::mem::take(items).into_iter().flat_map(I::split).collect();
            if let Some(item) = items.iter().find(|item| oversized(*item)) {
                return Err(SendError::TooLarge {
                    bytes: item.charged_bytes(),
                });
            }
        }
        let bytes = items.iter().map(I::charged_bytes).sum::<usize>();
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

fn oversized<I: Item>(item: &I) -> bool {
    item.charged_bytes() > item.limit_bytes()
}

/// Wakes the transport after the lock has been released.
fn wake<I: Item>(mut state: MutexGuard<'_, State<I>>) {
    let transport = state.transport.take();
    drop(state);
    if let Some(transport) = transport {
        transport.wake();
    }
}

// Nothing in it is pinned.
impl<I: Item> Unpin for BacklogStream<I> {}

impl<I: Item> Stream for BacklogStream<I> {
    type Item = Result<I::Frame, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(frame) = this.parts.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let mut state = this.shared.lock();
        if let Some(frame) = state.first.take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if !state.items.is_empty() {
            let items = take_frame(&mut state);
            drop(state);
            // One sender per backlog, so at most one waits.
            this.shared.room.notify_one();
            I::frames(items, &mut this.parts);
            return Poll::Ready(this.parts.pop_front().map(Ok));
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
        let mut state = self.shared.lock();
        state.closed = true;
        state.waiting_bytes = 0;
        let items = std::mem::take(&mut state.items);
        drop(state);
        drop(items);
        self.shared.room.notify_one();
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
mod tests;
