//! Events about clients on the move: a rebalance that begins or ends, a proxy that has handed over or waits again.

use super::Notice;
use crate::plan::{Drain, DrainEnd, ProxyPlan};

/// What to tell of a plan that was carried out.
pub(super) fn moves(notices: &mut Vec<Notice>, plan: &ProxyPlan) {
    if let Some(clients) = plan.rebalances() {
        let note = format!(
            "about {clients} clients move to proxies with fewer; proxies that give some: {}",
            plan.moves.steered.len()
        );
        notices.push(Notice::normal("RebalanceBegun", "Rebalance", note));
    }
    if let Some(ended) = plan.rebalanced() {
        let note = if ended.is_even {
            "the proxies have about as many clients as each other"
        } else {
            "proxies came or went, or it took too long: what is left is looked at anew"
        };
        notices.push(Notice::normal("RebalanceEnded", "Rebalance", note.to_owned()));
    }
    notices.extend(plan.drained().filter_map(drained));
    notices.extend(plan.demoted().map(|drain| {
        let note = format!("proxy {} waits again, for the next that are asked for", drain.pod);
        Notice::normal("ProxyDemoted", "Demote", note).about(&drain.pod)
    }));
}

fn drained(drain: &Drain) -> Option<Notice> {
    let pod = &drain.pod;
    let left = match drain.clients_left {
        Some(left) => left.to_string(),
        None => "an unknown number of".to_owned(),
    };
    let notice = match drain.end? {
        DrainEnd::Drained => Notice::normal(
            "ProxyDrained",
            "Drain",
            format!("proxy {pod} has handed over all clients"),
        ),
        DrainEnd::NoReceiver => Notice::normal(
            "ProxyDrained",
            "Drain",
            format!("proxy {pod} is told to stop with {left} clients: nobody takes them"),
        ),
        end @ (DrainEnd::Deadline | DrainEnd::NoAnswer | DrainEnd::KnowsNoOrders) => {
            let why = match end {
                DrainEnd::Deadline => "drain.timeout is over",
                DrainEnd::NoAnswer => "it does not answer",
                _ => "it is of a release that hands over only when it is told to stop",
            };
            let note = format!("proxy {pod} is told to stop with {left} clients: {why}");
            if end == DrainEnd::Deadline {
                Notice::warning("ProxyDrained", "Drain", note)
            } else {
                Notice::normal("ProxyDrained", "Drain", note)
            }
        }
    };
    Some(notice.about(pod))
}
