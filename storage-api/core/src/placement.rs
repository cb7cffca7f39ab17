//! Which shard a topic, a filter or a client id belongs to. Used by proxies and storage alike; the result for given
//! settings never changes between versions, since messages and sessions are found by it.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use thiserror::Error;

use crate::{ClusterUid, PublisherId, ShardId};

/// Shards that a topic filter concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterShards {
    /// The filter is literal up to its key: everything it matches lives at one shard.
    One(ShardId),
    /// What it matches may live at any shard.
    All,
}

/// `spec.storage.shards` and `spec.storage.placement` of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    shards: u16,
    rules: Vec<PlacementRule>,
    /// Keys of the hash, from the cluster's UID: who chooses topics cannot choose their shard.
    key: (u64, u64),
}

/// `devices/{key}/#`: for topics that match, the level `{key}` is the placement key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementRule {
    levels: Vec<RuleLevel>,
    /// Whether the rule ends in `#`.
    open: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum RuleLevel {
    Literal(String),
    Key,
}

/// Why placement settings are refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlacementError {
    /// Shards out of range.
    #[error("shards is {0}: it must be 1 to 1024")]
    Shards(u16),
    /// A rule that cannot be used.
    #[error("placement rule {rule:?}: {why}")]
    Rule {
        /// The rule.
        rule: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two rules match the same topics.
    #[error("placement rules {0:?} and {1:?} match the same topics: rules must be disjoint")]
    Overlap(String, String),
}

impl PlacementRule {
    /// Reads a rule.
    ///
    /// # Errors
    /// [`PlacementError::Rule`] unless exactly one level is `{key}`, `#` stands last if at all, no level is `+`, the
    /// rule does not begin with `$` and the key is not the whole rule.
    pub fn parse(rule: &str) -> Result<Self, PlacementError> {
        let refuse = |why| {
            Err(PlacementError::Rule {
                rule: rule.to_owned(),
                why,
            })
        };
        if rule.starts_with('$') {
            return refuse("must not begin with $");
        }
        let mut levels = Vec::new();
        let mut open = false;
        for level in rule.split('/') {
            if open {
                return refuse("# must be the last level");
            }
            match level {
                "#" => open = true,
                "{key}" => levels.push(RuleLevel::Key),
                "+" => return refuse("+ is not allowed: name the level or make it the {key}"),
                l if l.contains(['+', '#', '{', '}']) => {
                    return refuse("a level is literal text, {key}, or # at the end");
                }
                l => levels.push(RuleLevel::Literal(l.to_owned())),
            }
        }
        if levels.iter().filter(|l| **l == RuleLevel::Key).count() != 1 {
            return refuse("exactly one level must be {key}");
        }
        Ok(Self { levels, open })
    }

    /// The key of `topic` when the rule matches it.
    fn key_of<'t>(&self, topic: &'t [u8]) -> Option<&'t [u8]> {
        let mut key = None;
        let mut found = topic.split(|byte| *byte == b'/');
        for level in &self.levels {
            let text = found.next()?;
            match level {
                RuleLevel::Literal(l) if l.as_bytes() == text => {}
                RuleLevel::Literal(_) => return None,
                RuleLevel::Key => key = Some(text),
            }
        }
        if !self.open && found.next().is_some() {
            return None;
        }
        key
    }

    /// Like [`Self::key_of`] for a filter. `Err(())`: the filter may match topics of this rule with different keys.
    fn key_of_filter<'t>(&self, filter: &'t str) -> Result<Option<&'t str>, ()> {
        let mut key = None;
        let mut found = filter.split('/').peekable();
        let mut wildcard_seen = false;
        for level in &self.levels {
            let Some(text) = found.next() else {
                return Ok(None);
            };
            match (text, level) {
                // It also matches topics that end before the rule does: those are placed by themselves.
                ("#", _) => return Err(()),
                ("+", RuleLevel::Key) => return Err(()),
                ("+", RuleLevel::Literal(_)) => wildcard_seen = true,
                (text, RuleLevel::Literal(l)) if l == text => {}
                (_, RuleLevel::Literal(_)) => return Ok(None),
                (text, RuleLevel::Key) => key = Some(text),
            }
        }
        match found.next() {
            None => {}
            Some(_) if self.open => {}
            // `devices/42/#` against `devices/{key}`: matches topics of the rule and, below them, others.
            Some("#") => return Err(()),
            Some(_) => return Ok(None),
        }
        // With a wildcard in a literal level, topics outside the rule match as well.
        if wildcard_seen { Err(()) } else { Ok(key) }
    }

    fn overlaps(&self, other: &Self) -> bool {
        let common = self.levels.len().min(other.levels.len());
        let same = self.levels[..common]
            .iter()
            .zip(&other.levels[..common])
            .all(|pair| match pair {
                (RuleLevel::Literal(a), RuleLevel::Literal(b)) => a == b,
                _ => true,
            });
        let lengths_meet = match self.levels.len().cmp(&other.levels.len()) {
            std::cmp::Ordering::Equal => true,
            std::cmp::Ordering::Less => self.open,
            std::cmp::Ordering::Greater => other.open,
        };
        same && lengths_meet
    }
}

