//! Mistakes that tests can switch on, each a line that somebody could have written, to see that the simulation and the
//! history checker find them. Without the feature `planted-faults`, which no product turns on, nothing of this is compiled.

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
    use std::sync::OnceLock;

    /// A mistake.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Fault {
        /// No Local is not looked at.
        NoLocalIgnored,
        /// Subscriptions of one client are served one by one.
        OverlapDeliveredTwice,
        /// Of overlapping subscriptions the last one decides on the QoS, not the highest.
        QosOfTheLastSubscription,
        /// RETAIN is passed on to subscribers that do not want it as published.
        RetainKept,
        /// An alias counts as defined although its packet was too large to be sent.
        AliasOfDroppedPacket,
        /// The client's Receive Maximum is exceeded by one.
        WindowOfOneMore,
        /// A packet id of QoS 2 is free when PUBREC comes, not when PUBCOMP does.
        IdFreeAtPubrec,
        /// A PUBREL of an unknown packet id is answered with success.
        StrayReleaseSucceeds,
        /// A QoS 2 PUBLISH that comes again is taken for a new message.
        RepeatedPublishRouted,
        /// The old connection is not ended when another takes over.
        TakeoverPassedOver,
        /// DISCONNECT does not delete the will.
        WillOnDisconnect,
        /// Subscribers are not told that their proxy's lease was lost.
        LossUntold,
        /// What is sent again after a reconnection does not say so.
        DupDropped,
        /// A subscription that is made again begins anew.
        CursorResetOnResubscribe,
        /// PUBLISH of QoS 2 leaves before storage knows its packet id.
        PublishBeforeSending,
        /// What a member of a group was sent at QoS 2 goes to another one when it leaves.
        SentQos2Returned,
        /// One CONNECT in ten is refused. Right by the specification, and for a rollout to notice.
        OneInTenRefused,
    }

    impl Fault {
        /// All of them.
        pub const ALL: &[Self] = &[
            Self::NoLocalIgnored,
            Self::OverlapDeliveredTwice,
            Self::QosOfTheLastSubscription,
            Self::RetainKept,
            Self::AliasOfDroppedPacket,
            Self::WindowOfOneMore,
            Self::IdFreeAtPubrec,
            Self::StrayReleaseSucceeds,
            Self::RepeatedPublishRouted,
            Self::TakeoverPassedOver,
            Self::WillOnDisconnect,
            Self::LossUntold,
            Self::DupDropped,
            Self::CursorResetOnResubscribe,
            Self::PublishBeforeSending,
            Self::SentQos2Returned,
            Self::OneInTenRefused,
        ];
    }

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }
    static EVERYWHERE: OnceLock<Fault> = OnceLock::new();

    /// Makes a mistake on this thread from now on, or none.
    pub fn plant(fault: Option<Fault>) {
        PLANTED.set(fault);
    }

    /// Makes the mistake of this name on all threads, as long as the process lives. False: there is none.
    pub fn plant_everywhere(name: &str) -> bool {
        let fault = Fault::ALL.iter().find(|fault| format!("{fault:?}") == name);
        fault.is_some_and(|fault| EVERYWHERE.set(*fault).is_ok())
    }

    pub(crate) fn is_planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault) || EVERYWHERE.get() == Some(&fault)
    }
}

#[cfg(feature = "planted-faults")]
pub(crate) use self::switch::is_planted;
#[cfg(feature = "planted-faults")]
pub use self::switch::{Fault, plant, plant_everywhere};
