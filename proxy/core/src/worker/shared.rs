//! What the connections of a worker have in common.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::sync::Arc;

use freshet_config::ProxyConfig;
use freshet_storage_contract::{ClientId, Message, MonotonicMs, Placement};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::attaches::Attaches;
use super::clients::Clients;
use super::leaving::LeavingSessions;
use super::moves::Mover;
use super::publications::{Publication, Publications};
use super::requests::{Reads, RequestTable};
use super::session_updates::SessionUpdates;
use super::settings::WorkerSettings;
use super::shared_subscriptions::{ClosedGroups, Settlements};
use super::token::ConnectionToken;
use crate::authorization::Authorization;
use crate::connection::message::OutMessage;
use crate::connection::spare::Spare;
use crate::exchange::PublishTicket;
use crate::filters::FilterTable;
use crate::round_trips::RoundTrips;
use crate::stats::WorkerStats;
use crate::timers::Timers;

/// Bytes of the outbound bound per retained read that may be under way: several times a chunk.
const OUTBOUND_BYTES_PER_READ: u64 = 1 << 20;

/// State of a worker beside its connections.
pub(crate) struct Shared {
    pub(crate) settings: WorkerSettings,
    /// For connections that come.
    pub(crate) config: Arc<ProxyConfig>,
    /// For all connections.
    pub(crate) authorization: Arc<Authorization>,
    pub(crate) filters: FilterTable,
    pub(crate) clients: Clients,
    pub(crate) timers: Timers,
    publications: Publications,
    pub(crate) requests: RequestTable,
    pub(crate) reads: Reads,
    pub(crate) leaving: LeavingSessions,
    pub(crate) session_updates: SessionUpdates,
    pub(crate) settlements: Settlements,
    pub(crate) closed_groups: ClosedGroups,
    pub(crate) spare: Spare,
    /// None until storage was reached for the first time.
    pub(crate) placement: Option<Arc<Placement>>,
    pub(crate) storage_away: bool,
    /// When it last went away.
    pub(crate) storage_lost_at: Option<MonotonicMs>,
    /// Storage keeps sessions that outlive their connection.
    pub(crate) keeps_sessions: bool,
    /// Storage knows shared subscriptions.
    pub(crate) shares: bool,
    /// Clients are given away.
    pub(crate) mover: Option<Mover>,
    /// Sessions that storage is asked for, and connections whose turn comes later.
    pub(crate) attaches: Attaches,
    /// Connections that are not read until publications have their outcome, oldest first.
    pub(crate) waiting_for_budget: VecDeque<ConnectionToken>,
    /// Connections whose pause is over; each event ends with an empty list.
    pub(crate) to_resume: Vec<ConnectionToken>,
    pub(crate) stats: WorkerStats,
    pub(crate) round_trips: RoundTrips,
    /// From CONNECT to CONNACK, as if it were of QoS 0.
    pub(crate) connacks: RoundTrips,
    /// Since when what is received may have been waiting for this worker.
    pub(crate) arrived_since: Option<MonotonicMs>,
    assigned_client_ids: u64,
}

impl Shared {
    pub(crate) fn new(settings: WorkerSettings, config: Arc<ProxyConfig>) -> Self {
        let keys = settings.random_keys;
        let reads = (settings.outbound_bytes / OUTBOUND_BYTES_PER_READ).clamp(16, 1_024);
        let authorization = Arc::new(Authorization::new(&config.authorization));
        let mut filters = FilterTable::new(keys);
        filters.set_authorization(authorization.clone());
        Self {
            config,
            authorization,
            filters,
            clients: Clients::new(keys),
            timers: Timers::default(),
            publications: Publications::default(),
            requests: RequestTable::new(settings.id),
            // Clamped above.
            reads: Reads::new(u32::try_from(reads).unwrap_or(16)),
            leaving: LeavingSessions::default(),
            session_updates: SessionUpdates::default(),
            settlements: Settlements::default(),
            closed_groups: ClosedGroups::default(),
            spare: Spare::default(),
            placement: None,
            storage_away: true,
            storage_lost_at: None,
            keeps_sessions: false,
            shares: false,
            mover: None,
            attaches: Attaches::default(),
            waiting_for_budget: VecDeque::new(),
            to_resume: Vec::new(),
            stats: WorkerStats::default(),
            round_trips: RoundTrips::default(),
            connacks: RoundTrips::default(),
            arrived_since: None,
            assigned_client_ids: 0,
            settings,
        }
    }

