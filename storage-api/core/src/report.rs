//! What a proxy tells storage about itself, for the topics below `$SYS`.

/// Feature of links that carry [`crate::Operation::Report`].
pub const REPORTS_FEATURE: &str = "reports";

/// What a proxy has done since its last report, and what it has now. A report that is lost with its stream is missing
/// from the sums: they are for people to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProxyReport {
    /// Subscriptions of its clients, now.
    pub subscriptions: u64,
    /// CONNECTs accepted.
    pub connects: u64,
    /// Packets received.
    pub packets_received: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// PUBLISH packets received.
    pub publishes_received: u64,
    /// PUBLISH packets sent.
    pub publishes_sent: u64,
    /// Messages dropped on their way from or to clients.
    pub publishes_dropped: u64,
    /// Bytes of payloads received.
    pub payload_bytes_received: u64,
    /// Bytes of payloads sent.
    pub payload_bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
}

impl ProxyReport {
    /// What came since `earlier`; what there is now stays what it is.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.combine(earlier, u64::saturating_sub, |now, _| now)
    }

    /// Both together, over proxies or over time; what `later` has now replaces what there was.
    #[must_use]
    pub fn followed_by(&self, later: &Self) -> Self {
        self.combine(later, u64::saturating_add, |_, now| now)
    }

    /// Both together, of two parts of a proxy.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.combine(other, u64::saturating_add, u64::saturating_add)
    }

    fn combine(&self, other: &Self, count: fn(u64, u64) -> u64, gauge: fn(u64, u64) -> u64) -> Self {
        Self {
            subscriptions: gauge(self.subscriptions, other.subscriptions),
            connects: count(self.connects, other.connects),
            packets_received: count(self.packets_received, other.packets_received),
            packets_sent: count(self.packets_sent, other.packets_sent),
            publishes_received: count(self.publishes_received, other.publishes_received),
            publishes_sent: count(self.publishes_sent, other.publishes_sent),
            publishes_dropped: count(self.publishes_dropped, other.publishes_dropped),
            payload_bytes_received: count(self.payload_bytes_received, other.payload_bytes_received),
            payload_bytes_sent: count(self.payload_bytes_sent, other.payload_bytes_sent),
            bytes_received: count(self.bytes_received, other.bytes_received),
            bytes_sent: count(self.bytes_sent, other.bytes_sent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_counted_once_and_what_there_is_is_not_added_up() {
        let report = |subscriptions, connects, bytes_sent| ProxyReport {
            subscriptions,
            connects,
            bytes_sent,
            ..ProxyReport::default()
        };
        let (before, after) = (report(5, 10, 1_000), report(3, 12, 1_500));
        assert_eq!(after.since(&before), report(3, 2, 500));
        assert_eq!(before.followed_by(&after.since(&before)), after);
        assert_eq!(before.plus(&after), report(8, 22, 2_500));
    }
}
