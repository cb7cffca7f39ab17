//! The link to a storage node in another process: two streams, made anew whenever they break.
//!
//! Runs on the first worker's own runtime, so that no batch crosses a thread. Endpoints are tried in turn. A storage
//! node that has forgotten this proxy is attached to as a new incarnation at once; any other refusal is logged as an
//! error and tried again slowly, because only people can mend it.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use freshet_config::ProxyConfig;
use freshet_proxy_core::link::{Link, LinkOutputs};
use freshet_storage_api::{self as api, ConnectError, LinkError, SendError};
use freshet_storage_contract::{AttachRefusal, IncarnationId, MonotonicMs};

use super::backoff::{AFTER_REFUSAL, Backoff};
use super::{StorageLink, StorageLinkStats};
use crate::random::random_u128;

/// Frames of one stream taken in one turn, so that sockets get theirs.
const FRAMES_PER_TURN: usize = 16;
/// Pause before what found a full backlog is offered again.
const CONGESTION_PAUSE: Duration = Duration::from_millis(2);
/// Attempts that fail one after another are logged at most this often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

type Attempt = Pin<Box<dyn Future<Output = Result<api::Link, ConnectError>>>>;

/// Streams to one of the storage nodes.
pub struct StorageStreams {
    endpoints: Vec<String>,
    /// Index of the endpoint that is attached to or tried.
    at: usize,
    state: State,
    backoff: Backoff,
    stats: StorageLinkStats,
    /// When a failed attempt was last logged, and how many came since.
    logged: Option<MonotonicMs>,
    unlogged: u64,
}

enum State {
    Waiting {
        until: MonotonicMs,
    },
    Connecting(Attempt),
    Open {
        streams: Box<api::Link>,
        /// A sender found its stream closed; the receivers say why.
        is_closing: bool,
        /// When what found a full backlog is offered again.
        congested_until: Option<MonotonicMs>,
    },
}

/// Why an attachment has ended.
enum Loss {
    /// A stream has ended.
    Stream(LinkError),
    /// Storage said what the contract does not allow, or the proxy did.
    Fault(String),
}

impl StorageStreams {
    /// Streams to one of `endpoints` (`host:port` each), made as soon as they are polled. `seed` is random.
    #[must_use]
    pub fn new(endpoints: Vec<String>, seed: u64) -> Self {
        Self {
            endpoints,
            at: 0,
            state: State::Waiting { until: MonotonicMs(0) },
            backoff: Backoff::new(seed),
            stats: StorageLinkStats::default(),
            logged: None,
            unlogged: 0,
        }
    }

    fn connect(&mut self, link: &Link, now: MonotonicMs) {
        let Some(endpoint) = self.endpoints.get(self.at) else {
            self.fail(&"no storage endpoint is configured", now);
            return;
        };
        let uri = format!("http://{endpoint}");
        let attach = link.attach_frame();
        self.state = State::Connecting(Box::pin(async move { api::connect(&uri, &attach).await }));
    }