    /// Takes up a changed configuration: what was announced to present connections stays as it was.
    pub(crate) fn reload(&mut self, config: Arc<ProxyConfig>) {
        if config.authorization != self.config.authorization {
            self.authorization = Arc::new(Authorization::new(&config.authorization));
            self.filters.set_authorization(self.authorization.clone());
        }
        self.config = config;
    }

    /// Storage is away from now on.
    pub(crate) fn lose_storage(&mut self, now: MonotonicMs) {
        if !std::mem::replace(&mut self.storage_away, true) {
            self.storage_lost_at = Some(now);
            self.attaches.begin_anew(now);
        }
    }

    /// Takes note of a publication that goes to the link.
    pub(crate) fn add_publication(
        &mut self,
        token: ConnectionToken,
        number: Option<u32>,
        message: &Message,
        now: MonotonicMs,
    ) -> PublishTicket {
        // A packet has at most 256 MiB.
        let bytes = u32::try_from(message.charged_bytes()).unwrap_or(u32::MAX);
        self.stats.publishes_outstanding_now += 1;
        self.stats.publish_bytes_outstanding_now += u64::from(bytes);
        self.publications.insert(Publication {
            token,
            number,
            bytes,
            qos: message.qos,
            since: self.arrived(now),
        })
    }

    /// When a packet that is taken now may have come.
    pub(crate) fn arrived(&self, now: MonotonicMs) -> MonotonicMs {
        self.arrived_since.unwrap_or(now).min(now)
    }

    /// Takes a publication whose outcome is known.
    pub(crate) fn take_publication(&mut self, ticket: PublishTicket, now: MonotonicMs) -> Option<Publication> {
        let publication = self.publications.remove(ticket)?;
        self.round_trips.observe(publication.qos, publication.since, now);
        self.stats.publishes_outstanding_now = self.stats.publishes_outstanding_now.saturating_sub(1);
        let bytes = &mut self.stats.publish_bytes_outstanding_now;
        *bytes = bytes.saturating_sub(u64::from(publication.bytes));
        Some(publication)
    }

    /// Whether no further publication is taken for now.
    pub(crate) fn is_over_publish_budget(&self) -> bool {
        // One is always allowed, or nothing would ever go on.
        let bytes = self.stats.publish_bytes_outstanding_now;
        bytes > 0 && bytes >= self.settings.outstanding_publish_bytes
    }

    /// Whether enough room has come back for publications to be taken again.
    pub(crate) fn has_publish_budget(&self) -> bool {
        self.stats.publish_bytes_outstanding_now <= self.settings.outstanding_publish_bytes / 4 * 3
    }

    /// Bytes of messages that a client with this limit may have queued now.
    pub(crate) fn outbound_limit(&self, own_limit: u32) -> usize {
        self.outbound_share().min(own_limit as usize)
    }

    /// Bytes of messages that no client may have more of queued now, whatever its own limit.
    pub(crate) fn outbound_share(&self) -> usize {
        if self.stats.outbound_bytes_now < self.settings.outbound_bytes {
            return usize::MAX;
        }
        let share = self.settings.outbound_bytes / self.stats.clients_now.max(1);
        usize::try_from(share).unwrap_or(usize::MAX)
    }

    /// A message for clients' queues.
    pub(crate) fn out_message(&self, message: impl Into<Arc<Message>>, now: MonotonicMs) -> OutMessage {
        OutMessage::new(message.into(), self.settings.copies_deliveries, now)
    }

    /// A client id that nobody can guess or has (MQTT-3.2.2-16).
    pub(crate) fn assign_client_id(&mut self) -> ClientId {
        self.assigned_client_ids += 1;
        let (k0, k1) = self.settings.random_keys;
        // Another key than that of the hash tables: these values are shown.
        let mut hasher = SipHasher13::new_with_keys(!k0, !k1);
        hasher.write_u64(self.assigned_client_ids);
        ClientId::from(format!("freshet-{:032x}", hasher.finish128().as_u128()).as_bytes())
    }
}
