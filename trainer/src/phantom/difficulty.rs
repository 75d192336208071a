//! How hard findings are to see: every limit that depends on it lies between its easy and its hard value.

use super::random::{Stream, between};

/// From 0, findings plain to see, to 1, subtle ones and more that distracts from them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difficulty(f32);

impl Difficulty {
    /// Findings that are plain to see.
    pub const EASY: Self = Self(0.0);
    /// Subtle findings.
    pub const HARD: Self = Self(1.0);

    /// From 0 to 1; `None` outside.
    pub fn new(share: f32) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    /// The value for this difficulty; exactly `easy` or `hard` at the ends.
    pub(super) fn of(self, easy: f32, hard: f32) -> f32 {
        (1.0 - self.0) * easy + self.0 * hard
    }

    /// A draw between the limits for this difficulty.
    pub(super) fn between(self, rng: &mut Stream, easy: (f32, f32), hard: (f32, f32)) -> f32 {
        between(rng, self.of(easy.0, hard.0), self.of(easy.1, hard.1))
    }

    /// The name in `truth.csv`.
    pub(super) fn name(self) -> String {
        match self {
            Self::EASY => "easy".to_owned(),
            Self::HARD => "hard".to_owned(),
            Self(share) => share.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_the_values_given_and_the_rest_lies_between() {
        assert_eq!((Difficulty::EASY.of(0.3, 0.7), Difficulty::HARD.of(0.3, 0.7)), (0.3, 0.7));
        assert_eq!(Difficulty::new(0.25).unwrap().of(2.0, 4.0), 2.5);
        assert_eq!([-0.1, 1.1, f32::NAN].map(Difficulty::new), [None; 3]);
        assert_eq!([0.0, 0.25, 1.0].map(|d| Difficulty(d).name()), ["easy", "0.25", "hard"]);
    }
}
