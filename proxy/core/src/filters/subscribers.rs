//! The subscribers of one filter: almost always one, sometimes very many.

use hashbrown::HashTable;

use super::Subscriber;

/// Subscribers by slot of their connection.
#[derive(Debug)]
pub(super) enum Subscribers {
    None,
    One(Subscriber),
    Many(Box<HashTable<Subscriber>>),
}

/// Spreads slots, which are small numbers: the table uses the upper bits too.
fn hash(slot: u32) -> u64 {
    u64::from(slot).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Subscribers {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::None => true,
            Self::One(_) => false,
            Self::Many(all) => all.is_empty(),
        }
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Subscriber> {
        match self {
            Self::One(one) if one.slot == slot => Some(one),
            Self::Many(all) => all.find(hash(slot), |s| s.slot == slot),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Subscriber> {
        match self {
            Self::One(one) if one.slot == slot => Some(one),
            Self::Many(all) => all.find_mut(hash(slot), |s| s.slot == slot),
            _ => None,
        }
    }

    /// Adds a subscriber whose slot is not there.
    pub(super) fn insert(&mut self, subscriber: Subscriber) {
        let mut all = match std::mem::replace(self, Self::None) {
            Self::None => {
                *self = Self::One(subscriber);
                return;
            }
            Self::One(one) => {
                let mut all = Box::new(HashTable::with_capacity(2));
                all.insert_unique(hash(one.slot), one, |s: &Subscriber| hash(s.slot));
                all
            }
            Self::Many(all) => all,
        };
        all.insert_unique(hash(subscriber.slot), subscriber, |s| hash(s.slot));
        *self = Self::Many(all);
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Subscriber> {
        match self {
            Self::One(one) if one.slot == slot => {
                let one = *one;
                *self = Self::None;
                Some(one)
            }
            Self::Many(all) => {
                let removed = all.find_entry(hash(slot), |s| s.slot == slot).ok()?.remove().0;
                if let (1, Some(last)) = (all.len(), all.iter().next().copied()) {
                    *self = Self::One(last);
                } else if all.len() * 4 < all.capacity() && all.capacity() > 64 {
                    // A crowd that has left gives its memory back.
                    all.shrink_to(all.len() * 2, |s| hash(s.slot));
                }
                Some(removed)
            }
            _ => None,
        }
    }

    pub(super) fn for_each(&self, mut take: impl FnMut(&Subscriber)) {
        match self {
            Self::None => {}
            Self::One(one) => take(one),
            Self::Many(all) => all.iter().for_each(take),
        }
    }
}

#[cfg(test)]
mod tests {
    use freshet_mqtt::QoS;

    use super::*;

    #[test]
    fn a_crowd_comes_and_goes() {
        let mut subscribers = Subscribers::None;
        for slot in 0..10_000 {
            subscribers.insert(Subscriber::new(slot, slot, QoS::AtMostOnce, false, false));
        }
        for slot in 0..9_999 {
            assert_eq!(subscribers.remove(slot).map(|s| s.identifier), Some(slot));
            assert!(subscribers.get(slot).is_none());
        }
        assert!(matches!(subscribers, Subscribers::One(Subscriber { slot: 9_999, .. })));
        assert!(subscribers.remove(9_999).is_some());
        assert!(subscribers.is_empty());
    }
}
