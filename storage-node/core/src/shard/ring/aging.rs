//! What has waited in a ring as it leaves: less of its expiry interval remains.

use std::sync::Arc;
use std::time::Duration;

use freshet_storage_contract::{Delivery, Message};

/// The answer after it has waited here.
pub(super) fn aged_answer(delivery: &Delivery, waited: Duration) -> Delivery {
    let mut delivery = delivery.clone();
    match &mut delivery {
        Delivery::Retained { messages, .. } => messages.iter_mut().for_each(|m| age(&mut m.message, waited)),
        Delivery::Pulled { messages, .. } => messages.iter_mut().for_each(|m| age(&mut m.message, waited)),
        Delivery::Fetched { messages, .. } => messages.iter_mut().for_each(|m| age(&mut m.message, waited)),
        Delivery::Shared(shared) => shared.message = aged(Arc::clone(&shared.message), waited),
        Delivery::Message { .. } | Delivery::Marker { .. } | Delivery::Overrun { .. } | Delivery::Started { .. } => {}
    }
    delivery
}

/// The message after it has waited here: less of its expiry interval remains (MQTT 5.0, 3.3.2.3.3). One whose interval
/// has passed keeps its number and says so with 0.
pub(super) fn aged(mut message: Arc<Message>, waited: Duration) -> Arc<Message> {
    if message.message_expiry_interval_s.is_some() && waited.as_secs() > 0 {
        age(Arc::make_mut(&mut message), waited);
    }
    message
}

fn age(message: &mut Message, waited: Duration) {
    if let Some(remaining_s) = &mut message.message_expiry_interval_s {
        *remaining_s = remaining_s.saturating_sub(u32::try_from(waited.as_secs()).unwrap_or(u32::MAX));
    }
}