    fn connected(
        &mut self,
        result: Result<api::Link, ConnectError>,
        link: &mut Link,
        out: &mut LinkOutputs,
        now: MonotonicMs,
    ) {
        match result {
            Ok(streams) => {
                if let Err(violation) = link.attached(&streams.attached, now, out) {
                    link.lost(out);
                    self.refused(&violation, now);
                    return;
                }
                let endpoint = self.endpoint();
                tracing::info!(endpoint, shards = streams.attached.shards, "storage is attached");
                self.stats.attaches += 1;
                self.backoff.reset();
                self.logged = None;
                self.state = State::Open {
                    streams: Box::new(streams),
                    is_closing: false,
                    congested_until: None,
                };
            }
            Err(ConnectError::Refused(AttachRefusal::IncarnationGone { .. })) => self.start_incarnation(link, now),
            Err(ConnectError::Refused(refusal)) => self.refused(&refusal, now),
            Err(error @ (ConnectError::NotUnderstood(_) | ConnectError::Endpoint(_))) => self.refused(&error, now),
            Err(error @ ConnectError::Unreachable(_)) => self.fail(&error, now),
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>, link: &mut Link, out: &mut LinkOutputs, now: MonotonicMs) -> bool {
        let State::Open {
            streams, is_closing, ..
        } = &mut self.state
        else {
            return false;
        };
        match receive_frames(cx, streams, link, out) {
            Ok(true) => true,
            Ok(false) if *is_closing => {
                let ended = LinkError::Lost("storage has ended the stream".to_owned());
                self.lost(Loss::Stream(ended), link, out, now);
                true
            }
            Ok(false) => false,
            Err(loss) => {
                self.lost(loss, link, out, now);
                true
            }
        }
    }

    fn lost(&mut self, loss: Loss, link: &mut Link, out: &mut LinkOutputs, now: MonotonicMs) {
        self.stats.losses += 1;
        link.lost(out);
        let endpoint = self.endpoint();
        match loss {
            Loss::Stream(LinkError::Refused(AttachRefusal::IncarnationGone { .. })) => {
                self.start_incarnation(link, now);
            }
            Loss::Stream(LinkError::Refused(refusal)) => self.refused(&refusal, now),
            Loss::Stream(error @ LinkError::NotUnderstood(_)) => self.refused(&error, now),
            Loss::Stream(error @ LinkError::Lost(_)) => {
                tracing::warn!(endpoint, %error, "storage is lost: publishes are held until it is back");
                self.wait(now);
            }
            Loss::Fault(error) => {
                tracing::error!(endpoint, error, "the streams to storage are made anew after a fault");
                self.wait(now);
            }
        }
    }

    /// Storage has forgotten this life of the proxy: clients stay, the link goes on as a new one.
    fn start_incarnation(&mut self, link: &mut Link, now: MonotonicMs) {
        self.stats.incarnations_gone += 1;
        match random_u128() {
            Ok(bits) => {
                let incarnation = IncarnationId(bits);
                tracing::warn!(%incarnation, "storage has forgotten this proxy: it goes on as a new incarnation");
                link.start_incarnation(incarnation);
                self.connect(link, now);
            }
            Err(error) => self.refused(&error, now),
        }
    }

    fn refused(&mut self, why: &dyn std::fmt::Display, now: MonotonicMs) {
        self.stats.refusals += 1;
        let endpoint = self.endpoint();
        tracing::error!(endpoint, error = %why, "storage refuses this proxy");
        let pause = AFTER_REFUSAL / 2 + self.backoff.spread(AFTER_REFUSAL / 2);
        self.next_endpoint();
        self.state = State::Waiting { until: now.plus(pause) };
    }

    fn fail(&mut self, why: &dyn std::fmt::Display, now: MonotonicMs) {
        self.stats.attempts_failed += 1;
        self.unlogged += 1;
        if self.logged.is_none_or(|at| now.since(at) >= LOG_INTERVAL) {
            let (endpoint, attempts) = (self.endpoint(), self.unlogged);
            tracing::warn!(endpoint, attempts, error = %why, "storage is not reached");
            self.logged = Some(now);
            self.unlogged = 0;
        }
        self.next_endpoint();
        self.wait(now);
    }

    fn wait(&mut self, now: MonotonicMs) {
        let pause = self.backoff.next_pause();
        self.state = State::Waiting { until: now.plus(pause) };
    }

    fn endpoint(&self) -> String {
        self.endpoints.get(self.at).cloned().unwrap_or_default()
    }

    fn next_endpoint(&mut self) {
        self.at = (self.at + 1) % self.endpoints.len().max(1);
    }
}

impl StorageLink for StorageStreams {
    fn poll(&mut self, cx: &mut Context<'_>, link: &mut Link, out: &mut LinkOutputs, now: MonotonicMs) -> bool {
        if let State::Waiting { until } = self.state
            && now >= until
        {
            self.connect(link, now);
        }
        match &mut self.state {
            State::Waiting { .. } => false,
            State::Connecting(attempt) => match attempt.as_mut().poll(cx) {
                Poll::Pending => false,
                Poll::Ready(result) => {
                    self.connected(result, link, out, now);
                    // Wakes for the new state: nothing has been asked of the streams, or of the next attempt, yet.
                    cx.waker().wake_by_ref();
                    true
                }
            },
            State::Open { .. } => {
                let received = self.receive(cx, link, out, now);
                if !matches!(self.state, State::Open { .. }) {
                    cx.waker().wake_by_ref();
                }
                received
            }
        }
    }