impl Placement {
    /// Placement of a cluster.
    ///
    /// # Errors
    /// [`PlacementError`] when the settings are out of range, malformed or ambiguous.
    pub fn new(cluster_uid: &ClusterUid, shards: u16, rules: &[String]) -> Result<Self, PlacementError> {
        if !(1..=1024).contains(&shards) {
            return Err(PlacementError::Shards(shards));
        }
        let parsed = rules
            .iter()
            .map(|r| PlacementRule::parse(r))
            .collect::<Result<Vec<_>, _>>()?;
        for (i, a) in parsed.iter().enumerate() {
            if let Some(j) = parsed[..i].iter().position(|b| a.overlaps(b)) {
                return Err(PlacementError::Overlap(rules[j].clone(), rules[i].clone()));
            }
        }
        let half = |seed: u64| {
            let mut h = SipHasher13::new_with_keys(0x6672_6573_6865_7421, seed);
            h.write(cluster_uid.0.as_bytes());
            h.finish()
        };
        Ok(Self {
            shards,
            rules: parsed,
            key: (half(1), half(2)),
        })
    }

    /// Number of shards.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// Shard of a topic name, UTF-8.
    #[must_use]
    pub fn shard_of_topic(&self, topic_name: impl AsRef<[u8]>) -> ShardId {
        let topic_name = topic_name.as_ref();
        let key = self
            .rules
            .iter()
            .find_map(|r| r.key_of(topic_name))
            .unwrap_or(topic_name);
        self.shard_of_key(key)
    }

    /// Shards that hold what a topic filter (without `$share` prefix) matches.
    #[must_use]
    pub fn shards_of_filter(&self, topic_filter: &str) -> FilterShards {
        for rule in &self.rules {
            match rule.key_of_filter(topic_filter) {
                Ok(Some(key)) => return FilterShards::One(self.shard_of_key(key.as_bytes())),
                Ok(None) => {}
                Err(()) => return FilterShards::All,
            }
        }
        if topic_filter.split('/').any(|l| l == "+" || l == "#") {
            FilterShards::All
        } else {
            FilterShards::One(self.shard_of_key(topic_filter.as_bytes()))
        }
    }

    /// Shard of a session.
    #[must_use]
    pub fn shard_of_client(&self, client_id: &[u8]) -> ShardId {
        self.shard_of_key(client_id)
    }

    /// Keyed hash of a client id.
    #[must_use]
    pub fn publisher_id(&self, client_id: &[u8]) -> PublisherId {
        PublisherId(self.hash(client_id, 1))
    }

    fn shard_of_key(&self, key: &[u8]) -> ShardId {
        let shard = self.hash(key, 0) % u64::from(self.shards);
        // Fits: the remainder is below a u16.
        #[allow(clippy::cast_possible_truncation)]
        ShardId(shard as u16)
    }

