//! Puts a change of interest together that was too large for one frame. Used by the storage node's end of a stream.

use freshet_storage_contract::{InterestDelta, Operation};

use crate::{
    WireError,
    batch::change_bytes,
    convert::list,
    limits::{MAX_INTEREST_BYTES, MAX_LIST_ITEMS},
    proto::{self, operation::Operation as Member},
};

/// The parts that have come so far.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    delta: Option<InterestDelta>,
    bytes: usize,
}

impl Assembly {
    /// Reads the operations of a frame. A part is kept until its last one has come.
    pub(crate) fn read(&mut self, operations: Vec<proto::Operation>) -> Result<Vec<Operation>, WireError> {
        if self.delta.is_none() && !operations.iter().any(continues) {
            return list(operations, "OperationFrame.operations", TryInto::try_into);
        }
        if operations.len() > MAX_LIST_ITEMS {
            return Err(WireError::TooMany {
                field: "OperationFrame.operations",
                items: operations.len(),
            });
        }
        let mut read = Vec::new();
        for operation in operations {
            let more = continues(&operation);
            match operation.try_into()? {
                Operation::Interest(part) => {
                    let delta = self.joined(part)?;
                    if more {
                        self.delta = Some(delta);
                    } else {
                        self.bytes = 0;
                        read.push(Operation::Interest(delta));
                    }
                }
                operation if self.delta.is_none() => read.push(operation),
                _ => {
                    return Err(WireError::OutOfOrder(
                        "the parts of a change of interest follow each other",
                    ));
                }
            }
        }
        Ok(read)
    }

    fn joined(&mut self, part: InterestDelta) -> Result<InterestDelta, WireError> {
        let bytes = part.changes.iter().map(change_bytes).sum::<usize>();
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_INTEREST_BYTES {
            return Err(WireError::Invalid {
                field: "InterestDelta.changes",
                why: "too many in all parts",
            });
        }
        let Some(mut delta) = self.delta.take() else {
            return Ok(part);
        };
        if (delta.shard, delta.version, delta.complete) != (part.shard, part.version, part.complete) {
            return Err(WireError::OutOfOrder(
                "the parts of a change of interest belong together",
            ));
        }
        delta.changes.extend(part.changes);
        Ok(delta)
    }
}

fn continues(operation: &proto::Operation) -> bool {
    matches!(&operation.operation, Some(Member::Interest(delta)) if delta.continues)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(version: u64, continues: bool) -> proto::Operation {
        let delta = proto::InterestDelta {
            shard: Some(0),
            version,
            continues,
            ..Default::default()
        };
        proto::Operation {
            operation: Some(Member::Interest(delta)),
        }
    }

    fn renewal() -> proto::Operation {
        proto::Operation {
            operation: Some(Member::RenewLease(proto::RenewLease {})),
        }
    }

    #[test]
    fn a_part_that_belongs_to_another_change_is_refused() {
        assert!(Assembly::default().read(vec![part(1, true), part(1, false)]).is_ok());
        for operations in [vec![part(1, true), part(2, false)], vec![part(1, true), renewal()]] {
            let refused = Assembly::default().read(operations);
            assert!(matches!(refused, Err(WireError::OutOfOrder(_))), "{refused:?}");
        }
    }

    #[test]
    fn parts_are_bounded_together() {
        let changes = vec![
            proto::InterestChange {
                change: Some(proto::interest_change::Change::Add(proto::AddInterest {
                    filter_id: Some(0),
                    topic_filter: vec![b'a'; 65_535].into(),
                })),
            };
            60
        ];
        let delta = proto::InterestDelta {
            shard: Some(0),
            version: 1,
            continues: true,
            changes,
            ..Default::default()
        };
        let part = proto::Operation {
            operation: Some(Member::Interest(delta)),
        };
        let mut assembly = Assembly::default();
        let refused = (0..100).find_map(|_| assembly.read(vec![part.clone()]).err());
        assert!(
            matches!(
                refused,
                Some(WireError::Invalid {
                    field: "InterestDelta.changes",
                    ..
                })
            ),
            "{refused:?}"
        );
    }
}
