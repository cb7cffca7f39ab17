//! The floor: a program that does a broker's system calls and next to nothing else.
//!
//! One thread, one epoll set; a read for each socket that has something, a write for each that something is for, once a
//! turn. Topics are matched literally in one table, packet ids are chosen without a look at what is under way, and
//! nothing is remembered of a message: no sessions, no limits, no order but that of arrival. What a broker costs above
//! it is what being one costs.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};

use freshet_bench_load::wire::{self, Packet};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send, sockopt};

const LISTENER: u64 = u64::MAX;

#[derive(Debug)]
struct Peer {
    socket: OwnedFd,
    unparsed: Vec<u8>,
    unsent: Vec<u8>,
    last_packet_id: u16,
    is_dirty: bool,
}

#[derive(Debug, Default)]
struct Floor {
    peers: Vec<Option<Peer>>,
    subscribers: HashMap<Vec<u8>, Vec<(usize, u8)>>,
    dirty: Vec<usize>,
}

/// Serves on a port of the system's choice, which it prints, until it is killed.
///
/// # Errors
/// When the system refuses what cannot be done without.
pub(crate) fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // The standard library's backlog is too short for a storm.
    rustix::net::listen(&listener, 4_096)?;
    listener.set_nonblocking(true)?;
    println!("mqtt://{}", listener.local_addr()?);

    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let events_in = epoll::EventFlags::IN;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), events_in)?;
    let mut floor = Floor::default();
    let (mut events, mut buffer) = (Vec::with_capacity(256), vec![0; 64 << 10]);
    loop {
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let data = event.data;
            if data.u64() == LISTENER {
                floor.accept_all(&listener, &epoll)?;
            } else if let Ok(slot) = usize::try_from(data.u64()) {
                floor.read(slot, &mut buffer);
            }
        }
        floor.write_dirty();
    }
}

impl Floor {
    fn accept_all(&mut self, listener: &TcpListener, epoll: &OwnedFd) -> anyhow::Result<()> {
        loop {
            let socket = match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            sockopt::set_tcp_nodelay(&socket, true)?;
            // A slot is not used again: the process ends with the measurement.
            let slot = self.peers.len();
            let events = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(epoll, &socket, epoll::EventData::new_u64(u64::try_from(slot)?), events)?;
            let peer = Peer {
                socket,
                unparsed: Vec::new(),
                unsent: Vec::new(),
                last_packet_id: 0,
                is_dirty: false,
            };
            self.peers.push(Some(peer));
        }
    }

    fn read(&mut self, slot: usize, buffer: &mut [u8]) {
        self.mark(slot);
        loop {
            let Some(peer) = self.peers.get_mut(slot).and_then(Option::as_mut) else {
                return;
            };
            let kept = peer.unparsed.len();
            let room = buffer.len() - kept;
            let count = match recv(&peer.socket, &mut buffer[kept..], RecvFlags::empty()) {
                Ok((0, _)) => return self.forget(slot),
                Ok((count, _)) => count,
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(_) => return self.forget(slot),
            };
            buffer[..kept].copy_from_slice(&peer.unparsed);
            peer.unparsed.clear();
            let mut rest = &buffer[..kept + count];
            loop {
                match wire::decode(rest) {
                    Ok(Some((packet, size))) => {
                        self.take(slot, &packet);
                        rest = &rest[size..];
                    }
                    Ok(None) => break,
                    Err(_) => return self.forget(slot),
                }
            }
            if let Some(peer) = &mut self.peers[slot] {
                peer.unparsed.extend_from_slice(rest);
            }
            if count < room {
                return;
            }
        }
    }

    fn take(&mut self, slot: usize, packet: &Packet<'_>) {
        let Some(peer) = self.peers.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        let out = &mut peer.unsent;
        match *packet {
            Packet::Connect => out.extend_from_slice(&wire::CONNACK),
            Packet::PingReq => out.extend_from_slice(&wire::PINGRESP),
            Packet::Subscribe { packet_id, filter, qos } => {
                wire::encode_suback(out, packet_id, qos);
                self.subscribers.entry(filter.to_vec()).or_default().push((slot, qos));
            }
            Packet::PubRec { packet_id } => wire::encode_pubrel(out, packet_id),
            Packet::PubRel { packet_id } => wire::encode_pubcomp(out, packet_id),
            Packet::Publish {
                topic,
                qos,
                packet_id,
                payload,
            } => {
                match qos {
                    0 => {}
                    1 => wire::encode_puback(out, packet_id),
                    _ => wire::encode_pubrec(out, packet_id),
                }
                self.publish(topic, qos, payload);
            }
            _ => {}
        }
    }

    fn publish(&mut self, topic: &[u8], qos: u8, payload: &[u8]) {
        let Some(subscribers) = self.subscribers.get(topic) else {
            return;
        };
        for &(slot, granted) in subscribers {
            let Some(peer) = self.peers.get_mut(slot).and_then(Option::as_mut) else {
                continue;
            };
            peer.last_packet_id = peer.last_packet_id % u16::MAX + 1;
            wire::encode_publish(&mut peer.unsent, topic, qos.min(granted), peer.last_packet_id, payload);
            if !std::mem::replace(&mut peer.is_dirty, true) {
                self.dirty.push(slot);
            }
        }
    }

    fn mark(&mut self, slot: usize) {
        if let Some(peer) = self.peers.get_mut(slot).and_then(Option::as_mut)
            && !std::mem::replace(&mut peer.is_dirty, true)
        {
            self.dirty.push(slot);
        }
    }

    fn write_dirty(&mut self) {
        for slot in std::mem::take(&mut self.dirty) {
            let Some(peer) = self.peers.get_mut(slot).and_then(Option::as_mut) else {
                continue;
            };
            peer.is_dirty = false;
            if peer.unsent.is_empty() {
                continue;
            }
            match send(&peer.socket, &peer.unsent, SendFlags::NOSIGNAL) {
                // The rest goes when the socket takes more, which is an event.
                Ok(count) => drop(peer.unsent.drain(..count)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.forget(slot),
            }
        }
    }

    fn forget(&mut self, slot: usize) {
        if let Some(peer) = self.peers.get_mut(slot) {
            *peer = None;
        }
    }
}
