//! Packet ids of what the server has sent and the client has not acknowledged (MQTT 5.0, 4.3 and 4.9).
//!
//! Holds states, not messages: nothing is sent twice on one connection (MQTT-4.4.0-1: only a reconnection asks for it).
//! New ids are 1 to the size of the window, so that an acknowledgement finds its place at once, and are used in turn.
//! Those of an earlier connection keep theirs, whatever the window is now.

use std::num::NonZeroU16;

use freshet_mqtt::QoS;

use crate::planted::planted;

/// What a packet id waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// Nothing; the next free one, if any, as an index.
    Free { next: Option<u16> },
    /// PUBACK.
    Qos1,
    /// PUBREC.
    Qos2,
    /// PUBCOMP.
    Released,
}

/// The window of one client. Most clients of a fleet are never sent anything that they acknowledge: for them it is small.
#[derive(Debug)]
pub(crate) struct Inflight {
    /// There from the first packet id on.
    ids: Option<Box<Ids>>,
    used: u16,
    window: u16,
}

/// The packet ids of a window.
#[derive(Debug, Default)]
struct Ids {
    slots: Vec<Slot>,
    first_free: Option<u16>,
    last_free: Option<u16>,
    /// Ids of an earlier connection that nothing was sent with on this one: the client's window does not know them.
    unsent: Vec<NonZeroU16>,
}

/// What an acknowledgement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// It was waited for; the exchange goes on or has ended.
    Expected,
    /// Nothing has this packet id.
    Unknown,
    /// The packet id waits for another packet.
    OutOfPlace,
}

/// Slots that are kept when nothing is in flight: most devices are sent one message at a time.
const KEPT_SLOTS: usize = 8;

impl Inflight {
    pub(crate) fn new(window: u16) -> Self {
        Self {
            ids: None,
            used: 0,
            window,
        }
    }

    /// Whether another message may be sent (MQTT-3.3.4-9 in the other direction, MQTT-4.9.0-2).
    pub(crate) fn has_room(&self) -> bool {
        self.used < self.window + u16::from(planted!(WindowOfOneMore))
    }

    /// How many packet ids are in use.
    pub(crate) fn used(&self) -> u16 {
        self.used
    }

    /// How many may be.
    pub(crate) fn window(&self) -> u16 {
        self.window
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Takes a packet id that is not in use (MQTT-2.2.1-4). None when the window is full or `qos` needs none.
    pub(crate) fn take(&mut self, qos: QoS) -> Option<NonZeroU16> {
        let slot = match qos {
            QoS::AtMostOnce => return None,
            QoS::AtLeastOnce => Slot::Qos1,
            QoS::ExactlyOnce => Slot::Qos2,
        };
        if !self.has_room() {
            return None;
        }
        let index = self.ids.get_or_insert_default().take(slot)?;
        self.used += 1;
        NonZeroU16::new(index.checked_add(1)?)
    }

    /// A packet id is taken by an exchange of an earlier connection; `is_released`: its PUBREC has arrived.
    pub(crate) fn occupy(&mut self, packet_id: NonZeroU16, qos: QoS, is_released: bool) {
        let slot = match qos {
            _ if is_released => Slot::Released,
            QoS::ExactlyOnce => Slot::Qos2,
            QoS::AtMostOnce | QoS::AtLeastOnce => Slot::Qos1,
        };
        if self.ids.get_or_insert_default().occupy(packet_id, slot) {
            self.used += 1;
        }
    }

    /// Whether a message of an earlier connection may be sent again (MQTT-3.3.4-9): new ones leave room for it.
    pub(crate) fn has_room_for_repetition(&self) -> bool {
        let unsent = self.ids.as_ref().map_or(0, |ids| ids.unsent.len());
        usize::from(self.used) - unsent < usize::from(self.window)
    }

    /// A message of an earlier connection is sent again.
    pub(crate) fn repeat(&mut self, packet_id: NonZeroU16) {
        if let Some(ids) = &mut self.ids {
            ids.unsent.retain(|id| *id != packet_id);
        }
    }

    /// An exchange has ended without the client.
    pub(crate) fn abandon(&mut self, packet_id: NonZeroU16) {
        if !matches!(self.state(packet_id), Slot::Free { .. }) {
            self.free(packet_id);
        }
    }

    /// An exchange of QoS 2 goes on with PUBREL.
    pub(crate) fn release(&mut self, packet_id: NonZeroU16) {
        if let Some(slot @ Slot::Qos2) = self.slot_mut(packet_id) {
            *slot = Slot::Released;
        }
    }

    /// PUBACK has arrived.
    pub(crate) fn puback(&mut self, packet_id: NonZeroU16) -> Acknowledged {
        match self.state(packet_id) {
            Slot::Qos1 => {
                self.free(packet_id);
                Acknowledged::Expected
            }
            Slot::Free { .. } => Acknowledged::Unknown,
            Slot::Qos2 | Slot::Released => Acknowledged::OutOfPlace,
        }
    }

    /// PUBREC has arrived. With an error the exchange has ended (MQTT-4.3.3-4); otherwise PUBREL is due, for a
    /// repeated PUBREC too.
    pub(crate) fn pubrec(&mut self, packet_id: NonZeroU16, is_error: bool) -> Acknowledged {
        match self.state(packet_id) {
            Slot::Qos2 if is_error || planted!(IdFreeAtPubrec) => self.free(packet_id),
            Slot::Qos2 => self.release(packet_id),
            Slot::Released => {}
            Slot::Free { .. } => return Acknowledged::Unknown,
            Slot::Qos1 => return Acknowledged::OutOfPlace,
        }
        Acknowledged::Expected
    }

    /// PUBCOMP has arrived.
    pub(crate) fn pubcomp(&mut self, packet_id: NonZeroU16) -> Acknowledged {
        match self.state(packet_id) {
            Slot::Released => {
                self.free(packet_id);
                Acknowledged::Expected
            }
            Slot::Free { .. } => Acknowledged::Unknown,
            Slot::Qos1 | Slot::Qos2 => Acknowledged::OutOfPlace,
        }
    }

    fn state(&self, packet_id: NonZeroU16) -> Slot {
        let slots = self.ids.as_ref().map_or(&[][..], |ids| &ids.slots);
        slots
            .get(usize::from(packet_id.get() - 1))
            .copied()
            .unwrap_or(Slot::Free { next: None })
    }

    fn slot_mut(&mut self, packet_id: NonZeroU16) -> Option<&mut Slot> {
        self.ids.as_mut()?.slots.get_mut(usize::from(packet_id.get() - 1))
    }

    fn free(&mut self, packet_id: NonZeroU16) {
        let Some(ids) = &mut self.ids else { return };
        self.used -= 1;
        if self.used == 0 && ids.slots.len() > KEPT_SLOTS {
            self.ids = None;
        } else {
            ids.free(packet_id);
        }
    }
}

impl Ids {
    /// Takes the slot that has been free for longest, or a new one.
    fn take(&mut self, slot: Slot) -> Option<u16> {
        let Some(index) = self.first_free else {
            // Below the window, which is a u16.
            let index = u16::try_from(self.slots.len()).ok()?;
            self.slots.push(slot);
            return Some(index);
        };
        let place = self.slots.get_mut(usize::from(index))?;
        let Slot::Free { next } = std::mem::replace(place, slot) else {
            return None;
        };
        self.first_free = next;
        if next.is_none() {
            self.last_free = None;
        }
        Some(index)
    }

