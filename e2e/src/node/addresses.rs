//! The addresses of an instance, from the slot it holds on this machine.
//!
//! Each slot has ranges of its own, so that the machine can reach the nodes, pods and Services of several instances.

use std::net::Ipv4Addr;

/// Slots that a machine has, which bounds how many instances run beside each other.
pub const SLOTS: u8 = 16;
/// Nodes that an instance may have; bounded by the ranges below.
pub const MAX_NODES: u8 = 9;

/// Where the API server listens on the first node.
pub const API_SERVER_PORT: u16 = 6443;

/// The addresses of one slot. Nodes are numbered from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    slot: u8,
}

impl Addresses {
    /// Returns the addresses of a slot, which is below [`SLOTS`].
    #[must_use]
    pub fn of_slot(slot: u8) -> Self {
        debug_assert!(slot < SLOTS);
        Self { slot }
    }

    /// The second octet of everything that runs inside the cluster.
    fn inner(self) -> u8 {
        100 + self.slot
    }

    /// The range that nodes and the machine share.
    #[must_use]
    pub fn nodes(self) -> String {
        format!("172.30.{}.0/24", self.slot)
    }

    /// The machine's own address in the range of the nodes.
    #[must_use]
    pub fn host(self) -> Ipv4Addr {
        Ipv4Addr::new(172, 30, self.slot, 254)
    }

    /// The address of a node.
    #[must_use]
    pub fn node(self, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(172, 30, self.slot, number)
    }

    /// The range of all pods.
    #[must_use]
    pub fn pods(self) -> String {
        format!("10.{}.0.0/17", self.inner())
    }

    /// The range of the pods of one node.
    #[must_use]
    pub fn pods_of_node(self, number: u8) -> String {
        format!("10.{}.{number}.0/24", self.inner())
    }

    /// The range of Services.
    #[must_use]
    pub fn services(self) -> String {
        format!("10.{}.128.0/17", self.inner())
    }

    /// The Service `kubernetes`: always the first address of the range.
    #[must_use]
    pub fn api_service(self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.inner(), 128, 1)
    }

    /// The Service of the cluster's DNS.
    #[must_use]
    pub fn dns_service(self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.inner(), 128, 10)
    }

    /// The API server, as the nodes and the machine reach it.
    #[must_use]
    pub fn api_server_url(self) -> String {
        format!("https://{}:{API_SERVER_PORT}", self.node(1))
    }

    /// Tells whether a route or address of the machine, as `ip` writes it, lies in this slot's ranges.
    #[must_use]
    pub fn overlaps(self, destination: &str) -> bool {
        let Some((address, prefix)) = parse_range(destination) else {
            return false;
        };
        [
            (u32::from(Ipv4Addr::new(172, 30, self.slot, 0)), 24),
            (u32::from(Ipv4Addr::new(10, self.inner(), 0, 0)), 16),
        ]
        .into_iter()
        .any(|(own, own_prefix)| {
            let shared: u32 = std::cmp::min(prefix, own_prefix);
            let mask = u32::MAX.checked_shl(32 - shared).unwrap_or(0);
            own & mask == address & mask
        })
    }
}

/// Reads `10.1.0.0/16` or `10.1.2.3`; anything else, `default` among it, is no range that could overlap.
fn parse_range(text: &str) -> Option<(u32, u32)> {
    let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
    let prefix: u32 = prefix.parse().ok().filter(|prefix| (1..=32).contains(prefix))?;
    Some((u32::from(address.parse::<Ipv4Addr>().ok()?), prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_share_no_range() {
        for slot in 0..SLOTS {
            for other in (0..SLOTS).filter(|other| *other != slot) {
                let (own, other) = (Addresses::of_slot(slot), Addresses::of_slot(other));
                for range in [other.nodes(), other.pods(), other.services()] {
                    assert!(!own.overlaps(&range), "slot {slot} and {range}");
                }
            }
        }
    }

    #[test]
    fn a_wider_route_of_the_machine_overlaps() {
        let addresses = Addresses::of_slot(0);
        assert!(addresses.overlaps("172.16.0.0/12"));
        assert!(addresses.overlaps("10.100.4.0/24"));
        assert!(addresses.overlaps("172.30.0.9"));
        assert!(!addresses.overlaps("192.168.0.0/16"));
        assert!(!addresses.overlaps("172.17.0.0/16"));
    }

    #[test]
    fn the_default_route_overlaps_nothing() {
        assert!(!Addresses::of_slot(0).overlaps("default"));
        assert!(!Addresses::of_slot(0).overlaps("0.0.0.0/0"));
    }

    #[test]
    fn pods_of_every_node_lie_in_the_range_of_pods_and_below_the_services() {
        let addresses = Addresses::of_slot(3);
        for number in 1..=MAX_NODES {
            assert!(addresses.overlaps(&addresses.pods_of_node(number)));
        }
        assert_eq!(addresses.pods(), "10.103.0.0/17");
        assert_eq!(addresses.services(), "10.103.128.0/17");
    }
}
