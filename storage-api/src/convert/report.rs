//! What a proxy reports of itself.

use freshet_storage_contract::ProxyReport;

use crate::proto;

impl From<ProxyReport> for proto::ProxyReport {
    fn from(report: ProxyReport) -> Self {
        Self {
            subscriptions: report.subscriptions,
            connects: report.connects,
            packets_received: report.packets_received,
            packets_sent: report.packets_sent,
            publishes_received: report.publishes_received,
            publishes_sent: report.publishes_sent,
            publishes_dropped: report.publishes_dropped,
            payload_bytes_received: report.payload_bytes_received,
            payload_bytes_sent: report.payload_bytes_sent,
            bytes_received: report.bytes_received,
            bytes_sent: report.bytes_sent,
        }
    }
}

impl From<proto::ProxyReport> for ProxyReport {
    fn from(report: proto::ProxyReport) -> Self {
        Self {
            subscriptions: report.subscriptions,
            connects: report.connects,
            packets_received: report.packets_received,
            packets_sent: report.packets_sent,
            publishes_received: report.publishes_received,
            publishes_sent: report.publishes_sent,
            publishes_dropped: report.publishes_dropped,
            payload_bytes_received: report.payload_bytes_received,
            payload_bytes_sent: report.payload_bytes_sent,
            bytes_received: report.bytes_received,
            bytes_sent: report.bytes_sent,
        }
    }
}
