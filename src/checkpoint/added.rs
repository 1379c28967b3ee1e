//! Which entries of new shards are in the file: only those that this run has put. A first full run looks up each entity that there
//! is, and nearly all of these look-ups end here.

use std::hash::BuildHasher;

use foldhash::quality::RandomState;

use super::codec;

/// A filter of half a megabyte. After 200,000 keys it mistakes one in eighty that it has not met, after a million one in six.
const WORDS: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Added {
    /// The number of the first shard that the file does not have.
    from: u32,
    /// Two bits of one word for each key that was put; none before the first.
    words: Vec<u64>,
    hasher: RandomState,
}

impl Added {
    pub(super) fn new(from: u32) -> Self {
        Self { from, words: Vec::new(), hasher: RandomState::default() }
    }

    /// Notes a key that is put, and tells whether it was lacked before.
    pub(super) fn note(&mut self, key: &[u8]) -> bool {
        if !self.is_new(key) {
            return false;
        }
        if self.words.is_empty() {
            self.words = vec![0; WORDS];
        }
        let (word, bits) = self.place(key);
        let Some(word) = self.words.get_mut(word) else { return false };
        let is_lacked = *word & bits != bits;
        *word |= bits;
        is_lacked
    }

    /// Whether neither the file nor what was put can have a key, as its shard is new and the key was not put.
    pub(super) fn lacks(&self, key: &[u8]) -> bool {
        self.is_new(key) && {
            let (word, bits) = self.place(key);
            self.words.get(word).is_none_or(|word| word & bits != bits)
        }
    }

    fn is_new(&self, key: &[u8]) -> bool {
        codec::number(key).is_some_and(|number| number >= self.from)
    }

    /// The word of a key, and its bits there.
    fn place(&self, key: &[u8]) -> (usize, u64) {
        let [one, other, word @ ..] = self.hasher.hash_one(key).to_le_bytes();
        let [low, high, ..] = word;
        let bit = |byte: u8| 1 << (u32::from(byte) % u64::BITS);
        (usize::from(u16::from_le_bytes([low, high])), bit(one) | bit(other))
    }
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
        assert!((0..200_000).filter(|leaf| !added.note(&key(7, *leaf))).count() < 2000);
        assert!((0..200_000).all(|leaf| !added.note(&key(7, leaf))));
        assert!((0..200_000).all(|leaf| !added.lacks(&key(7, leaf))));
        let mistaken = (200_000..300_000).filter(|leaf| !added.lacks(&key(7, *leaf))).count();
        assert!(mistaken < 2000, "{mistaken}");
    }

    #[test]
    fn of_a_shard_that_the_file_has_nothing_is_lacked() {
        let mut added = Added::new(7);
        assert!(!added.note(&key(6, 1)));
        assert!(added.words.is_empty() && !added.lacks(&key(6, 1)) && !added.lacks(&key(6, 2)));
    }
}
