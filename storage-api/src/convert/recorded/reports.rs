//! Recorded frames of the feature `reports`.

use freshet_storage_contract::ProxyReport;

use super::*;

fn operations() -> Vec<Operation> {
    vec![
        Operation::Report(ProxyReport::default()),
        Operation::Report(ProxyReport {
            subscriptions: 1,
            connects: 2,
            packets_received: 3,
            packets_sent: 4,
            publishes_received: 5,
            publishes_sent: 6,
            publishes_dropped: 7,
            payload_bytes_received: 8,
            payload_bytes_sent: 9,
            bytes_received: 10,
            bytes_sent: u64::MAX,
        }),
    ]
}

/// The frames by name.
pub(super) fn frames() -> [(&'static str, Vec<u8>); 1] {
    [("report-operations", Operation::frame(operations()).encode_to_vec())]
}

#[test]
fn recorded_reports_mean_what_they_meant() {
    let frame: proto::OperationFrame = recorded("report-operations");
    let read: Result<Vec<Operation>, _> = frame.operations.into_iter().map(TryInto::try_into).collect();
    assert_eq!(read, Ok(operations()));
}
