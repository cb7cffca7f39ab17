//! Stands between a proxy and its node and breaks the connection where a test wants it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

/// A relay for one connection.
pub(crate) struct Relay {
    address: SocketAddr,
    budget: Arc<AtomicI64>,
    running: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn to(node: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let budget = Arc::new(AtomicI64::new(i64::MAX));
        let upstream_budget = budget.clone();
        let running = tokio::spawn(async move {
            let (proxy, _) = listener.accept().await.unwrap();
            let (proxy_read, proxy_write) = proxy.into_split();
            let (node_read, node_write) = TcpStream::connect(node).await.unwrap().into_split();
            let unlimited = AtomicI64::new(i64::MAX);
            tokio::select! {
                () = copy(proxy_read, node_write, &upstream_budget) => {}
                () = copy(node_read, proxy_write, &unlimited) => {}
            }
        });
        Self {
            address,
            budget,
            running,
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets so many more bytes through to the node, then breaks the connection.
    pub(crate) fn break_after(&self, bytes: i64) {
        self.budget.store(bytes, Ordering::SeqCst);
    }

    /// Breaks the connection now.
    pub(crate) fn break_now(self) {
        self.running.abort();
    }

    /// Waits until the connection is broken.
    pub(crate) async fn broken(self) {
        crate::test_node::within(self.running).await.unwrap();
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, budget: &AtomicI64) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        let left = budget.fetch_sub(i64::try_from(read).unwrap(), Ordering::SeqCst);
        let allowed = usize::try_from(left).unwrap_or(0).min(read);
        if to.write_all(&buffer[..allowed]).await.is_err() || allowed < read {
            return;
        }
    }
}
