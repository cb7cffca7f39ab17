//! What clients see of a worker, with a small storage behind it that runs in the same thread.

mod authorization;
mod bench;
mod bounds;
mod connack;
mod connect;
mod deliver;
mod drain;
mod exchanges;
mod explanations;
mod groups;
mod keep_alive;
mod limits;
mod malformed;
mod moves;
mod publish;
mod random;
mod seen;
mod sessions;
mod slow;
mod storage;
mod storage_away;
mod storm;
mod subscribe;
mod takeover;
mod unsubscribe;
