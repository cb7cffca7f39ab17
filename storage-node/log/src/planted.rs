//! Mistakes that tests of this crate can switch on, each a line that somebody could have written, to see that the
//! power cuts find them. Outside of these tests nothing of it is compiled.

/// Whether a mistake is to be made here.
#[cfg(test)]
macro_rules! planted {
    ($fault:ident) => {
        $crate::planted::is_planted($crate::planted::Fault::$fault)
    };
}

/// Whether a mistake is to be made here: never.
#[cfg(not(test))]
macro_rules! planted {
    ($fault:ident) => {
        false
    };
}

pub(crate) use planted;

#[cfg(test)]
pub(crate) use self::switch::{Fault, is_planted, plant};

#[cfg(test)]
mod switch {
    use std::cell::Cell;

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
    }

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// Makes a mistake on this thread from now on, or none.
    pub(crate) fn plant(fault: Option<Fault>) {
        PLANTED.set(fault);
    }

    pub(crate) fn is_planted(fault: Fault) -> bool {
        PLANTED.get() == Some(fault)
    }
}