    /// Takes a certain slot, for what was not sent yet. False: it is taken.
    fn occupy(&mut self, packet_id: NonZeroU16, slot: Slot) -> bool {
        while self.slots.len() < usize::from(packet_id.get()) {
            let index = self.slots.len();
            self.slots.push(Slot::Free { next: None });
            // At most 65,535 slots.
            self.append_free(u16::try_from(index).unwrap_or(u16::MAX));
        }
        let index = packet_id.get() - 1;
        let is_free = |slot: &Slot| matches!(slot, Slot::Free { .. });
        if !self.slots.get(usize::from(index)).is_some_and(is_free) {
            return false;
        }
        self.unlink_free(index);
        if let Some(place) = self.slots.get_mut(usize::from(index)) {
            *place = slot;
        }
        self.unsent.push(packet_id);
        true
    }

    fn free(&mut self, packet_id: NonZeroU16) {
        if !self.unsent.is_empty() {
            self.unsent.retain(|id| *id != packet_id);
        }
        let index = packet_id.get() - 1;
        if let Some(slot) = self.slots.get_mut(usize::from(index)) {
            *slot = Slot::Free { next: None };
        }
        self.append_free(index);
    }

    /// Takes a slot out of the list of free ones. Only for sessions that come back.
    fn unlink_free(&mut self, index: u16) {
        let mut free = Vec::new();
        let mut next = self.first_free.take();
        while let Some(at) = next {
            next = match self.slots.get(usize::from(at)) {
                Some(Slot::Free { next }) => *next,
                _ => None,
            };
            if at != index {
                free.push(at);
            }
        }
        self.last_free = None;
        for at in free {
            if let Some(slot) = self.slots.get_mut(usize::from(at)) {
                *slot = Slot::Free { next: None };
            }
            self.append_free(at);
        }
    }

