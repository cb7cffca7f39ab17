//! The connections of a storage node: bounded, counted, and closed when they say nothing.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Sleep,
};
use tonic::transport::server::Connected;

use crate::limits::{CONNECT_TIMEOUT, MAX_CONNECTIONS};

/// Pause after a failed accept: out of descriptors is not over at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections are open: kept by [`crate::serve`], read by who wants to know.
#[derive(Debug, Clone, Default)]
pub struct ConnectionCount(Arc<AtomicUsize>);

impl ConnectionCount {
    /// Connections that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Accepts connections, at most [`MAX_CONNECTIONS`] at a time.
pub(crate) fn incoming(listener: TcpListener, count: ConnectionCount) -> impl Stream<Item = io::Result<Connection>> {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    stream::unfold((listener, room, count), |(listener, room, count)| async move {
        // Fails only when it is closed, which nobody does.
        let permit = room.clone().acquire_owned().await.ok()?;
        let stream = accept(&listener).await;
        let connection = Connection {
            stream,
            silence: Some(Box::pin(tokio::time::sleep(CONNECT_TIMEOUT))),
            _open: Open::new(count.clone(), permit),
        };
        Some((Ok(connection), (listener, room, count)))
    })
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match stream.set_nodelay(true) {
                Ok(()) => return stream,
                Err(error) => tracing::debug!(%peer, %error, "connection lost while it was accepted"),
            },
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// An accepted connection. One that sends nothing within [`CONNECT_TIMEOUT`] is closed.
pub(crate) struct Connection {
    stream: TcpStream,
    silence: Option<Pin<Box<Sleep>>>,
    _open: Open,
}

/// Counts a connection while it lives.
struct Open {
    count: ConnectionCount,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn new(count: ConnectionCount, permit: OwnedSemaphorePermit) -> Self {
        count.0.fetch_add(1, Ordering::Relaxed);
        Self { count, _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.count.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(result) => {
                self.silence = None;
                Poll::Ready(result)
            }
            Poll::Pending => {
                if let Some(silence) = &mut self.silence {
                    ready!(silence.as_mut().poll(context));
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
