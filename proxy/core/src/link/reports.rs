//! What storage is told of this proxy for the topics below `$SYS`, along with renewals of the lease.

use freshet_storage_contract::ProxyReport;

use super::Link;

/// What has been counted and what of it has been told.
#[derive(Debug, Default)]
pub(super) struct Reports {
    counted: ProxyReport,
    told: ProxyReport,
    /// Storage understands reports.
    are_understood: bool,
    is_due: bool,
}

impl Reports {
    /// The streams are open.
    pub(super) fn attached(&mut self, are_understood: bool) {
        self.are_understood = are_understood;
        // Storage may have forgotten how things are now.
        self.is_due = true;
    }

    /// The report that is due.
    pub(super) fn next(&mut self) -> Option<ProxyReport> {
        if !self.are_understood || !std::mem::take(&mut self.is_due) {
            return None;
        }
        let told = std::mem::replace(&mut self.told, self.counted);
        Some(self.counted.since(&told))
    }
}

impl Link {
    /// Takes what all workers have counted since the process began.
    pub fn count(&mut self, total: ProxyReport) {
        self.reports.counted = total;
        self.reports.is_due = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(connects: u64) -> ProxyReport {
        ProxyReport {
            subscriptions: 7,
            connects,
            ..ProxyReport::default()
        }
    }

    #[test]
    fn what_was_counted_is_told_once() {
        let mut reports = Reports::default();
        reports.attached(true);
        (reports.counted, reports.is_due) = (total(10), true);
        assert_eq!(reports.next(), Some(total(10)));
        assert_eq!(reports.next(), None);
        (reports.counted, reports.is_due) = (total(12), true);
        assert_eq!(reports.next(), Some(total(2)));
        // Storage has forgotten how many subscriptions there are.
        reports.attached(true);
        assert_eq!(reports.next(), Some(total(0)));
    }

    #[test]
    fn storage_that_does_not_understand_reports_gets_none() {
        let mut reports = Reports::default();
        reports.attached(false);
        assert_eq!(reports.next(), None);
        reports.attached(true);
        assert_eq!(reports.next(), Some(ProxyReport::default()));
    }
}
