//! Named places at which a test lets the process die: `FRESHET_FAULT_POINT=name:nth` ends it, as `kill -9` does, when
//! the place is reached for the n-th time. Only in builds with the feature `fault-points`; elsewhere a place costs nothing.

#[cfg(feature = "fault-points")]
pub(super) use self::switched::reach;

/// A place has been reached.
#[cfg(not(feature = "fault-points"))]
pub(super) fn reach(_place: &'static str) {}

#[cfg(feature = "fault-points")]
mod switched {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Place, and how often it may be reached before.
    static CHOSEN: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();

    /// A place has been reached.
    pub(in crate::disk) fn reach(place: &'static str) {
        let Some((chosen, left)) = CHOSEN.get_or_init(read) else {
            return;
        };
        if chosen == place && left.fetch_sub(1, Ordering::Relaxed) == 1 {
            // No destructor, no flush, no farewell.
            std::process::abort();
        }
    }

    fn read() -> Option<(String, AtomicU64)> {
        let value = std::env::var("FRESHET_FAULT_POINT").ok()?;
        let (place, nth) = value.split_once(':').unwrap_or((&value, "1"));
        Some((place.to_owned(), AtomicU64::new(nth.parse().ok()?)))
    }
}
