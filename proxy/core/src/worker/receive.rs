//! From bytes to packets: whole packets are taken straight from the read buffer, only an incomplete rest is kept.

use freshet_mqtt::{FixedHeader, MAX_PACKET_BYTES};
use freshet_storage_contract::MonotonicMs;

use super::Worker;
use super::actions::{Actions, Received};
use super::token::ConnectionToken;
use crate::connection::{Connection, Context, Ending, FirstBytes, Pause, Phase, Step, look_at_first_bytes};
use crate::reason::DisconnectReason;

/// Bytes behind a CONNECT that are kept until CONNACK; then the client is not read (MQTT-3.1.4-6 lets it send them).
const HELD_BEFORE_CONNACK_BYTES: usize = 16 << 10;

/// What a pass over bytes came to.
enum Passed {
    /// All whole packets were taken; this many bytes.
    Through(usize),
    /// The packet behind this many bytes has to wait.
    Held(usize, Pause),
    /// The connection is to be ended.
    Ended(Ending),
}

impl Worker {
    /// Takes bytes that a client has sent.
    pub fn receive(&mut self, token: ConnectionToken, bytes: &[u8], now: MonotonicMs, out: &mut Actions) -> Received {
        let Some(connection) = self.connections.get_mut(token) else {
            return Received::Close;
        };
        if connection.phase == Phase::Closing {
            return Received::Close;
        }
        self.shared.stats.bytes_received += bytes.len() as u64;
        let received = if is_held(connection) {
            self.keep(token, bytes, now, out)
        } else if connection.input.is_empty() {
            self.take_all(token, bytes, now, out)
        } else {
            self.complete(token, bytes, now, out)
        };
        self.resume_paused(now, out);
        // A connection may have been resumed by its own bytes, or ended.
        match self.connections.get_mut(token) {
            Some(connection) if connection.phase == Phase::Closing => Received::Close,
            Some(connection) if received == Received::PauseReading && must_not_read(connection) => {
                connection.is_unread = true;
                Received::PauseReading
            }
            Some(_) => Received::Continue,
            None => Received::Close,
        }
    }

    /// Completes the packet whose beginning was kept, then goes on with the rest.
    fn complete(&mut self, token: ConnectionToken, bytes: &[u8], now: MonotonicMs, out: &mut Actions) -> Received {
        let Some(connection) = self.connections.get_mut(token) else {
            return Received::Close;
        };
        let before = connection.input.len();
        let mut rest = bytes;
        let needed = loop {
            match first_packet(connection) {
                Ok(Some(packet_bytes)) => break packet_bytes,
                // The fixed header itself is incomplete: it takes five bytes at most.
                Ok(None) => match rest.split_first() {
                    Some((first, behind)) => {
                        connection.input.extend_from_slice(&[*first]);
                        rest = behind;
                    }
                    None => return self.kept(token, before, now, out),
                },
                Err(ending) => {
                    self.account_input(token, before);
                    return self.end_received(token, ending, now, out);
                }
            }
        };
        let missing = needed.saturating_sub(connection.input.len());
        let (here, behind) = rest.split_at(missing.min(rest.len()));
        connection.input.extend_from_slice(here);
        if here.len() < missing {
            return self.kept(token, before, now, out);
        }
        let packet = connection.input.take();
        self.forget_input(before);
        match self.pass(token, &packet, now, out) {
            Passed::Through(_) => {
                let is_held = self.connections.get(token).is_some_and(is_held);
                if is_held {
                    self.keep(token, behind, now, out)
                } else {
                    self.take_all(token, behind, now, out)
                }
            }
            Passed::Held(taken, pause) => {
                let mut waiting = packet.get(taken..).unwrap_or_default().to_vec();
                waiting.extend_from_slice(behind);
                self.pause(token, pause, &waiting, now, out)
            }
            Passed::Ended(ending) => self.end_received(token, ending, now, out),
        }
    }

    /// Takes the packets of `bytes` and keeps what is left. The connection has no input.
    fn take_all(&mut self, token: ConnectionToken, bytes: &[u8], now: MonotonicMs, out: &mut Actions) -> Received {
        match self.pass(token, bytes, now, out) {
            Passed::Through(taken) => self.keep(token, bytes.get(taken..).unwrap_or_default(), now, out),
            Passed::Held(taken, pause) => self.pause(token, pause, bytes.get(taken..).unwrap_or_default(), now, out),
            Passed::Ended(ending) => self.end_received(token, ending, now, out),
        }
    }

