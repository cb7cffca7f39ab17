//! Named places at which a test lets the process die: `FRESHET_FAULT_POINT=NAME:N` ends it, as `kill -9` does, when the
//! place is reached for the Nth time. Only with the feature `planted-faults`, which no product turns on; elsewhere a place
//! costs nothing. The places of this crate are those between two steps on the disk; a program has more, and uses
//! [`reach`] as well.

#[cfg(feature = "planted-faults")]
pub use self::switched::{PLACES, reach};

/// A place has been reached.
#[cfg(not(feature = "planted-faults"))]
pub fn reach(_place: &'static str) {}

#[cfg(feature = "planted-faults")]
mod switched {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Place and count, as in `before_write:3`.
    const CHOICE: &str = "FRESHET_FAULT_POINT";

    /// The places of this crate.
    pub const PLACES: [&str; 17] = [
        "log_opened",
        "before_write",
        "after_write",
        "after_flush",
        "reported",
        "segment_header_flushed",
        "segment_renamed",
        "segment_begun",
        "segment_covered",
        "segment_recycled",
        "segment_removed",
        "rows_written",
        "manifest_written",
        "manifest_flushed",
        "manifest_renamed",
        "old_rows_useless",
        "old_rows_removed",
    ];

    /// Place, and how often it may be reached before.
    static CHOSEN: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();

    /// A place has been reached.
    pub fn reach(place: &'static str) {
        let Some((chosen, left)) = CHOSEN.get_or_init(read) else {
            return;
        };
        if chosen == place && left.fetch_sub(1, Ordering::Relaxed) == 1 {
            // No destructor, no flush, no farewell.
            std::process::abort();
        }
    }

    fn read() -> Option<(String, AtomicU64)> {
        let value = std::env::var(CHOICE).ok()?;
        let (place, nth) = value.split_once(':').unwrap_or((&value, "1"));
        Some((place.to_owned(), AtomicU64::new(nth.parse().ok()?)))
    }
}
