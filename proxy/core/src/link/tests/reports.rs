//! When the link tells storage what the proxy has done.

use freshet_storage_contract::{Feature, ProxyReport, REPORTS_FEATURE};

use super::*;

fn total(connects: u64) -> ProxyReport {
    ProxyReport {
        subscriptions: 7,
        connects,
        ..ProxyReport::default()
    }
}

#[test]
fn a_report_leaves_once_with_the_next_renewal_of_the_lease() {
    let (mut link, mut out) = link();
    let attached = Attached {
        features: vec![Feature(REPORTS_FEATURE.to_owned())],
        ..welcome(T1, 0, 0)
    };
    let mut now = MonotonicMs(0);
    link.attached(&attached, now, &mut out).unwrap();
    link.flush(&mut out);
    out.operations.clear();
    for (counted, told) in [(3, 3), (5, 2), (5, 0)] {
        link.count(total(counted));
        let mut sent = Vec::new();
        for _ in 0..2 {
            now = now.plus(Duration::from_secs(3));
            link.tick(now, &mut out);
            link.flush(&mut out);
            sent.append(&mut out.operations);
            link.handle_answer(Answer::LeaseRenewed, &mut out).unwrap();
        }
        let report = Operation::Report(total(told));
        assert_eq!(sent, [report, Operation::RenewLease, Operation::RenewLease]);
    }
}
