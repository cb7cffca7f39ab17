//! The storage node's end of a link.
//!
//! [`serve`] takes connections, gives each stream to a [`LinkHandler`] as a typed receiver and sender, and closes all
//! of it in order. Pairing the two streams of a link and everything that is said are the handler's.

use std::{future::Future, sync::Arc};

use freshet_storage_contract::{
    Answer, AttachProxy, AttachRefusal, Attached, DeliveryControl, NumberedDelivery, Operation,
};
use thiserror::Error;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::{
    SendError, WireError,
    assembly::Assembly,
    backlog::{BacklogSender, BacklogStream, End, backlog},
    codec::{wire_error, wire_status},
    connections::{ConnectionCount, incoming},
    convert::list,
    limits::{
        ANSWER_BACKLOG_BYTES, CONNECTION_WINDOW_BYTES, DELIVERY_BACKLOG_BYTES, HTTP2_FRAME_BYTES, KEEP_ALIVE_INTERVAL,
        KEEP_ALIVE_TIMEOUT, MAX_FRAME_BYTES, STREAM_WINDOW_BYTES,
    },
    proto::{
        self, answer_frame, delivery_frame,
        storage_server::{Storage, StorageServer},
    },
};

/// Streams that one connection may have open. A link needs two; a successor may overlap with them.
const MAX_STREAMS_PER_CONNECTION: u32 = 8;

/// Names a link within its incarnation; a greater one is younger and ends a smaller one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkNumber(pub u64);

/// First frame of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachRequest {
    /// Who attaches, and where it resumes.
    pub proxy: AttachProxy,
    /// The same on both streams of a link.
    pub link: LinkNumber,
}

/// Takes the streams that proxies open. Called on a runtime's thread, once per stream; must not wait.
pub trait LinkHandler: Send + Sync + 'static {
    /// A stream of operations has been opened.
    fn handle_operations(&self, operations: OperationReceiver, answers: AnswerSender);
    /// A stream of deliveries has been opened.
    fn handle_deliveries(&self, controls: ControlReceiver, deliveries: DeliverySender);
}

/// Why nothing more is received.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReceiveError {
    /// The proxy sent what this version does not understand. To be answered with [`LinkEnd::NotUnderstood`].
    #[error(transparent)]
    NotUnderstood(WireError),
    /// The connection is lost, or the stream was reset.
    #[error("the stream is lost: {0}")]
    Lost(String),
}

impl ReceiveError {
    fn of_status(status: &Status) -> Self {
        match wire_error(status) {
            Some(error) => Self::NotUnderstood(error.clone()),
            None => Self::Lost(status.message().to_owned()),
        }
    }
}

/// How storage ends a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEnd {
    /// The node shuts down: connect again.
    ShuttingDown,
    /// A younger link of the same incarnation has been attached.
    Superseded,
    /// The other stream of the link has ended, or never came.
    Incomplete,
    /// The proxy does not drain this stream.
    NotDrained,
    /// The proxy was or is refused.
    Refused(AttachRefusal),
    /// A frame of the proxy was not understood.
    NotUnderstood(WireError),
    /// The proxy has said what the contract does not allow, in so many words.
    Fault(String),
}

impl LinkEnd {
    fn into_end<F>(self, refused: impl FnOnce(proto::AttachRefusal) -> F) -> End<F> {
        match self {
            Self::ShuttingDown => End::Status(Status::unavailable("the storage node shuts down")),
            Self::Superseded => End::Status(Status::aborted("a younger link of the same incarnation is attached")),
            Self::Incomplete => End::Status(Status::aborted("the other stream of the link is not open")),
            Self::NotDrained => End::Status(Status::resource_exhausted("the stream is not drained")),
            Self::Refused(refusal) => End::Frame(refused(refusal.into())),
            Self::NotUnderstood(WireError::UnknownMember {
                of: "operation",
                number,
            }) => End::Frame(refused(
                AttachRefusal::UnknownOperation {
                    name: number.to_string(),
                }
                .into(),
            )),
            Self::NotUnderstood(error) => End::Status(wire_status(error)),
            Self::Fault(why) => End::Status(Status::failed_precondition(why)),
        }
    }
}

/// Receives operations.
#[derive(Debug)]
pub struct OperationReceiver {
    frames: Streaming<proto::OperationFrame>,
    assembly: Assembly,
}

impl OperationReceiver {
    /// Waits for the first frame.
    ///
    /// # Errors
    /// [`ReceiveError`], also when the stream begins with something else or ends.
    pub async fn attach(&mut self) -> Result<AttachRequest, ReceiveError> {
        let frame = self
            .frames
            .message()
            .await
            .map_err(|status| ReceiveError::of_status(&status))?;
        match frame {
            Some(proto::OperationFrame {
                attach: Some(attach),
                operations,
            }) if operations.is_empty() => attach.try_into().map_err(ReceiveError::NotUnderstood),
            Some(_) => Err(not_attached()),
            None => Err(ReceiveError::Lost("ended before it was attached".to_owned())),
        }
    }

    /// Waits for the next frame; none: the proxy has ended the stream in order. Cancelled, it has lost nothing.
    ///
    /// # Errors
    /// [`ReceiveError`].
    pub async fn recv(&mut self) -> Result<Option<Vec<Operation>>, ReceiveError> {
        let frame = self
            .frames
            .message()
            .await
            .map_err(|status| ReceiveError::of_status(&status))?;
        match frame {
            None => Ok(None),
            Some(proto::OperationFrame {
                attach: None,
                operations,
            }) => self
                .assembly
                .read(operations)
                .map(Some)
                .map_err(ReceiveError::NotUnderstood),
            Some(_) => Err(attached_again()),
        }
    }
}

