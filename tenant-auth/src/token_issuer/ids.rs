//! The ids of tokens.

use parking_lot::Mutex;

use crate::{KeyError, api_key::random_by};

/// The characters of an id: 131 bits.
const LEN: usize = 22;
/// What one id takes, nearly always.
const SHARE: usize = 32;
const SHARES: usize = 8;

/// Ids of 22 uniform characters. The operating system is asked for the randomness of eight at a time: asking takes longer
/// than all the rest of a token but its signature, and an id is no secret.
///
/// A process that forks shares with its child the ids that it has drawn and not given.
pub(super) struct Ids(Mutex<Drawn>);

struct Drawn {
    bytes: [u8; SHARE * SHARES],
    /// How many shares are left.
    left: usize,
}

impl Ids {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Drawn {
            bytes: [0; SHARE * SHARES],
            left: 0,
        }))
    }

    pub(super) fn next(&self) -> Result<String, KeyError> {
        random_by(LEN, || self.draw())
    }

    fn draw(&self) -> Result<[u8; SHARE], KeyError> {
        let mut drawn = self.0.lock();
        if drawn.left == 0 {
            getrandom::fill(&mut drawn.bytes).map_err(|_| KeyError::randomness())?;
            drawn.left = SHARES;
        }
        drawn.left = drawn.left.saturating_sub(1);
        let (shares, _) = drawn.bytes.as_chunks();
        shares
            .get(drawn.left)
            .copied()
            .ok_or_else(KeyError::randomness)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use super::*;
    use std::{collections::HashSet, thread};

    #[test]
    fn no_id_is_given_twice_whoever_asks() {
        let ids = Ids::new();
        let given: Vec<String> = thread::scope(|threads| {
            let asking = || (0..1000).map(|_| ids.next().unwrap()).collect::<Vec<_>>();
            let asked: Vec<_> = (0..4).map(|_| threads.spawn(asking)).collect();
            asked
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(given.iter().all(|id| id.len() == LEN));
        assert_eq!(given.iter().collect::<HashSet<_>>().len(), 4000);
    }
}
