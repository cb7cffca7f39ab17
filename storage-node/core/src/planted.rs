//! Mistakes that tests can switch on, each a line that somebody could have written, to see that the simulation finds
//! them. Without the feature `planted-faults`, which no program turns on, nothing of this is compiled.

/// Whether a mistake is to be made here.
#[cfg(feature = "planted-faults")]
macro_rules! planted {
    ($fault:ident) => {
        $crate::planted::is_planted($crate::planted::Fault::$fault)
    };
}

/// Whether a mistake is to be made here: never.
#[cfg(not(feature = "planted-faults"))]
macro_rules! planted {
    ($fault:ident) => {
        false
    };
}

pub(crate) use planted;

#[cfg(feature = "planted-faults")]
mod switch {
    use std::cell::Cell;

    /// A mistake.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Fault {
        /// An empty retained message deletes nothing.
        RetainedNeverCleared,
        /// What a proxy sends again after a broken stream is routed again.
        RepeatedPublishRouted,
        /// The end of a connection ends the session that took its place.
        LateDetachEndsSession,
        /// The packet id of a QoS 2 publication stays known after its release.
        ReleaseKeepsRow,
        /// Clean Start finds the session of before.
        CleanStartKeepsSession,
        /// Sessions do not expire.
        SessionExpiryIgnored,
        /// A message that a member of a group gave back is given to nobody else.
        ReturnedMessageForgotten,
        /// A proxy whose members of a group have gone is still given its messages.
        GoneMembersChosen,
    }

    impl Fault {
        /// All of them.
        pub const ALL: &[Self] = &[
            Self::RetainedNeverCleared,
            Self::RepeatedPublishRouted,
            Self::LateDetachEndsSession,
            Self::ReleaseKeepsRow,
            Self::CleanStartKeepsSession,
            Self::SessionExpiryIgnored,
            Self::ReturnedMessageForgotten,
            Self::GoneMembersChosen,
        ];
    }

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// Makes a mistake on this thread from now on, or none.
    pub fn plant(fault: Option<Fault>) {
        PLANTED.set(fault);
    }

    pub(crate) fn is_planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }
}

#[cfg(feature = "planted-faults")]
pub(crate) use self::switch::is_planted;
#[cfg(feature = "planted-faults")]
pub use self::switch::{Fault, plant};
