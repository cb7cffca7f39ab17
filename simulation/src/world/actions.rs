//! What an action does.

use std::net::{Ipv4Addr, SocketAddr};

use freshet_proxy_core::worker::ListenerIndex;

use super::World;
use super::sockets::Socket;
use crate::action::{Action, IDENTITIES, OpenOptions};
use crate::client::{Client, Publication};
use crate::history::{Broken, How};
use crate::violation::Violation;

impl World {
    pub(super) fn act(&mut self, action: &Action) -> Result<(), Violation> {
        match action {
            Action::Open { slot, proxy, options } => self.open(*slot, *proxy, options)?,
            Action::Await { slot } => {
                if let Some(connection) = self.slots.get(*slot).copied().flatten() {
                    self.move_until_answered(connection)?;
                }
            }
            Action::Settle => self.settle()?,
            Action::Pass { ms } => self.pass(*ms)?,
            Action::Cut { proxy, noticed } => self.cut(*proxy, *noticed)?,
            Action::Freeze { proxy } => {
                if let Some(proxy) = self.proxies.get_mut(*proxy) {
                    proxy.is_frozen = true;
                }
                self.history.broke(Broken::Streams { proxy: *proxy });
                self.history.broke(Broken::StreamsBlocked { proxy: *proxy });
            }
            Action::Mend { proxy } => self.mend(*proxy),
            Action::Crash { proxy, noticed } => self.crash(*proxy, *noticed)?,
            Action::RestartStorage => self.restart_storage()?,
            Action::Subscribe { slot, .. }
            | Action::Unsubscribe { slot, .. }
            | Action::Publish { slot, .. }
            | Action::Repeat { slot }
            | Action::Acknowledge { slot, .. }
            | Action::Refuse { slot }
            | Action::StrayRelease { slot }
            | Action::Ping { slot }
            | Action::Deafen { slot, .. }
            | Action::Disconnect { slot, .. }
            | Action::HangUp { slot, .. } => {
                if let Some(connection) = self.slots.get(*slot).copied().flatten() {
                    self.act_as_client(action, connection);
                }
            }
        }
        Ok(())
    }

    fn act_as_client(&mut self, action: &Action, connection: usize) {
        if !self.sockets[connection].is_at_client {
            return;
        }
        let client = &mut self.clients[connection];
        let history = &mut self.history;
        match action {
            Action::Subscribe {
                filters, identifier, ..
            } => client.subscribe(filters, *identifier, history),
            Action::Unsubscribe { filters, .. } => client.unsubscribe(filters, history),
            Action::Publish {
                topic,
                qos,
                retain,
                empty,
                padding,
                expiry_s,
                alias,
                ..
            } => {
                let publication = Publication {
                    topic,
                    qos: *qos,
                    retain: *retain,
                    empty: *empty,
                    padding: *padding,
                    expiry_s: *expiry_s,
                    alias: *alias,
                };
                client.publish(&publication, history);
            }
            Action::Repeat { .. } => client.repeat(history),
            Action::Acknowledge { count, backwards, .. } => client.acknowledge(*count, *backwards),
            Action::Refuse { .. } => client.refuse(),
            Action::StrayRelease { .. } => client.release_stray(history),
            Action::Ping { .. } => client.ping(history),
            Action::Deafen { deaf, .. } => self.sockets[connection].is_deaf = *deaf,
            Action::Disconnect { with_will, .. } if client.disconnect(*with_will) => {
                let how = if *with_will && client.can_ask_for_will() {
                    How::DisconnectWithWill
                } else {
                    How::Disconnect
                };
                self.carry(connection);
                self.close_by_client(connection, how, false);
                return;
            }
            Action::HangUp { lossy, .. } => {
                let how = if *lossy { How::Lost } else { How::HungUp };
                self.close_by_client(connection, how, *lossy);
                return;
            }
            _ => {}
        }
        self.carry(connection);
    }

    fn open(&mut self, slot: usize, proxy: usize, options: &OpenOptions) -> Result<(), Violation> {
        if let Some(former) = self.slots.get(slot).copied().flatten() {
            self.close_by_client(former, How::HungUp, false);
        }
        let proxy = proxy % self.proxies.len();
        let worker = self.random.below(self.proxies[proxy].seats.len());
        let seat = &mut self.proxies[proxy].seats[worker];
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 4_000));
        let accepted = seat.worker.accept(ListenerIndex(0), peer, self.now, &mut seat.actions);
        let Ok(token) = accepted else {
            return Err(Violation::new("a proxy takes connections", format!("{accepted:?}")));
        };
        let former = self.slots.get(slot).copied().flatten();
        let memory = former
            .map(|former| self.clients[former].take_memory())
            .unwrap_or_default();
        let client = Client::open(slot % IDENTITIES, proxy, options, memory, &mut self.history);
        let connection = client.connection;
        self.clients.push(client);
        self.sockets.push(Socket::new(proxy, worker, token));
        self.open.push(connection);
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(connection);
        }
        self.carry(connection);
        self.after_worker(proxy, worker);
        Ok(())
    }

    fn cut(&mut self, number: usize, noticed: bool) -> Result<(), Violation> {
        let Some(proxy) = self.proxies.get_mut(number) else {
            return Ok(());
        };
        proxy.is_cut = true;
        let incarnation = proxy.incarnation;
        self.streams_lost(number);
        self.history.broke(Broken::StreamsBlocked { proxy: number });
        if noticed {
            self.storage
                .core
                .detach_link(incarnation, self.now, &mut self.storage.out);
        }
        self.collect_from_storage()
    }

    pub(super) fn mend(&mut self, number: usize) {
        if let Some(proxy) = self.proxies.get_mut(number)
            && (proxy.is_cut || proxy.is_frozen)
        {
            proxy.is_cut = false;
            proxy.is_frozen = false;
            // Without streams they work when it has attached.
            if proxy.streams.is_some() {
                self.history.broke(Broken::StreamsMended { proxy: number });
            }
        }
    }

    fn crash(&mut self, number: usize, noticed: bool) -> Result<(), Violation> {
        if number >= self.proxies.len() {
            return Ok(());
        }
        let incarnation = self.take_incarnation();
        let successor = self.proxies[number].successor(incarnation);
        let former = std::mem::replace(&mut self.proxies[number], successor);
        self.history.broke(Broken::Proxy { proxy: number });
        for connection in self.open.clone() {
            if self.sockets[connection].proxy == number {
                self.close_by_crash(connection);
            }
        }
        self.forget_sockets();
        if noticed {
            let out = &mut self.storage.out;
            self.storage.core.detach_link(former.incarnation, self.now, out);
        }
        self.collect_from_storage()
    }

    fn restart_storage(&mut self) -> Result<(), Violation> {
        let broken = self.storage.restart(&mut self.random, self.now)?;
        self.history.broke(broken);
        for number in 0..self.proxies.len() {
            self.streams_lost(number);
        }
        Ok(())
    }
}
