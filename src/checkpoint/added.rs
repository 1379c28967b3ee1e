//! Which entries of new shards are in the file: only those that this run has put. A first full run looks up each entity that there
//! is, and nearly all of these look-ups end here.

use std::hash::{DefaultHasher, Hasher};

use super::codec;

/// A filter of half a megabyte: of 200,000 keys it knows one in a hundred that it has not met, of a million one in seven.
const BITS: usize = 1 << 22;
const WORD: usize = u64::BITS as usize;

#[derive(Debug)]
pub(super) struct Added {
    /// The number of the first shard that the file does not have.
    from: u32,
    /// Two bits of each key that was put; none before the first.
    words: Vec<u64>,
}

impl Added {
    pub(super) fn new(from: u32) -> Self {
        Self { from, words: Vec::new() }
    }

    /// Notes a key that is put.
    pub(super) fn note(&mut self, key: &[u8]) {
        if !self.is_new(key) {
            return;
        }
        if self.words.is_empty() {
            self.words = vec![0; BITS / WORD];
        }
        for (word, bit) in places(key) {
            if let Some(word) = self.words.get_mut(word) {
                *word |= bit;
            }
        }
    }

    /// Whether the file cannot have a key, as its shard is new and nothing was put there.
    pub(super) fn lacks(&self, key: &[u8]) -> bool {
        let is_set = |(word, bit)| self.words.get(word).is_some_and(|word: &u64| word & bit != 0);
        self.is_new(key) && !places(key).into_iter().all(is_set)
    }

    fn is_new(&self, key: &[u8]) -> bool {
        codec::number(key).is_some_and(|number| number >= self.from)
    }
}

/// A word, and a bit in it.
type Place = (usize, u64);

fn places(key: &[u8]) -> [Place; 2] {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    let hash = hasher.finish();
    [hash, hash.rotate_left(u64::BITS / 2)].map(|hash| {
        let place = usize::try_from(hash % BITS as u64).unwrap_or_default();
        (place / WORD, 1 << (place % WORD))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(shard: u32, leaf: u32) -> Vec<u8> {
        [shard.to_be_bytes(), leaf.to_be_bytes()].concat()
    }

    #[test]
    fn what_was_put_is_never_lacked_and_most_of_what_was_not_is() {
        let mut added = Added::new(7);
        assert!(added.lacks(&key(7, 0)));
        (0..200_000).for_each(|leaf| added.note(&key(7, leaf)));
        assert!((0..200_000).all(|leaf| !added.lacks(&key(7, leaf))));
        let mistaken = (200_000..300_000).filter(|leaf| !added.lacks(&key(7, *leaf))).count();
        assert!(mistaken < 2000, "{mistaken}");
    }

    #[test]
    fn of_a_shard_that_the_file_has_nothing_is_lacked() {
        let mut added = Added::new(7);
        added.note(&key(6, 1));
        assert!(added.words.is_empty() && !added.lacks(&key(6, 1)) && !added.lacks(&key(6, 2)));
    }
}