    /// Takes whole packets until there is none or the connection has to wait.
    fn pass(&mut self, token: ConnectionToken, bytes: &[u8], now: MonotonicMs, out: &mut Actions) -> Passed {
        let Some(connection) = self.connections.get_mut(token) else {
            return Passed::Through(bytes.len());
        };
        let mut cx = Context {
            shared: &mut self.shared,
            token,
            now,
            out,
        };
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if is_held(connection) {
                break;
            }
            if connection.phase != Phase::New && connection.leaves_answers_unread() {
                return Passed::Held(at, Pause::Output);
            }
            let header = match next_header(connection, rest) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(ending) => return Passed::Ended(ending),
            };
            let Some(body) = header.body(rest) else { break };
            // Counts from whole packets: a client that sends one byte now and then is not alive (MQTT-3.1.2-22).
            connection.last_received = now;
            match connection.take_packet(header, body, &mut cx) {
                Ok(Step::Next) => {
                    cx.shared.stats.packets_received += 1;
                    at += header.packet_bytes() as usize;
                }
                Ok(Step::Hold(pause)) => return Passed::Held(at, pause),
                Err(ending) => return Passed::Ended(ending),
            }
        }
        Passed::Through(at)
    }

    /// Keeps bytes for later and does not read more for `pause`.
    fn pause(
        &mut self,
        token: ConnectionToken,
        pause: Pause,
        bytes: &[u8],
        now: MonotonicMs,
        out: &mut Actions,
    ) -> Received {
        if let Some(connection) = self.connections.get_mut(token) {
            connection.paused = Some(pause);
            self.shared.stats.reading_paused += 1;
            if pause == Pause::Budget {
                self.shared.waiting_for_budget.push_back(token);
                self.forget_gone();
            }
        }
        self.keep(token, bytes, now, out)
    }

    /// Keeps bytes behind those that are kept.
    fn keep(&mut self, token: ConnectionToken, bytes: &[u8], now: MonotonicMs, out: &mut Actions) -> Received {
        let Some(connection) = self.connections.get_mut(token) else {
            return Received::Close;
        };
        let before = connection.input.len();
        connection.input.extend_from_slice(bytes);
        self.kept(token, before, now, out)
    }

    /// Accounts for kept bytes, `before` of which were accounted for.
    fn kept(&mut self, token: ConnectionToken, before: usize, now: MonotonicMs, out: &mut Actions) -> Received {
        self.account_input(token, before);
        let Some(connection) = self.connections.get(token) else {
            return Received::Close;
        };
        let is_held = must_not_read(connection);
        let is_over = self.shared.stats.input_bytes_now > self.shared.settings.input_bytes;
        if is_over && connection.input.len() > before {
            let ending = match connection.phase {
                Phase::Attaching => connection.refuse(DisconnectReason::ServerBusy),
                // Who has not sent all of its CONNECT is told nothing: its version and the packets it takes are not known.
                _ => DisconnectReason::ServerBusy.into(),
            };
            return self.end_received(token, ending, now, out);
        }
        if is_held {
            Received::PauseReading
        } else {
            Received::Continue
        }
    }

    /// Brings the gauge of kept bytes up to date, which knows of `before` bytes of this connection.
    fn account_input(&mut self, token: ConnectionToken, before: usize) {
        let kept = self.connections.get(token).map_or(0, |c| c.input.len());
        let stats = &mut self.shared.stats;
        stats.input_bytes_now = (stats.input_bytes_now + kept as u64).saturating_sub(before as u64);
    }

    /// Kept bytes are no longer kept.
    pub(super) fn forget_input(&mut self, bytes: usize) {
        let stats = &mut self.shared.stats;
        stats.input_bytes_now = stats.input_bytes_now.saturating_sub(bytes as u64);
    }

    fn end_received(
        &mut self,
        token: ConnectionToken,
        ending: Ending,
        now: MonotonicMs,
        out: &mut Actions,
    ) -> Received {
        self.end(token, ending, now, out);
        Received::Close
    }

    /// Goes on with a connection whose pause is over: first with what was kept, then with its socket.
    pub(super) fn resume(&mut self, token: ConnectionToken, now: MonotonicMs, out: &mut Actions) {
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        if connection.phase == Phase::Closing {
            return;
        }
        if connection.paused.take().is_some_and(|pause| pause != Pause::Output) {
            // The keep-alive stood still.
            connection.last_received = now;
        }
        let kept = connection.input.take();
        self.forget_input(kept.len());
        let received = self.take_all(token, &kept, now, out);
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        if received == Received::Continue && connection.phase != Phase::Closing {
            let mut cx = Context {
                shared: &mut self.shared,
                token,
                now,
                out,
            };
            connection.arm(&mut cx);
            if std::mem::take(&mut connection.is_unread) {
                cx.out.resume_reading.push(token);
            }
        }
    }
}

/// Whether packets have to wait.
fn is_held(connection: &Connection) -> bool {
    connection.paused.is_some() || connection.phase == Phase::Attaching
}

/// Whether the shell is not to read. Behind a CONNECT a few bytes are taken, so that the usual client, which waits for
/// its CONNACK, costs no second read.
fn must_not_read(connection: &Connection) -> bool {
    connection.paused.is_some()
        || (connection.phase == Phase::Attaching && connection.input.len() >= HELD_BEFORE_CONNACK_BYTES)
}

/// The size of the packet that begins the kept input.
fn first_packet(connection: &Connection) -> Result<Option<usize>, Ending> {
    Ok(next_header(connection, &connection.input)?.map(|header| header.packet_bytes() as usize))
}

/// The header of the next packet, checked against the maximum before any of its body is kept.
fn next_header(connection: &Connection, bytes: &[u8]) -> Result<Option<FixedHeader>, Ending> {
    if connection.phase == Phase::New {
        match look_at_first_bytes(bytes) {
            FirstBytes::Connect => {}
            FirstBytes::Undecided => return Ok(None),
            FirstBytes::Other(reason) => return Err(reason.into()),
        }
    }
    let max_packet_bytes = connection
        .cold
        .config
        .client_limits
        .max_packet_bytes
        .min(MAX_PACKET_BYTES);
    FixedHeader::parse(bytes, max_packet_bytes).map_err(Ending::from)
}
