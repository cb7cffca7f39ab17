//! The proxy's end of a link to a storage node.
//!
//! Called by the proxy's shell, on whatever tokio runtime it wants the streams to run. Leaves out when to connect
//! again and everything that is said: a [`Link`] that has ended is dropped and another one made.

use std::{
    future::ready,
    sync::atomic::{AtomicU64, Ordering},
};

use freshet_storage_contract::{
    Answer, AttachProxy, AttachRefusal, Attached, DeliveryControl, NumberedDelivery, Operation,
};
use futures::{Stream, StreamExt};
use thiserror::Error;
use tonic::{Status, Streaming, transport::Endpoint};

use crate::{
    SendError, WireError,
    backlog::{BacklogSender, BacklogStream, backlog},
    batch::Item,
    codec::wire_error,
    limits::{
        CONNECT_TIMEOUT, CONNECTION_WINDOW_BYTES, HTTP2_FRAME_BYTES, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT,
        MAX_FRAME_BYTES, MAX_LIST_ITEMS, OPERATION_BACKLOG_BYTES, STREAM_WINDOW_BYTES,
    },
    proto::{self, answer_frame, delivery_frame, storage_client::StorageClient},
    server::{AttachRequest, LinkNumber},
};

/// A link that storage has attached. Its four ends may live in four tasks; the first one that fails ends the link.
#[derive(Debug)]
pub struct Link {
    /// What storage said to the attach.
    pub attached: Attached,
    /// Operations to storage.
    pub operations: OperationSender,
    /// Answers from storage. Always to be drained.
    pub answers: AnswerReceiver,
    /// Acknowledgements and credits to storage.
    pub controls: ControlSender,
    /// Deliveries from storage.
    pub deliveries: DeliveryReceiver,
}

/// Why there is no link.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// Storage has refused the proxy. [`AttachRefusal::IncarnationGone`]: go on as a new incarnation. Anything else
    /// stays until somebody acts.
    #[error(transparent)]
    Refused(AttachRefusal),
    /// Storage cannot be reached now: try again.
    #[error("storage cannot be reached: {0}")]
    Unreachable(String),
    /// The endpoint is not an `http://host:port` URI.
    #[error("{0:?} is not a storage endpoint")]
    Endpoint(String),
    /// What answers is not storage of a known version.
    #[error("storage is not understood: {0}")]
    NotUnderstood(WireError),
}

/// Why a link has ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LinkError {
    /// Storage has ended the link by name. [`AttachRefusal::IncarnationGone`]: the lease ran out at storage.
    #[error(transparent)]
    Refused(AttachRefusal),
    /// The connection is lost or storage has shut down: connect again.
    #[error("the link is lost: {0}")]
    Lost(String),
    /// Storage sent what this version does not understand.
    #[error("storage is not understood: {0}")]
    NotUnderstood(WireError),
}

impl From<LinkError> for ConnectError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Refused(refusal) => Self::Refused(refusal),
            LinkError::Lost(why) => Self::Unreachable(why),
            LinkError::NotUnderstood(error) => Self::NotUnderstood(error),
        }
    }
}

impl LinkError {
    fn of_status(status: &Status) -> Self {
        match wire_error(status) {
            Some(error) => Self::NotUnderstood(error.clone()),
            None if status.message().is_empty() => Self::Lost(status.code().to_string()),
            None => Self::Lost(status.message().to_owned()),
        }
    }

    fn ended() -> Self {
        Self::Lost("storage has ended the stream".to_owned())
    }
}

