//! The contract between proxies and storage as it travels between processes: protobuf frames over two HTTP/2 streams.
//!
//! A proxy's shell calls [`connect`] and gets a [`Link`]; a storage node calls [`serve`] with a [`LinkHandler`]. Both
//! speak `freshet_storage_contract` and never see protobuf: what arrives has been checked field by field, and a frame
//! that cannot be understood is refused by name ([`WireError`]). Leaves out every decision about what is said, and the
//! lease, the numbering and the resumption of a link, which belong to the cores of both sides.
//!
//! The encoding is `proto/freshet/storage/v1/storage.proto`; `src/generated/` is written from it by `make generate`.

mod assembly;
mod backlog;
mod batch;
mod client;
mod codec;
mod connections;
mod convert;
mod error;
mod limits;
mod proto;
mod server;

pub use backlog::SendError;
pub use batch::charged_bytes;
pub use client::{
    AnswerReceiver, ConnectError, ControlSender, DeliveryReceiver, Link, LinkError, OperationSender, connect,
};
pub use connections::ConnectionCount;
pub use error::WireError;
pub use freshet_storage_contract as contract;
pub use limits::{
    ANSWER_BACKLOG_BYTES, CONNECT_TIMEOUT, DELIVERY_BACKLOG_BYTES, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT,
    MAX_CONNECTIONS, MAX_FRAME_BYTES, MAX_INTEREST_BYTES, MAX_ITEM_BYTES, OPERATION_BACKLOG_BYTES, TARGET_FRAME_BYTES,
};
pub use server::{
    AnswerSender, AttachRequest, ControlReceiver, DeliverySender, LinkEnd, LinkHandler, LinkNumber, OperationReceiver,
    ReceiveError, serve,
};
