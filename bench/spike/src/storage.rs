//! The stream between a worker and the storage process, from the proxy's side; used by both drivers.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

use crate::batch::Batch;
use crate::worker::Worker;

/// The only method of the service.
pub(crate) const EXCHANGE: &str = "/freshet.spike.Storage/Exchange";
/// The service's name in that path.
pub(crate) const SERVICE: &str = "freshet.spike.Storage";
/// HTTP/2 flow control, larger than any batch, in both directions.
pub(crate) const WINDOW_BYTES: u32 = 16 << 20;
/// The largest message: a stalled batch and the turn that stalled it, with room to spare.
pub(crate) const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// Batches that wait for the stream; beyond, turns add to the batch at hand.
const QUEUED_BATCHES: usize = 64;

/// Opens a connection of its own and the stream on it.
///
/// # Errors
/// When storage cannot be reached.
pub(crate) async fn open(storage: SocketAddr) -> anyhow::Result<(mpsc::Sender<Batch>, Streaming<Batch>)> {
    let channel = Endpoint::from_shared(format!("http://{storage}"))?
        .connect_timeout(Duration::from_secs(10))
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .connect()
        .await
        .context("cannot reach the storage process")?;
    let (sender, receiver) = mpsc::channel(QUEUED_BATCHES);
    let mut grpc = tonic::client::Grpc::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    grpc.ready()
        .await
        .context("the storage channel does not become ready")?;
    let request = Request::new(ReceiverStream::new(receiver));
    let codec = ProstCodec::<Batch, Batch>::default();
    let response = grpc
        .streaming(request, PathAndQuery::from_static(EXCHANGE), codec)
        .await?;
    Ok((sender, response.into_inner()))
}

/// Hands the turn's batch to the stream, or leaves it with the worker while the stream's queue is full. Answers to what
/// is queued start the turn that tries again.
///
/// # Errors
/// When the stream is gone.
pub(crate) fn hand_over(worker: &mut Worker, stream: &mpsc::Sender<Batch>) -> anyhow::Result<()> {
    if worker.has_batch() {
        match stream.try_reserve() {
            Ok(permit) => permit.send(worker.take_batch()),
            Err(mpsc::error::TrySendError::Full(())) => {}
            Err(mpsc::error::TrySendError::Closed(())) => anyhow::bail!("the storage stream is gone"),
        }
    }
    Ok(())
}
