//! A set of packet ids that never takes more than a few kilobytes, whatever a client does.

use std::num::NonZeroU16;

/// Packet ids: a short list while they are few, a bit each when they are many.
#[derive(Debug, Default)]
pub(super) struct PacketIds {
    few: Vec<NonZeroU16>,
    /// 65,536 bits.
    many: Option<Box<[u64; WORDS]>>,
    len: usize,
}

const WORDS: usize = 1_024;
/// From here on a list takes longer to search than bits.
const FEW: usize = 64;

impl PacketIds {
    pub(super) fn insert(&mut self, packet_id: NonZeroU16) {
        if self.contains(packet_id) {
            return;
        }
        self.len += 1;
        if self.many.is_none() && self.few.len() < FEW {
            self.few.push(packet_id);
            return;
        }
        let bits = self.many.get_or_insert_with(|| Box::new([0; WORDS]));
        for id in self.few.drain(..).chain([packet_id]) {
            let (word, bit) = place(id);
            if let Some(word) = bits.get_mut(word) {
                *word |= bit;
            }
        }
    }

    /// Returns whether it was there.
    pub(super) fn remove(&mut self, packet_id: NonZeroU16) -> bool {
        if !self.contains(packet_id) {
            return false;
        }
        self.len -= 1;
        self.few.retain(|id| *id != packet_id);
        let (word, bit) = place(packet_id);
        if let Some(word) = self.many.as_mut().and_then(|bits| bits.get_mut(word)) {
            *word &= !bit;
        }
        if self.len == 0 {
            self.many = None;
        }
        true
    }

    pub(super) fn contains(&self, packet_id: NonZeroU16) -> bool {
        let (word, bit) = place(packet_id);
        match &self.many {
            Some(bits) => bits.get(word).is_some_and(|word| word & bit != 0),
            None => self.few.contains(&packet_id),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

fn place(packet_id: NonZeroU16) -> (usize, u64) {
    (usize::from(packet_id.get() / 64), 1 << (packet_id.get() % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    proptest::proptest! {
        #[test]
        fn few_or_many_it_is_a_set(steps in proptest::collection::vec((proptest::bool::ANY, 1_u16..200), 0..500)) {
            let (mut ids, mut model) = (PacketIds::default(), BTreeSet::new());
            for (inserts, id) in steps {
                let id = NonZeroU16::new(id).unwrap();
                if inserts {
                    ids.insert(id);
                    model.insert(id);
                } else {
                    proptest::prop_assert_eq!(ids.remove(id), model.remove(&id));
                }
                proptest::prop_assert_eq!(ids.len(), model.len());
                proptest::prop_assert_eq!(ids.contains(id), model.contains(&id));
            }
        }
    }

    #[test]
    fn all_packet_ids_fit() {
        let mut ids = PacketIds::default();
        for id in 1..=u16::MAX {
            ids.insert(NonZeroU16::new(id).unwrap());
        }
        assert_eq!((ids.len(), ids.contains(NonZeroU16::MAX)), (65_535, true));
    }
}
