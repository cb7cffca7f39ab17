//! Who is registered under one filter: most often one.

/// A set of registrations that needs no allocation for one, and no more room for that than for a pointer and a tag.
#[derive(Debug, Default)]
pub(super) enum Subscribers<S> {
    #[default]
    None,
    One(S),
    Many(Box<Many<S>>),
}

/// Two registrations or more.
#[derive(Debug)]
pub(super) struct Many<S>(Vec<S>);

impl<S: Copy + Eq> Subscribers<S> {
    pub(super) fn as_slice(&self) -> &[S] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => &many.0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    pub(super) fn insert(&mut self, subscriber: S) {
        match self {
            Self::None => *self = Self::One(subscriber),
            Self::One(one) if *one == subscriber => {}
            Self::One(one) => *self = Self::Many(Box::new(Many(vec![*one, subscriber]))),
            Self::Many(many) if many.0.contains(&subscriber) => {}
            Self::Many(many) => many.0.push(subscriber),
        }
    }

    pub(super) fn remove(&mut self, subscriber: S) {
        match self {
            Self::One(one) if *one == subscriber => *self = Self::None,
            Self::None | Self::One(_) => {}
            Self::Many(many) => {
                many.0.retain(|s| *s != subscriber);
                if let [one] = many.0[..] {
                    *self = Self::One(one);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_registers_again_is_there_once() {
        let mut all = Subscribers::None;
        for subscriber in [1, 1, 2, 2, 1] {
            all.insert(subscriber);
        }
        assert_eq!(all.as_slice(), [1, 2]);
        all.remove(3);
        all.remove(1);
        assert_eq!(all.as_slice(), [2]);
        all.remove(1);
        assert!(!all.is_empty());
        all.remove(2);
        assert!(all.is_empty());
    }
}
