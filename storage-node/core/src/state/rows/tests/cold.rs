//! Random histories of two states: one has all content of queued messages in memory, the other what no checkpoint has. They
//! are the same, and so is what is read.

use super::*;

impl History {
    fn cold() -> Self {
        Self {
            is_cold: true,
            ..Self::new()
        }
    }

    /// The message at a position, from the disk where it is there alone, and whether its interval has passed.
    fn read(&mut self, position: Position) -> Option<(Content, bool)> {
        let (queues, now_ms) = (&mut self.state.queues, self.state.log_time_ms);
        if let Some((Content::OnDisk { bytes }, has_expired)) = queues.read(position, now_ms) {
            let row = self.rows.get(&Queues::message_key(position));
            queues.bring(position, row.cloned()).expect("a row that was written");
            let brought = queues.read(position, now_ms);
            let Some((Content::Here(message), expired_too)) = &brought else {
                panic!("{position} was not brought");
            };
            assert_eq!((message.charged_bytes() as u64, *expired_too), (bytes, has_expired));
            queues.let_go(position);
            return brought;
        }
        queues.read(position, now_ms)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_on_disk_alone_is_what_would_be_in_memory(
        steps in prop::collection::vec((step(), prop::bool::weighted(0.05)), 1..80),
    ) {
        let (mut hot, mut cold) = (History::new(), History::cold());
        for (step, comes_back) in steps {
            prop_assert_eq!(hot.take(step.clone()), cold.take(step));
            if comes_back {
                cold = cold.restored();
            }
            prop_assert_eq!(hot.sums(), cold.sums());
        }
        for _ in 0..2 {
            for position in (0..=hot.log.len() as u64).map(Position) {
                prop_assert_eq!(hot.read(position), cold.read(position));
            }
            while !cold.write(1_000) {}
            cold = cold.restored();
        }
        let kept_bytes = cold.state.queues.resident_bytes();
        prop_assert!(cold.state.queues.bytes() > 0 || kept_bytes == 0);
    }
}