    /// Puts a free slot behind the other free ones.
    fn append_free(&mut self, index: u16) {
        let last = self
            .last_free
            .replace(index)
            .and_then(|last| self.slots.get_mut(usize::from(last)));
        match last {
            Some(last) => *last = Slot::Free { next: Some(index) },
            None => self.first_free = Some(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(value: u16) -> NonZeroU16 {
        NonZeroU16::new(value).unwrap()
    }

    #[test]
    #[cfg_attr(false, shows("5.0:4.9.0-1", "5.0:4.9.0-2"))]
    fn the_window_bounds_what_is_in_flight() {
        // MQTT-3.3.4-9
        let mut inflight = Inflight::new(2);
        let first = inflight.take(QoS::AtLeastOnce).unwrap();
        assert!(inflight.take(QoS::ExactlyOnce).is_some());
        assert_eq!(inflight.take(QoS::AtLeastOnce), None);
        assert_eq!(inflight.puback(first), Acknowledged::Expected);
        assert!(inflight.has_room());
    }

    #[test]
    #[cfg_attr(
        false,
        shows("5.0:4.3.2-1", "5.0:4.3.2-3", "5.0:4.3.3-1", "5.0:4.3.3-3", "5.0:4.3.3-5")
    )]
    fn a_packet_id_is_used_again_only_after_its_last_acknowledgement() {
        // MQTT-2.2.1-4
        let mut inflight = Inflight::new(4);
        let ids: Vec<_> = (0..4).filter_map(|_| inflight.take(QoS::ExactlyOnce)).collect();
        assert_eq!(ids, [id(1), id(2), id(3), id(4)]);
        assert_eq!(inflight.pubrec(ids[2], false), Acknowledged::Expected);
        assert_eq!(inflight.take(QoS::ExactlyOnce), None);
        assert_eq!(inflight.pubcomp(ids[2]), Acknowledged::Expected);
        assert_eq!(inflight.take(QoS::AtLeastOnce), Some(ids[2]));
    }

    #[test]
    fn ids_of_an_earlier_connection_stay_taken_even_beyond_the_window() {
        // MQTT-2.2.1-4
        let mut inflight = Inflight::new(3);
        inflight.occupy(id(2), QoS::AtLeastOnce, false);
        inflight.occupy(id(7), QoS::ExactlyOnce, true);
        assert_eq!(inflight.take(QoS::AtLeastOnce), Some(id(1)));
        assert!(!inflight.has_room());
        assert!(inflight.has_room_for_repetition(), "2 has not been sent again");
        inflight.repeat(id(2));
        assert_eq!(inflight.pubcomp(id(7)), Acknowledged::Expected);
        let next = inflight.take(QoS::AtLeastOnce).unwrap();
        assert!(![1, 2].contains(&next.get()), "{next}");
        inflight.abandon(id(2));
        inflight.abandon(id(2));
        assert!(inflight.has_room());
    }

    #[test]
    fn a_negative_pubrec_ends_the_exchange() {
        // MQTT-4.3.3-4
        let mut inflight = Inflight::new(1);
        let packet_id = inflight.take(QoS::ExactlyOnce).unwrap();
        assert_eq!(inflight.pubrec(packet_id, true), Acknowledged::Expected);
        assert!(inflight.is_empty());
    }

    #[test]
    fn acknowledgements_of_nothing_and_of_the_wrong_kind_are_told_apart() {
        let mut inflight = Inflight::new(4);
        assert_eq!(inflight.puback(id(9)), Acknowledged::Unknown);
        let qos1 = inflight.take(QoS::AtLeastOnce).unwrap();
        let qos2 = inflight.take(QoS::ExactlyOnce).unwrap();
        assert_eq!(inflight.pubrec(qos1, false), Acknowledged::OutOfPlace);
        assert_eq!(inflight.puback(qos2), Acknowledged::OutOfPlace);
        assert_eq!(inflight.pubcomp(qos2), Acknowledged::OutOfPlace);
        assert_eq!(inflight.puback(qos1), Acknowledged::Expected);
        assert_eq!(inflight.puback(qos1), Acknowledged::Unknown);
    }

    proptest::proptest! {
        #[test]
        #[cfg_attr(false, shows("5.0:2.2.1-4", "3.1.1:2.3.1-4"))]
        fn no_packet_id_is_in_use_twice(window in 1_u16..40, steps in proptest::collection::vec((0_u8..3, 0_usize..40), 0..300)) {
            let mut inflight = Inflight::new(window);
            let mut used: Vec<(NonZeroU16, QoS, bool)> = Vec::new();
            for (step, at) in steps {
                match step {
                    0 | 1 => {
                        let qos = if step == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
                        match inflight.take(qos) {
                            Some(packet_id) => {
                                proptest::prop_assert!(used.iter().all(|u| u.0 != packet_id));
                                used.push((packet_id, qos, false));
                            }
                            None => proptest::prop_assert_eq!(used.len(), usize::from(window)),
                        }
                    }
                    _ if used.is_empty() => {}
                    _ => {
                        let at = at % used.len();
                        let (packet_id, qos, released) = used[at];
                        let done = match (qos, released) {
                            (QoS::AtLeastOnce, _) => inflight.puback(packet_id),
                            (_, true) => inflight.pubcomp(packet_id),
                            (_, false) => inflight.pubrec(packet_id, false),
                        };
                        proptest::prop_assert_eq!(done, Acknowledged::Expected);
                        if qos == QoS::ExactlyOnce && !released {
                            used[at].2 = true;
                        } else {
                            used.swap_remove(at);
                        }
                    }
                }
                proptest::prop_assert!(used.len() <= usize::from(window));
                proptest::prop_assert_eq!(inflight.is_empty(), used.is_empty());
            }
        }
    }
}
