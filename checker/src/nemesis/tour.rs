//! At which fault point the broker ends next: each is tried until it has been there, and then any.

use std::collections::VecDeque;

use freshet_simulation::Random;

/// How often a point is tried before it counts as one that is never reached.
const MOST_TRIES: usize = 5;
/// Which time a point is to act that is tried for the first time: some are come by with every entry, some once in a life.
const PASSES: [usize; 5] = [1, 2, 5, 20, 60];

/// The fault points, and which of them are still to be reached.
#[derive(Debug, Default)]
pub(crate) struct Tour {
    all: Vec<String>,
    left: VecDeque<Stop>,
}

/// A point that has not been reached.
#[derive(Debug)]
struct Stop {
    name: String,
    tries: usize,
}

impl Tour {
    /// A tour of these points, in an order that is drawn.
    pub(crate) fn new(names: &[String], random: &mut Random) -> Self {
        let mut left: Vec<Stop> = names.iter().cloned().map(|name| Stop { name, tries: 0 }).collect();
        for at in (1..left.len()).rev() {
            left.swap(at, random.below(at + 1));
        }
        Self {
            all: names.to_vec(),
            left: left.into(),
        }
    }

    /// Whether points are left that may still be reached.
    pub(crate) fn goes_on(&self) -> bool {
        !self.left.is_empty()
    }

    /// The next point, and which time it is to act. None: the broker ends at none now.
    pub(crate) fn next(&mut self, random: &mut Random) -> Option<(String, usize)> {
        if let Some(next) = self.left.front() {
            // The first time is the surest.
            let nth = if next.tries == 0 { random.pick(&PASSES) } else { 1 };
            return Some((next.name.clone(), nth));
        }
        let chosen = self.all.get(random.below(self.all.len()))?;
        random.chance(50).then(|| (chosen.clone(), random.pick(&PASSES)))
    }

    /// The broker was to end at a point, and has, or has not.
    pub(crate) fn tried(&mut self, name: &str, has_ended: bool) {
        let Some(stop) = self.left.pop_front_if(|stop| stop.name == name) else {
            return;
        };
        let tries = stop.tries + 1;
        if !has_ended && tries < MOST_TRIES {
            self.left.push_back(Stop { tries, ..stop });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tour() -> (Tour, Random) {
        let mut random = Random::new(1);
        let names = ["a", "b", "c"].map(str::to_owned);
        (Tour::new(&names, &mut random), random)
    }

    #[test]
    fn each_point_is_tried_until_it_was_reached() {
        let (mut tour, mut random) = tour();
        let mut reached = Vec::new();
        let (first, _) = tour.next(&mut random).unwrap();
        tour.tried(&first, false);
        while tour.goes_on() {
            let (name, nth) = tour.next(&mut random).unwrap();
            assert!(name != first || nth == 1, "the second time");
            tour.tried(&name, true);
            reached.push(name);
        }
        assert_eq!(reached.last(), Some(&first));
        reached.sort();
        assert_eq!(reached, ["a", "b", "c"]);
        assert!((0..100).any(|_| tour.next(&mut random).is_some()), "then any");
    }

    #[test]
    fn a_point_that_is_never_reached_is_given_up() {
        let (mut tour, mut random) = tour();
        for _ in 0..3 * MOST_TRIES {
            let (name, _) = tour.next(&mut random).unwrap();
            tour.tried(&name, false);
        }
        assert!(!tour.goes_on());
    }

    #[test]
    fn without_points_the_broker_ends_at_none() {
        let mut random = Random::new(1);
        let mut tour = Tour::new(&[], &mut random);
        assert!(!tour.goes_on() && tour.next(&mut random).is_none());
    }
}
