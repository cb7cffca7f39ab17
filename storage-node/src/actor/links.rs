//! The links of the node: which streams belong together, and which of them are attached.
//!
//! Called by the actor. A link is two streams with the same incarnation and number; the younger link of an incarnation
//! ends the older one. Leaves out what the streams carry.

use std::{collections::HashMap, time::Duration};

use freshet_storage_api::{AnswerSender, AttachRequest, DeliverySender, LinkEnd, LinkNumber, WireError};
use freshet_storage_contract::{AttachProxy, IncarnationId, MonotonicMs};

use crate::mailbox::{AttachedStream, Half, LinkKey};

/// How long the first stream of a link waits for the second one.
pub(crate) const PAIRING_TIMEOUT: Duration = Duration::from_secs(5);

/// Both streams of a link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) number: LinkNumber,
    pub(crate) proxy_name: String,
    pub(crate) answers: Half<AnswerSender>,
    pub(crate) deliveries: Half<DeliverySender>,
}

impl Link {
    pub(crate) fn end(self, end: LinkEnd) {
        self.answers.sender.end(end.clone());
        self.deliveries.sender.end(end);
    }
}

/// The first stream of a link, waiting for the second one.
#[derive(Debug)]
struct Waiting {
    request: AttachRequest,
    stream: AttachedStream,
    until: MonotonicMs,
}

/// All links.
#[derive(Debug, Default)]
pub(crate) struct Links {
    attached: HashMap<IncarnationId, Link>,
    /// At most one per incarnation; as many as connections and their streams allow.
    waiting: HashMap<IncarnationId, Waiting>,
}

impl Links {
    /// Takes in a stream. Returns the link and what its proxy asks when it is complete; it is not attached yet.
    pub(crate) fn pair(
        &mut self,
        request: AttachRequest,
        stream: AttachedStream,
        now: MonotonicMs,
    ) -> Option<(AttachProxy, Link)> {
        let incarnation = request.proxy.incarnation;
        if self
            .attached
            .get(&incarnation)
            .is_some_and(|link| link.number >= request.link)
        {
            end_stream(stream, LinkEnd::Superseded);
            return None;
        }
        let Some(first) = self.waiting.remove(&incarnation) else {
            self.waiting.insert(
                incarnation,
                Waiting {
                    request,
                    stream,
                    until: now.plus(PAIRING_TIMEOUT),
                },
            );
            return None;
        };
        if first.request.link != request.link {
            // The younger one stays.
            let (younger, older) = if first.request.link > request.link {
                (first, stream)
            } else {
                (
                    Waiting {
                        request,
                        stream,
                        until: now.plus(PAIRING_TIMEOUT),
                    },
                    first.stream,
                )
            };
            end_stream(older, LinkEnd::Superseded);
            self.waiting.insert(incarnation, younger);
            return None;
        }
        match (first.stream, stream) {
            (AttachedStream::Operations(answers), AttachedStream::Deliveries(deliveries))
            | (AttachedStream::Deliveries(deliveries), AttachedStream::Operations(answers))
                if first.request.proxy == request.proxy =>
            {
                let proxy_name = request.proxy.proxy_name.clone();
                Some((
                    request.proxy,
                    Link {
                        number: request.link,
                        proxy_name,
                        answers,
                        deliveries,
                    },
                ))
            }
            (one, other) => {
                let why = WireError::OutOfOrder("a link is one stream of each kind, attached alike");
                end_stream(one, LinkEnd::NotUnderstood(why.clone()));
                end_stream(other, LinkEnd::NotUnderstood(why));
                None
            }
        }
    }

    /// Keeps an attached link; returns the one it takes the place of.
    pub(crate) fn attach(&mut self, incarnation: IncarnationId, link: Link) -> Option<Link> {
        self.attached.insert(incarnation, link)
    }

    /// The attached link of an incarnation.
    pub(crate) fn get(&self, incarnation: IncarnationId) -> Option<&Link> {
        self.attached.get(&incarnation)
    }

    /// Whether `key` names an attached link.
    pub(crate) fn is_attached(&self, key: LinkKey) -> bool {
        self.attached
            .get(&key.incarnation)
            .is_some_and(|link| link.number == key.number)
    }

    /// Takes out the attached link of an incarnation.
    pub(crate) fn remove(&mut self, incarnation: IncarnationId) -> Option<Link> {
        self.attached.remove(&incarnation)
    }

    /// Takes out the link that `key` names, if it is attached.
    pub(crate) fn remove_key(&mut self, key: LinkKey) -> Option<Link> {
        if self.is_attached(key) {
            self.attached.remove(&key.incarnation)
        } else {
            None
        }
    }

    /// Ends the waiting stream that `key` names. Returns whether there was one.
    pub(crate) fn end_waiting(&mut self, key: LinkKey, end: LinkEnd) -> bool {
        if self
            .waiting
            .get(&key.incarnation)
            .is_none_or(|w| w.request.link != key.number)
        {
            return false;
        }
        if let Some(waiting) = self.waiting.remove(&key.incarnation) {
            end_stream(waiting.stream, end);
        }
        true
    }

    /// Ends streams whose other half did not come in time.
    pub(crate) fn end_overdue(&mut self, now: MonotonicMs) {
        let overdue = |waiting: &Waiting| waiting.until <= now;
        if self.waiting.values().any(overdue) {
            for (_, waiting) in self.waiting.extract_if(|_, waiting| overdue(waiting)) {
                end_stream(waiting.stream, LinkEnd::Incomplete);
            }
        }
    }

    /// When [`Self::end_overdue`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<MonotonicMs> {
        self.waiting.values().map(|waiting| waiting.until).min()
    }

    /// Ends everything.
    pub(crate) fn end_all(&mut self, end: &LinkEnd) {
        for (_, waiting) in self.waiting.drain() {
            end_stream(waiting.stream, end.clone());
        }
        for (_, link) in self.attached.drain() {
            link.end(end.clone());
        }
    }
}

fn end_stream(stream: AttachedStream, end: LinkEnd) {
    match stream {
        AttachedStream::Operations(half) => half.sender.end(end),
        AttachedStream::Deliveries(half) => half.sender.end(end),
    }
}
