//! Mistakes that tests can switch on, each a line that somebody could have written, to see that power cuts and the
//! history checker find them. Without tests of this crate and without the feature `planted-faults`, which no product
//! turns on, nothing of it is compiled.

/// Whether a mistake is to be made here.
#[cfg(any(test, feature = "planted-faults"))]
macro_rules! planted {
    ($fault:ident) => {
        $crate::planted::is_planted($crate::planted::Fault::$fault)
    };
}

/// Whether a mistake is to be made here: never.
#[cfg(not(any(test, feature = "planted-faults")))]
macro_rules! planted {
    ($fault:ident) => {
        false
    };
}

pub(crate) use planted;

#[cfg(test)]
pub(crate) use self::switch::plant;
#[cfg(feature = "planted-faults")]
pub use self::switch::plant_everywhere;
#[cfg(any(test, feature = "planted-faults"))]
pub(crate) use self::switch::{Fault, is_planted};

#[cfg(any(test, feature = "planted-faults"))]
mod switch {
    use std::cell::Cell;
    #[cfg(feature = "planted-faults")]
    use std::sync::OnceLock;

    /// A mistake.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Fault {
        /// Records are reported as durable before they are flushed.
        CompletedBeforeFlush,
        /// A flush names its own end as the durable mark.
        MarkWrittenTooEarly,
        /// A segment is used before its new name is on disk.
        SegmentNameNotFlushed,
        /// What a start finds counts as durable without a flush: a process that was killed left it in memory alone.
        FoundTailNotFlushed,
        /// Names that a start finds count as durable without a flush of the directory.
        FoundNamesNotFlushed,
        /// A manifest names files whose names are not on disk.
        RowNamesNotFlushed,
        /// A manifest is renamed into place before its bytes are flushed.
        ManifestNotFlushed,
        /// Old files go before the new manifest's name is on disk.
        ManifestNameNotFlushed,
        /// What the writer has taken is reported as durable before it is written.
        ReportedBeforeFlush,
    }

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }
    #[cfg(feature = "planted-faults")]
    static EVERYWHERE: OnceLock<Fault> = OnceLock::new();

    /// Makes a mistake on this thread from now on, or none.
    #[cfg(test)]
    pub(crate) fn plant(fault: Option<Fault>) {
        PLANTED.set(fault);
    }

    /// Makes the mistake of this name on all threads, as long as the process lives. False: there is none that processes
    /// make.
    #[cfg(feature = "planted-faults")]
    pub fn plant_everywhere(name: &str) -> bool {
        name == format!("{:?}", Fault::ReportedBeforeFlush) && EVERYWHERE.set(Fault::ReportedBeforeFlush).is_ok()
    }

    pub(crate) fn is_planted(fault: Fault) -> bool {
        #[cfg(feature = "planted-faults")]
        if EVERYWHERE.get() == Some(&fault) {
            return true;
        }
        PLANTED.get() == Some(fault)
    }
}