/// Connects to the storage node at `endpoint` (`http://host:port`) and attaches.
///
/// Both streams are open and attached when this returns; it takes at most [`CONNECT_TIMEOUT`]. A link of the same
/// incarnation made before is ended by storage.
///
/// # Errors
/// [`ConnectError`], split by what the caller does next.
pub async fn connect(endpoint: &str, attach: &AttachProxy) -> Result<Link, ConnectError> {
    let uri = Endpoint::from_shared(endpoint.to_owned()).ok();
    let uri = uri.filter(|uri| uri.uri().scheme_str() == Some("http") && uri.uri().port().is_some());
    let uri = uri.ok_or_else(|| ConnectError::Endpoint(endpoint.to_owned()))?;
    match tokio::time::timeout(CONNECT_TIMEOUT, open(configured(uri), attach)).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::Unreachable(
            "storage did not attach the proxy in time".to_owned(),
        )),
    }
}

fn configured(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP2_FRAME_BYTES)
}

async fn open(endpoint: Endpoint, attach: &AttachProxy) -> Result<Link, ConnectError> {
    let unreachable = |error: tonic::transport::Error| {
        let cause = std::error::Error::source(&error)
            .map(|c| format!(": {c}"))
            .unwrap_or_default();
        ConnectError::Unreachable(format!("{error}{cause}"))
    };
    let channel = endpoint.connect().await.map_err(unreachable)?;
    let mut client = StorageClient::new(channel)
        .max_decoding_message_size(MAX_FRAME_BYTES)
        .max_encoding_message_size(MAX_FRAME_BYTES);
    let attach: proto::AttachProxy = AttachRequest {
        proxy: attach.clone(),
        link: next_link(),
    }
    .into();

    let (operations, stream): (BacklogSender<Operation>, BacklogStream<_>) = backlog(OPERATION_BACKLOG_BYTES);
    operations.begin(proto::OperationFrame {
        attach: Some(attach.clone()),
        operations: Vec::new(),
    });
    let answers = client
        .operations(frames(stream))
        .await
        .map_err(|status| LinkError::of_status(&status))?;

    let (controls, stream): (BacklogSender<DeliveryControl>, BacklogStream<_>) = backlog(OPERATION_BACKLOG_BYTES);
    controls.begin(proto::DeliveryControlFrame {
        attach: Some(attach),
        controls: Vec::new(),
    });
    let deliveries = client
        .deliveries(frames(stream))
        .await
        .map_err(|status| LinkError::of_status(&status))?;

    let mut answers = AnswerReceiver(answers.into_inner());
    let mut deliveries = DeliveryReceiver(deliveries.into_inner());
    let attached = attached(answers.0.message().await.map(|f| f.and_then(|f| f.link)))?;
    let link = deliveries
        .0
        .message()
        .await
        .map(|f| f.and_then(|f| f.link))
        .map(|link| {
            link.map(|link| match link {
                delivery_frame::Link::Attached(attached) => answer_frame::Link::Attached(attached),
                delivery_frame::Link::Refused(refusal) => answer_frame::Link::Refused(refusal),
            })
        });
    self::attached(link)?;
    Ok(Link {
        attached,
        operations: OperationSender(operations),
        answers,
        controls: ControlSender(controls),
        deliveries,
    })
}

/// The frames of a backlog. A client ends its streams in order, never with a status.
fn frames<I: Item>(stream: BacklogStream<I>) -> impl Stream<Item = I::Frame> + Send {
    stream.filter_map(|frame| ready(frame.ok()))
}

/// Links are numbered within the process, which is more than an incarnation needs.
fn next_link() -> LinkNumber {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LinkNumber(LAST.fetch_add(1, Ordering::Relaxed) + 1)
}

/// Reads the first frame of a stream.
fn attached(first: Result<Option<answer_frame::Link>, Status>) -> Result<Attached, LinkError> {
    match first.map_err(|status| LinkError::of_status(&status))? {
        Some(answer_frame::Link::Attached(attached)) => attached.try_into().map_err(LinkError::NotUnderstood),
        Some(answer_frame::Link::Refused(refusal)) => Err(refused(refusal)),
        None => Err(LinkError::ended()),
    }
}

fn refused(refusal: proto::AttachRefusal) -> LinkError {
    refusal
        .try_into()
        .map_or_else(LinkError::NotUnderstood, LinkError::Refused)
}