    fn send(&mut self, link: &mut Link, out: &mut LinkOutputs, now: MonotonicMs) {
        let State::Open {
            streams,
            is_closing,
            congested_until,
        } = &mut self.state
        else {
            return;
        };
        *congested_until = None;
        let mut fault = None;
        for sent in [
            streams.operations.try_send(&mut out.operations),
            streams.controls.try_send(&mut out.controls),
        ] {
            match sent {
                Ok(()) => {}
                Err(SendError::Full { .. }) => *congested_until = Some(now.plus(CONGESTION_PAUSE)),
                Err(SendError::Closed) => *is_closing = true,
                Err(error @ SendError::TooLarge { .. }) => fault = Some(error),
            }
        }
        if let Some(fault) = fault {
            self.lost(Loss::Fault(fault.to_string()), link, out, now);
        }
    }

    fn lease_lost(&mut self, now: MonotonicMs) {
        self.stats.losses += 1;
        tracing::warn!(endpoint = self.endpoint(), "the lease at storage has run out");
        self.wait(now);
    }

    fn next_deadline(&self) -> Option<MonotonicMs> {
        match &self.state {
            State::Waiting { until } => Some(*until),
            State::Connecting(_) => None,
            // A closed stream is looked at in the next turn.
            State::Open { is_closing: true, .. } => Some(MonotonicMs(0)),
            State::Open { congested_until, .. } => *congested_until,
        }
    }

    fn reload(&mut self, config: &ProxyConfig, now: MonotonicMs) {
        if self.endpoints == config.storage_endpoints {
            return;
        }
        let current = self.endpoint();
        self.endpoints.clone_from(&config.storage_endpoints);
        // An attachment whose endpoint is still named stays; any other is made anew.
        match self.endpoints.iter().position(|e| *e == current) {
            Some(at) => self.at = at,
            None => {
                self.at = 0;
                match &mut self.state {
                    State::Open { is_closing, .. } => *is_closing = true,
                    state => *state = State::Waiting { until: now },
                }
            }
        }
    }

    fn stats(&self) -> StorageLinkStats {
        let waiting = match &self.state {
            State::Open { streams, .. } => streams.operations.waiting_bytes() + streams.controls.waiting_bytes(),
            _ => 0,
        };
        StorageLinkStats {
            waiting_bytes_now: waiting as u64,
            ..self.stats
        }
    }
}

/// Gives the link what both streams hold. Answers first: they are what publishers wait for.
fn receive_frames(
    cx: &mut Context<'_>,
    streams: &mut api::Link,
    link: &mut Link,
    out: &mut LinkOutputs,
) -> Result<bool, Loss> {
    let mut received = false;
    let mut pending = (false, false);
    for _ in 0..FRAMES_PER_TURN {
        match pin!(streams.answers.recv()).poll(cx) {
            Poll::Pending => pending.0 = true,
            Poll::Ready(answers) => {
                received = true;
                for answer in answers.map_err(Loss::Stream)? {
                    link.handle_answer(answer, out)
                        .map_err(|violation| Loss::Fault(violation.to_string()))?;
                }
            }
        }
        match pin!(streams.deliveries.recv()).poll(cx) {
            Poll::Pending => pending.1 = true,
            Poll::Ready(deliveries) => {
                received = true;
                for delivery in deliveries.map_err(Loss::Stream)? {
                    link.handle_delivery(delivery, out)
                        .map_err(|violation| Loss::Fault(violation.to_string()))?;
                }
            }
        }
        if pending == (true, true) {
            return Ok(received);
        }
        pending = (false, false);
    }
    // Neither stream has said that it is empty, so neither will wake the worker.
    cx.waker().wake_by_ref();
    Ok(received)
}
