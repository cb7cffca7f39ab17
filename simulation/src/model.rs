//! The reference model: what every client must be told and may be told.
//!
//! Reads a history and nothing else; shares no code with the server, and is written to be obvious rather than fast.
//! Where the server may choose, because something was under way at the time, the model allows each choice; where it
//! may not, it allows one. A rule is one function, and one line of this list:
//!
//! * [`connections`]: who is let in, who is told what, and who is thrown out;
//! * [`delivery`]: what is sent to whom, at which QoS, with which identifiers, how often;
//! * [`groups`]: shared subscriptions: what goes to one member of each group, and is not lost;
//! * [`order`]: in which order;
//! * [`retained`]: what new subscribers get;
//! * [`takeover`]: a connection that was taken over is served no more;
//! * [`complete`]: what must have arrived when all has come to rest;
//! * [`wills`]: which wills are published.

mod complete;
mod connections;
mod delivery;
mod groups;
mod order;
mod retained;
mod subscriptions;
mod takeover;
mod wills;

use crate::history::History;
use crate::violation::Violation;

/// Judges a history that has come to rest.
///
/// # Errors
/// The first rule that does not hold.
pub fn judge(history: &History) -> Result<(), Violation> {
    connections::judge(history)?;
    takeover::judge(history)?;
    delivery::judge(history)?;
    order::judge(history)?;
    retained::judge(history)?;
    complete::judge(history)?;
    groups::judge(history)?;
    wills::judge(history)
}
