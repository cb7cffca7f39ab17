//! Letting time pass.

use std::time::Duration;

/// Lets so much time pass. What this program does to a broker, and when its clients look again, is a matter of time: nothing
/// is taken to be so because time has passed.
#[expect(
    clippy::disallowed_methods,
    reason = "how long a broker is kept from running, and the pace of those who look, are times and no conditions"
)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
