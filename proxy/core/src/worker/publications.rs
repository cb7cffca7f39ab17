//! Publications that the link has and that wait for their outcome.

use freshet_mqtt::QoS;
use freshet_storage_contract::MonotonicMs;

use super::token::ConnectionToken;
use crate::exchange::PublishTicket;

/// Publications by ticket.
#[derive(Debug, Default)]
pub(crate) struct Publications {
    entries: Vec<Entry>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry {
    /// Counts the tickets of this place: an answer that came twice names an old one.
    generation: u32,
    publication: Option<Publication>,
}

/// Who waits for an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Publication {
    pub(crate) token: ConnectionToken,
    /// Of the packet id; none at QoS 0.
    pub(crate) number: Option<u32>,
    pub(crate) bytes: u32,
    pub(crate) qos: QoS,
    /// When it may have come.
    pub(crate) since: MonotonicMs,
}

impl Publications {
    pub(crate) fn insert(&mut self, publication: Publication) -> PublishTicket {
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.entries.push(Entry {
                    generation: 0,
                    publication: None,
                });
                // Each has more than a hundred bytes of the worker's bound behind it.
                u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let Some(entry) = self.entries.get_mut(at as usize) else {
            return PublishTicket(u64::MAX);
        };
        entry.publication = Some(publication);
        PublishTicket(u64::from(entry.generation) << 32 | u64::from(at))
    }

    /// Takes a publication whose outcome is known. None: the ticket was answered before.
    pub(crate) fn remove(&mut self, ticket: PublishTicket) -> Option<Publication> {
        let at = u32::try_from(ticket.0 & u64::from(u32::MAX)).ok()?;
        let entry = self.entries.get_mut(at as usize)?;
        if u64::from(entry.generation) != ticket.0 >> 32 {
            return None;
        }
        let publication = entry.publication.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(at);
        Some(publication)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_answered_once() {
        let mut publications = Publications::default();
        let publication = Publication {
            token: ConnectionToken::from_u64(7),
            number: Some(3),
            bytes: 9,
            qos: QoS::AtLeastOnce,
            since: MonotonicMs(5),
        };
        let first = publications.insert(publication);
        assert_eq!(publications.remove(first), Some(publication));
        let second = publications.insert(publication);
        assert_eq!(publications.remove(first), None);
        assert_eq!(publications.remove(second), Some(publication));
    }
}
