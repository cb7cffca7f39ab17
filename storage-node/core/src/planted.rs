//! Mistakes that tests can switch on, each a line that somebody could have written, to see that the simulation and the
//! history checker find them; and the steps between which a process can be ended. Without the feature `planted-faults`,
//! which no product turns on, nothing of this is compiled.

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

/// Says that a step has been made.
#[cfg(feature = "planted-faults")]
macro_rules! reached {
    ($step:ident) => {
        $crate::planted::reach($crate::planted::Step::$step)
    };
}

/// Says nothing.
#[cfg(not(feature = "planted-faults"))]
macro_rules! reached {
    ($step:ident) => {};
}

pub(crate) use {planted, reached};

#[cfg(feature = "planted-faults")]
mod switch {
    use std::cell::Cell;
    use std::sync::OnceLock;

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
        /// A proxy whose filters come after the recovery hold is not told what it missed.
        LateInterestUntold,
        /// Publishers are answered without a proxy before the log knows: the next leader does not tell it what it missed.
        PassedUnnoted,
        /// What was queued is sent with its whole expiry interval.
        ExpiryNotReduced,
        /// A message that a member of a group gave back is given to nobody else.
        ReturnedMessageForgotten,
        /// A proxy whose members of a group have gone is still given its messages.
        GoneMembersChosen,
        /// A publication is acknowledged before it is flushed.
        AcknowledgedUnflushed,
        /// A change of a session is confirmed before it is flushed: PUBLISH of QoS 2 leaves before its packet id is safe.
        UpdateConfirmedUnflushed,
        /// A release is confirmed before it is flushed: PUBCOMP leaves before the packet id can be used again.
        ReleaseConfirmedUnflushed,
        /// What a session has done with is not written down.
        CursorNotWritten,
        /// The number that a proxy gave a publication is not noted: what it sends again is routed again.
        NumberNotNoted,
        /// A log that goes on is an hour later than its last entry says.
        ClockJumpsAtStart,
        /// Behind a start a client is let in before all proxies had time to name theirs.
        LetInUnnamed,
        /// What is queued goes from memory before the checkpoint that has it is safe.
        ContentGivenUpUnsafe,
        /// The row of a message of a group that a session has taken goes with its last queue, though only it has the
        /// content.
        HeldRowDropped,
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
            Self::LateInterestUntold,
            Self::PassedUnnoted,
            Self::ExpiryNotReduced,
            Self::ReturnedMessageForgotten,
            Self::GoneMembersChosen,
            Self::AcknowledgedUnflushed,
            Self::UpdateConfirmedUnflushed,
            Self::ReleaseConfirmedUnflushed,
            Self::CursorNotWritten,
            Self::NumberNotNoted,
            Self::ClockJumpsAtStart,
            Self::LetInUnnamed,
            Self::ContentGivenUpUnsafe,
            Self::HeldRowDropped,
        ];

        /// Whether it shows only where a node has a disk, or far sooner there.
        #[must_use]
        pub fn needs_disk(self) -> bool {
            matches!(
                self,
                Self::PassedUnnoted
                    | Self::AcknowledgedUnflushed
                    | Self::UpdateConfirmedUnflushed
                    | Self::ReleaseConfirmedUnflushed
                    | Self::NumberNotNoted
                    | Self::ClockJumpsAtStart
                    | Self::ContentGivenUpUnsafe
                    | Self::HeldRowDropped
            )
        }
    }

    /// A step on the way of an entry. A test that ends the process behind each of them has ended it between any two.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Step {
        /// An entry has been proposed, and no record of it taken.
        Proposed,
        /// Records have been taken to be flushed.
        RecordsTaken,
        /// Entries are flushed, and have not acted.
        Flushed,
        /// An entry has acted, and nobody has been told.
        Applied,
        /// Who waited for an entry has been told, into what the shell sends with this turn.
        Told,
        /// What another shard has to know has been taken over by it, and not confirmed.
        Carried,
        /// Some rows of a checkpoint have been taken.
        RowsTaken,
    }

    impl Step {
        /// All of them, in their order.
        pub const ALL: &[Self] = &[
            Self::Proposed,
            Self::RecordsTaken,
            Self::Flushed,
            Self::Applied,
            Self::Told,
            Self::Carried,
            Self::RowsTaken,
        ];

        /// As the fault point of a process is named.
        #[must_use]
        pub const fn name(self) -> &'static str {
            match self {
                Self::Proposed => "proposed",
                Self::RecordsTaken => "records_taken",
                Self::Flushed => "flushed",
                Self::Applied => "applied",
                Self::Told => "told",
                Self::Carried => "carried",
                Self::RowsTaken => "rows_taken",
            }
        }
    }

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }
    static EVERYWHERE: OnceLock<Fault> = OnceLock::new();
    static WATCH: OnceLock<fn(Step)> = OnceLock::new();

    /// Makes a mistake on this thread from now on, or none.
    pub fn plant(fault: Option<Fault>) {
        PLANTED.set(fault);
    }

    /// Makes the mistake of this name on all threads, as long as the process lives. False: there is none.
    pub fn plant_everywhere(name: &str) -> bool {
        let fault = Fault::ALL.iter().find(|fault| format!("{fault:?}") == name);
        fault.is_some_and(|fault| EVERYWHERE.set(*fault).is_ok())
    }

    /// Has `watch` called behind each step on all threads, as long as the process lives. Only the first one counts.
    pub fn watch_steps(watch: fn(Step)) {
        let _ = WATCH.set(watch);
    }

    pub(crate) fn reach(step: Step) {
        if let Some(watch) = WATCH.get() {
            watch(step);
        }
    }

    pub(crate) fn is_planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault) || EVERYWHERE.get() == Some(&fault)
    }
}

#[cfg(feature = "planted-faults")]
pub use self::switch::{Fault, Step, plant, plant_everywhere, watch_steps};
#[cfg(feature = "planted-faults")]
pub(crate) use self::switch::{is_planted, reach};