/// Sends operations. Dropping it ends the stream in order.
pub struct OperationSender(BacklogSender<Operation>);

/// Sends acknowledgements and credits. Dropping it ends the stream in order.
pub struct ControlSender(BacklogSender<DeliveryControl>);

macro_rules! sender {
    ($name:ident, $item:ty) => {
        impl $name {
            /// Takes all of `items`, or none, for the next frame: to be called once at the end of a turn. Never
            /// waits. What is too large for a frame is split where it can be.
            ///
            /// # Errors
            /// [`SendError::Full`]: keep the items and call again after [`Self::send`] or later.
            /// [`SendError::Closed`]: the receiver of this stream says why. [`SendError::TooLarge`]: a fault of the
            /// caller.
            pub fn try_send(&self, items: &mut Vec<$item>) -> Result<(), SendError> {
                self.0.try_send(items)
            }

            /// Like [`Self::try_send`], waiting while too much is in front of it. Cancelled, it has sent nothing.
            ///
            /// # Errors
            /// As [`Self::try_send`], without [`SendError::Full`].
            pub async fn send(&self, items: &mut Vec<$item>) -> Result<(), SendError> {
                self.0.send(items).await
            }

            /// Bytes that wait for the transport.
            #[must_use]
            pub fn waiting_bytes(&self) -> usize {
                self.0.waiting_bytes()
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("waiting_bytes", &self.waiting_bytes())
                    .finish()
            }
        }
    };
}

sender!(OperationSender, Operation);
sender!(ControlSender, DeliveryControl);

/// Receives answers.
#[derive(Debug)]
pub struct AnswerReceiver(Streaming<<Answer as Item>::Frame>);

impl AnswerReceiver {
    /// Waits for the next frame and returns its answers, possibly none. Cancelled, it has lost nothing.
    ///
    /// # Errors
    /// [`LinkError`]: the link has ended, and every further call fails.
    pub async fn recv(&mut self) -> Result<Vec<Answer>, LinkError> {
        let frame = self.0.message().await.map_err(|status| LinkError::of_status(&status))?;
        let frame = frame.ok_or_else(LinkError::ended)?;
        match frame.link {
            None => read_answers(frame.answers).map_err(LinkError::NotUnderstood),
            Some(answer_frame::Link::Refused(refusal)) => Err(refused(refusal)),
            Some(answer_frame::Link::Attached(_)) => Err(attached_again()),
        }
    }
}

fn read_answers(answers: Vec<proto::Answer>) -> Result<Vec<Answer>, WireError> {
    if answers.len() > MAX_LIST_ITEMS {
        return Err(WireError::TooMany {
            field: "AnswerFrame.answers",
            items: answers.len(),
        });
    }
    answers.into_iter().map(TryInto::try_into).collect()
}

/// Receives deliveries.
#[derive(Debug)]
pub struct DeliveryReceiver(Streaming<<NumberedDelivery as Item>::Frame>);

impl DeliveryReceiver {
    /// Waits for the next frame and returns its deliveries, possibly none. Cancelled, it has lost nothing.
    ///
    /// # Errors
    /// [`LinkError`]: the link has ended, and every further call fails.
    pub async fn recv(&mut self) -> Result<Vec<NumberedDelivery>, LinkError> {
        let frame = self.0.message().await.map_err(|status| LinkError::of_status(&status))?;
        let frame = frame.ok_or_else(LinkError::ended)?;
        match frame.link {
            None => crate::convert::deliveries_of(frame.runs).map_err(LinkError::NotUnderstood),
            Some(delivery_frame::Link::Refused(refusal)) => Err(refused(refusal)),
            Some(delivery_frame::Link::Attached(_)) => Err(attached_again()),
        }
    }
}

fn attached_again() -> LinkError {
    LinkError::NotUnderstood(WireError::OutOfOrder("a stream is attached once, at its beginning"))
}
