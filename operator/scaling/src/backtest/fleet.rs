//! The proxies of the model: those that serve, those that start, and the warm pool.

use std::time::Duration;

/// From the promotion of a warm proxy until it serves.
const PROMOTION: Duration = Duration::from_secs(1);

/// The proxies at one time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fleet {
    delay: Duration,
    serving: u32,
    /// When each proxy that was asked for will serve, in order.
    arriving: Vec<Duration>,
    warm_ready: u32,
    /// When each proxy of the warm pool will have started, in order.
    warm_arriving: Vec<Duration>,
}

impl Fleet {
    pub(super) fn new(serving: u32, warm: u32, delay: Duration) -> Self {
        Self {
            delay,
            serving,
            arriving: Vec::new(),
            warm_ready: warm,
            warm_arriving: Vec::new(),
        }
    }

    pub(super) fn serving(&self) -> u32 {
        self.serving
    }

    /// The warm pool, started and starting.
    pub(super) fn warm(&self) -> u32 {
        self.warm_ready + count(&self.warm_arriving)
    }

    /// Lets those serve whose time has come.
    pub(super) fn advance(&mut self, now: Duration) {
        self.serving += take_until(&mut self.arriving, now);
        self.warm_ready += take_until(&mut self.warm_arriving, now);
    }

    /// Asks for a number of warm proxies. Those that start go before those that have.
    pub(super) fn keep_warm(&mut self, warm: u32, now: Duration) {
        for _ in self.warm()..warm {
            self.warm_arriving.push(now + self.delay);
        }
        let fewer = self.warm().saturating_sub(warm);
        let unborn = fewer.min(count(&self.warm_arriving));
        let left = self.warm_arriving.len() - usize::try_from(unborn).unwrap_or(usize::MAX);
        self.warm_arriving.truncate(left);
        self.warm_ready -= fewer - unborn;
    }

    /// Asks for a number of active proxies.
    pub(super) fn ask(&mut self, desired: u32, now: Duration) {
        let there = self.serving + count(&self.arriving);
        if desired >= there {
            let more = desired - there;
            let promoted = more.min(self.warm_ready);
            self.warm_ready -= promoted;
            for _ in 0..promoted {
                self.arriving.push(now + PROMOTION);
                self.warm_arriving.push(now + self.delay);
            }
            for _ in promoted..more {
                self.arriving.push(now + self.delay);
            }
            self.arriving.sort();
        } else {
            // Those that would serve last go first.
            let fewer = there - desired;
            let unborn = fewer.min(count(&self.arriving));
            let left = self.arriving.len() - usize::try_from(unborn).unwrap_or(usize::MAX);
            self.arriving.truncate(left);
            self.serving -= fewer - unborn;
        }
    }
}

fn count(times: &[Duration]) -> u32 {
    u32::try_from(times.len()).unwrap_or(u32::MAX)
}

fn take_until(times: &mut Vec<Duration>, now: Duration) -> u32 {
    let due = times.partition_point(|at| *at <= now);
    let arrived = count(&times[..due]);
    times.drain(..due);
    arrived
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn warm_ones_serve_in_a_second_others_after_the_delay_and_the_pool_fills_again() {
        let mut fleet = Fleet::new(2, 1, at(180));
        fleet.ask(5, at(0));
        let seen = [0, 1, 179, 180].map(|second| {
            fleet.advance(at(second));
            (fleet.serving(), fleet.warm_ready, fleet.warm())
        });
        assert_eq!(seen, [(2, 0, 1), (3, 0, 1), (3, 0, 1), (5, 1, 1)]);
    }

    #[test]
    fn a_pool_grows_after_the_delay_and_shrinks_at_once() {
        let mut fleet = Fleet::new(2, 1, at(180));
        fleet.keep_warm(3, at(0));
        fleet.advance(at(179));
        assert_eq!((fleet.warm_ready, fleet.warm()), (1, 3));
        fleet.keep_warm(2, at(179));
        fleet.advance(at(180));
        assert_eq!((fleet.warm_ready, fleet.warm()), (2, 2));
        fleet.keep_warm(0, at(181));
        assert_eq!(fleet.warm(), 0);
    }

    #[test]
    fn those_that_start_go_before_those_that_serve() {
        let mut fleet = Fleet::new(3, 0, at(180));
        fleet.ask(5, at(0));
        fleet.ask(4, at(10));
        assert_eq!((fleet.serving(), fleet.arriving.len()), (3, 1));
        fleet.ask(2, at(20));
        fleet.advance(at(500));
        assert_eq!(fleet.serving(), 2);
    }
}
