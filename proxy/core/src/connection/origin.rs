//! Where a connection comes from, as small as it is for most: an IPv4 address needs no memory of its own.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::worker::ListenerIndex;

/// A client's address, and where it connected; kept for as long as its connection lasts.
#[derive(Debug)]
pub(crate) enum Origin {
    V4(SocketAddrV4, ListenerIndex),
    V6(Box<(SocketAddrV6, ListenerIndex)>),
}

impl Origin {
    pub(crate) fn new(peer: SocketAddr, listener: ListenerIndex) -> Self {
        match peer {
            SocketAddr::V4(peer) => Self::V4(peer, listener),
            SocketAddr::V6(peer) => Self::V6(Box::new((peer, listener))),
        }
    }

    /// Address of the client.
    pub(crate) fn peer(&self) -> SocketAddr {
        match self {
            Self::V4(peer, _) => SocketAddr::V4(*peer),
            Self::V6(of) => SocketAddr::V6(of.0),
        }
    }

    /// Where it connected.
    pub(crate) fn listener(&self) -> ListenerIndex {
        match self {
            Self::V4(_, listener) => *listener,
            Self::V6(of) => of.1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_what_it_was() {
        for peer in ["192.0.2.1:1883", "[2001:db8::1%7]:1883", "[::ffff:192.0.2.1]:1"] {
            let peer: SocketAddr = peer.parse().unwrap();
            let origin = Origin::new(peer, ListenerIndex(3));
            assert_eq!((origin.peer(), origin.listener()), (peer, ListenerIndex(3)));
        }
    }
}