/// Receives acknowledgements and credits.
#[derive(Debug)]
pub struct ControlReceiver(Streaming<proto::DeliveryControlFrame>);

impl ControlReceiver {
    /// Waits for the first frame.
    ///
    /// # Errors
    /// [`ReceiveError`], also when the stream begins with something else or ends.
    pub async fn attach(&mut self) -> Result<AttachRequest, ReceiveError> {
        let frame = self
            .0
            .message()
            .await
            .map_err(|status| ReceiveError::of_status(&status))?;
        match frame {
            Some(proto::DeliveryControlFrame {
                attach: Some(attach),
                controls,
            }) if controls.is_empty() => attach.try_into().map_err(ReceiveError::NotUnderstood),
            Some(_) => Err(not_attached()),
            None => Err(ReceiveError::Lost("ended before it was attached".to_owned())),
        }
    }

    /// Waits for the next frame; none: the proxy has ended the stream in order. Cancelled, it has lost nothing.
    ///
    /// # Errors
    /// [`ReceiveError`].
    pub async fn recv(&mut self) -> Result<Option<Vec<DeliveryControl>>, ReceiveError> {
        let frame = self
            .0
            .message()
            .await
            .map_err(|status| ReceiveError::of_status(&status))?;
        match frame {
            None => Ok(None),
            Some(proto::DeliveryControlFrame { attach: None, controls }) => {
                list(controls, "DeliveryControlFrame.controls", TryInto::try_into)
                    .map(Some)
                    .map_err(ReceiveError::NotUnderstood)
            }
            Some(_) => Err(attached_again()),
        }
    }
}

fn not_attached() -> ReceiveError {
    ReceiveError::NotUnderstood(WireError::OutOfOrder("a stream begins with an attach and nothing else"))
}

fn attached_again() -> ReceiveError {
    ReceiveError::NotUnderstood(WireError::OutOfOrder("a stream is attached once, at its beginning"))
}

/// Sends answers. Dropped without [`Self::end`], it ends the stream in order.
pub struct AnswerSender(BacklogSender<Answer>);

/// Sends deliveries. Dropped without [`Self::end`], it ends the stream in order.
pub struct DeliverySender(BacklogSender<NumberedDelivery>);

macro_rules! sender {
    ($name:ident, $item:ty, $frame:ident, $link:ident) => {
        impl $name {
            /// Tells the proxy that it is attached. Before anything else, once.
            pub fn attached(&self, attached: Attached) {
                self.0.begin(proto::$frame {
                    link: Some($link::Link::Attached(attached.into())),
                    ..Default::default()
                });
            }

            /// Takes all of `items`, or none, for the next frame: to be called once at the end of a turn. Never
            /// waits.
            ///
            /// # Errors
            /// [`SendError::Full`]: the proxy does not drain the stream, which is to be ended.
            /// [`SendError::Closed`]: the stream has ended. [`SendError::TooLarge`]: a fault of the caller.
            pub fn try_send(&self, items: &mut Vec<$item>) -> Result<(), SendError> {
                self.0.try_send(items)
            }

            /// Bytes that wait for the transport.
            #[must_use]
            pub fn waiting_bytes(&self) -> usize {
                self.0.waiting_bytes()
            }

            /// Whether the stream has ended on the proxy's side.
            #[must_use]
            pub fn is_closed(&self) -> bool {
                self.0.is_closed()
            }

            /// Ends the stream behind what was sent.
            pub fn end(self, end: LinkEnd) {
                let refused = |refusal| proto::$frame {
                    link: Some($link::Link::Refused(refusal)),
                    ..Default::default()
                };
                self.0.finish(end.into_end(refused));
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

sender!(AnswerSender, Answer, AnswerFrame, answer_frame);
sender!(DeliverySender, NumberedDelivery, DeliveryFrame, delivery_frame);

struct Service<H>(Arc<H>);

#[tonic::async_trait]
impl<H: LinkHandler> Storage for Service<H> {
    type OperationsStream = BacklogStream<Answer>;
    type DeliveriesStream = BacklogStream<NumberedDelivery>;

    async fn operations(
        &self,
        request: Request<Streaming<proto::OperationFrame>>,
    ) -> Result<Response<Self::OperationsStream>, Status> {
        let (answers, stream) = backlog(ANSWER_BACKLOG_BYTES);
        let operations = OperationReceiver {
            frames: request.into_inner(),
            assembly: Assembly::default(),
        };
        self.0.handle_operations(operations, AnswerSender(answers));
        Ok(Response::new(stream))
    }

    async fn deliveries(
        &self,
        request: Request<Streaming<proto::DeliveryControlFrame>>,
    ) -> Result<Response<Self::DeliveriesStream>, Status> {
        let (deliveries, stream) = backlog(DELIVERY_BACKLOG_BYTES);
        self.0
            .handle_deliveries(ControlReceiver(request.into_inner()), DeliverySender(deliveries));
        Ok(Response::new(stream))
    }
}

/// Serves links on `listener` until `shutdown` is ready and every stream has ended, which the handler sees to.
///
/// # Errors
/// When the transport fails as a whole; what goes wrong on one connection ends that connection.
pub async fn serve(
    listener: TcpListener,
    handler: Arc<impl LinkHandler>,
    connections: ConnectionCount,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let service = StorageServer::new(Service(handler))
        .max_decoding_message_size(MAX_FRAME_BYTES)
        .max_encoding_message_size(MAX_FRAME_BYTES);
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP2_FRAME_BYTES)
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .serve_with_incoming_shutdown(service, incoming(listener, connections), shutdown)
        .await
}
