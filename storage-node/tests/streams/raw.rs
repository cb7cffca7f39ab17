//! A stream of frames as bytes: for what the client of proxies would never send.

use std::{fs, path::PathBuf};

use bytes::{Buf, BufMut, Bytes};
use futures::{channel::mpsc, stream::StreamExt};
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Endpoint,
};

use crate::test_node::TestNode;

pub(crate) const OPERATIONS: &str = "/freshet.storage.v1.Storage/Operations";
pub(crate) const DELIVERIES: &str = "/freshet.storage.v1.Storage/Deliveries";

/// A frame of version 1 that was recorded.
pub(crate) fn recorded(name: &str) -> Bytes {
    let path: PathBuf = [
        env!("CARGO_MANIFEST_DIR"),
        "..",
        "storage-api",
        "testdata",
        "v1",
        &format!("{name}.bin"),
    ]
    .iter()
    .collect();
    fs::read(path).unwrap().into()
}

/// One stream on a connection of its own.
pub(crate) struct RawStream {
    frames: mpsc::UnboundedSender<Bytes>,
    received: Streaming<Bytes>,
}

impl RawStream {
    pub(crate) async fn open(node: &TestNode, path: &'static str) -> Self {
        let channel = Endpoint::from_shared(format!("http://{}", node.address))
            .unwrap()
            .connect()
            .await
            .unwrap();
        let mut grpc = Grpc::new(channel);
        grpc.ready().await.unwrap();
        let (frames, stream) = mpsc::unbounded();
        let request = Request::new(stream.map(|frame: Bytes| frame));
        let response = grpc
            .streaming(request, PathAndQuery::from_static(path), BytesCodec)
            .await
            .unwrap();
        Self {
            frames,
            received: response.into_inner(),
        }
    }

    pub(crate) fn send(&self, frame: Bytes) {
        self.frames.unbounded_send(frame).unwrap();
    }

    /// The next frame; an end in order is an error as well.
    pub(crate) async fn recv(&mut self) -> Result<Bytes, Status> {
        self.received
            .message()
            .await?
            .ok_or_else(|| Status::ok("the stream has ended"))
    }
}

struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, frame: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(frame);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
