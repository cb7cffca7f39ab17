//! What all shards of a node use together of the node's bounds. The node lends it to the shard that runs.

use freshet_config::RetainedLimits;

/// Sums over the shards of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) retained: RetainedUsage,
    pub(crate) sessions: u64,
    pub(crate) session_bytes: u64,
    pub(crate) interest_bytes: u64,
    pub(crate) queued_bytes: u64,
    /// Of these, bytes of messages in queues.
    pub(crate) waiting_bytes: u64,
    /// Of these, and of what sessions have taken and readers wait for, bytes of content in memory.
    pub(crate) resident_bytes: u64,
    /// What all that is queued takes in memory.
    pub(crate) queue_memory_bytes: u64,
}

/// Retained messages and the bytes charged for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RetainedUsage {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

impl RetainedUsage {
    /// Whether `limits` allow one message of `bytes` in place of `replaced` (all zero: in place of none).
    pub(crate) fn allows(self, limits: &RetainedLimits, bytes: u64, replaced: Self) -> bool {
        let messages = self.messages.saturating_sub(replaced.messages) + 1;
        let total = self.bytes.saturating_sub(replaced.bytes) + bytes;
        // One that does not grow anything is allowed even where a lowered limit is exceeded already.
        let fits = |limit: u64, after: u64, before: u64| limit == 0 || after <= limit || after <= before;
        fits(limits.messages, messages, self.messages) && fits(limits.bytes, total, self.bytes)
    }

    /// Moves a part from `before` to `after`.
    pub(crate) fn exchange(&mut self, before: Self, after: Self) {
        self.messages = (self.messages + after.messages).saturating_sub(before.messages);
        self.bytes = (self.bytes + after.bytes).saturating_sub(before.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RetainedLimits = RetainedLimits {
        messages: 2,
        bytes: 100,
    };
    const NONE: RetainedUsage = RetainedUsage { messages: 0, bytes: 0 };

    #[test]
    fn a_message_beyond_either_limit_is_refused() {
        assert!(RetainedUsage { messages: 1, bytes: 50 }.allows(&LIMITS, 50, NONE));
        assert!(!RetainedUsage { messages: 1, bytes: 51 }.allows(&LIMITS, 50, NONE));
        assert!(!RetainedUsage { messages: 2, bytes: 0 }.allows(&LIMITS, 1, NONE));
    }

    #[test]
    fn a_replacement_counts_for_what_it_adds() {
        let full = RetainedUsage {
            messages: 2,
            bytes: 100,
        };
        let replaced = RetainedUsage { messages: 1, bytes: 40 };
        assert!(full.allows(&LIMITS, 40, replaced));
        assert!(!full.allows(&LIMITS, 41, replaced));
    }

    #[test]
    fn zero_means_no_bound() {
        let none = RetainedLimits { messages: 0, bytes: 0 };
        assert!(
            RetainedUsage {
                messages: u64::MAX - 1,
                bytes: 1 << 60
            }
            .allows(&none, 1, NONE)
        );
    }
}