    fn hash(&self, bytes: &[u8], use_of: u64) -> u64 {
        let mut h = SipHasher13::new_with_keys(self.key.0, self.key.1 ^ use_of);
        h.write(bytes);
        h.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(rules: &[&str]) -> Placement {
        let rules: Vec<String> = rules.iter().map(|r| (*r).to_owned()).collect();
        Placement::new(&ClusterUid("0b1c".to_owned()), 8, &rules).unwrap()
    }

    #[test]
    fn a_rule_puts_a_device_and_all_its_wildcards_on_one_shard() {
        let p = placement(&["devices/{key}/#"]);
        let one = p.shard_of_topic("devices/42/temperature");
        assert_eq!(p.shard_of_topic("devices/42/a/b"), one);
        assert_eq!(p.shard_of_topic("devices/42"), one);
        for filter in ["devices/42/#", "devices/42/+/b", "devices/42", "devices/42/+"] {
            assert_eq!(p.shards_of_filter(filter), FilterShards::One(one), "{filter}");
        }
        for filter in ["devices/+/a", "#", "devices/#", "+/42/a", "+/42/#"] {
            assert_eq!(p.shards_of_filter(filter), FilterShards::All, "{filter}");
        }
    }

    #[test]
    fn without_a_rule_the_whole_topic_is_the_key() {
        let p = placement(&[]);
        assert_eq!(p.shards_of_filter("a/b"), FilterShards::One(p.shard_of_topic("a/b")));
        assert_eq!(p.shards_of_filter("a/+"), FilterShards::All);
    }

    #[test]
    fn a_filter_outside_every_rule_is_placed_by_itself() {
        let p = placement(&["devices/{key}/#"]);
        assert_eq!(
            p.shards_of_filter("plants/7"),
            FilterShards::One(p.shard_of_topic("plants/7"))
        );
        assert_eq!(p.shards_of_filter("plants/+"), FilterShards::All);
        // Shorter than the rule: the topic itself does not match it.
        assert_eq!(
            p.shards_of_filter("devices"),
            FilterShards::One(p.shard_of_topic("devices"))
        );
    }

    #[test]
    fn unusable_rules_are_refused_with_the_reason() {
        for (rule, reason) in [
            ("devices/#", "exactly one level must be {key}"),
            ("{key}/{key}", "exactly one level must be {key}"),
            ("a/#/{key}", "# must be the last level"),
            ("a/+/{key}", "+ is not allowed: name the level or make it the {key}"),
            ("$SYS/{key}", "must not begin with $"),
            ("a/x{key}", "a level is literal text, {key}, or # at the end"),
            ("a+/{key}", "a level is literal text, {key}, or # at the end"),
        ] {
            let refused = PlacementRule::parse(rule);
            let is_said = matches!(&refused, Err(PlacementError::Rule { why, .. }) if *why == reason);
            assert!(is_said, "{rule}: {refused:?}");
        }
        let uid = ClusterUid("u".to_owned());
        let overlapping = ["a/{key}/#".to_owned(), "a/b/{key}".to_owned()];
        assert!(matches!(
            Placement::new(&uid, 8, &overlapping),
            Err(PlacementError::Overlap(..))
        ));
        let disjoint = ["a/{key}/#".to_owned(), "b/{key}".to_owned()];
        assert_eq!(Placement::new(&uid, 8, &disjoint).unwrap().shards(), 8);
        assert!(matches!(Placement::new(&uid, 0, &[]), Err(PlacementError::Shards(0))));
    }

    #[test]
    fn results_stay_what_they_were() {
        // Messages and sessions are found by these: a change here is a change of the format on disk.
        let p = placement(&["devices/{key}/#"]);
        let got = ["a", "devices/42/x", "devices/43/x", "plants/1"].map(|t| p.shard_of_topic(t).0);
        assert_eq!(got, [4, 3, 7, 6]);
        let clients = [&b"c1"[..], b"c4", b"gate"].map(|id| p.shard_of_client(id).0);
        assert_eq!(clients, [1, 3, 5]);
        assert_eq!(p.publisher_id(b"c1").0, 0x210a_2e98_d1e8_edd6);
        assert_ne!(p.publisher_id(b"c1"), p.publisher_id(b"c2"));
        // The key of this one ends in another bit.
        let p = Placement::new(&ClusterUid("u".to_owned()), 8, &[]).unwrap();
        assert_eq!(p.publisher_id(b"c1").0, 0x3b50_47ee_9130_0310);
    }

    #[test]
    fn a_filter_that_goes_on_below_a_closed_rule_is_placed_by_itself() {
        let p = placement(&["a/{key}"]);
        let below = p.shard_of_topic("a/1/2");
        assert_ne!(below, p.shard_of_topic("a/1"), "else nothing is shown");
        assert_eq!(p.shards_of_filter("a/1/2"), FilterShards::One(below));
        assert_eq!(p.shards_of_filter("a/1/#"), FilterShards::All);
        assert_eq!(p.shards_of_filter("a/1"), FilterShards::One(p.shard_of_topic("a/1")));
    }

    proptest::proptest! {
        #[test]
        fn a_filter_placed_at_one_shard_matches_nothing_elsewhere(
            topic in "(devices|a|b|c)(/(1|2|3)){0,3}", filter in "(devices|a|b|c|\\+)(/(1|2|3|\\+)){0,3}(/#)?",
        ) {
            let p = placement(&["devices/{key}/#", "a/{key}", "b/{key}/1/#", "c/1/{key}"]);
            if let FilterShards::One(shard) = p.shards_of_filter(&filter)
                && naive_matches(&filter, &topic)
            {
                proptest::prop_assert_eq!(p.shard_of_topic(&topic), shard);
            }
        }
    }

    fn naive_matches(filter: &str, topic: &str) -> bool {
        let (mut f, mut t) = (filter.split('/'), topic.split('/'));
        loop {
            match (f.next(), t.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    }
}
