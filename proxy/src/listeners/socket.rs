//! A listening socket with the options that its connections inherit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, listen as listen_on, socket_with, sockopt,
};

use super::BindAddress;

/// Connections that wait to be accepted. With the usual 128, thousands of clients that come back at once would wait for
/// their retransmissions.
const BACKLOG: i32 = 4_096;
/// Silence after which the kernel asks whether a peer is still there.
const TCP_KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Opens a non-blocking listener and returns it with its address. Port 0: the system chooses.
pub(super) fn listen(at: BindAddress, port: u16) -> std::io::Result<(OwnedFd, SocketAddr)> {
    let socket = match at {
        BindAddress::One(address) => open(SocketAddr::new(address, port))?,
        BindAddress::All => match open(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)) {
            // The kernel has no IPv6, or it is switched off.
            Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) => {
                open(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port))?
            }
            done => done?,
        },
    };
    let address = getsockname(&socket)?.try_into()?;
    Ok((socket, address))
}

fn open(address: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let socket = socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    // Accepted connections inherit these: no further system call for each.
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, TCP_KEEP_ALIVE)?;
    bind(&socket, &address)?;
    listen_on(&socket, BACKLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_inherit_no_delay_and_keep_alive() {
        let (descriptor, address) = listen(BindAddress::One(IpAddr::V4(Ipv4Addr::LOCALHOST)), 0).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let listener = TcpListener::from(descriptor);
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(sockopt::tcp_nodelay(&accepted).unwrap());
        assert!(sockopt::socket_keepalive(&accepted).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&accepted).unwrap(), TCP_KEEP_ALIVE);
    }

    #[test]
    fn all_addresses_include_those_of_ipv4() {
        let (_listener, address) = listen(BindAddress::All, 0).unwrap();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).is_ok());
    }
}
