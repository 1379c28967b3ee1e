//! What an upsert says of its entity, as a hash.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// A hash of everything that an entity's upsert says, however and whenever it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Content(pub(crate) u64);

/// Hashes contents for one catalog, the same way on every machine and in every version. The catalog's identity, which holds a
/// hash of its secrets, goes first: whoever does not know it cannot construct two contents with one hash.
#[derive(Clone, Debug)]
pub(crate) struct ContentHasher(SipHasher13);

impl ContentHasher {
    pub(crate) fn of_catalog(identity: &str) -> Self {
        let mut hasher = Self(SipHasher13::new());
        hasher.write(identity.as_bytes());
        hasher
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    pub(crate) fn finish(self) -> Content {
        Content(self.0.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(identity: &str, parts: &[&str]) -> Content {
        let mut hasher = ContentHasher::of_catalog(identity);
        for part in parts {
            hasher.write(part.as_bytes());
        }
        hasher.finish()
    }

    #[test]
    fn it_is_the_same_on_every_machine_and_in_every_version() {
        assert_eq!(of("webhook", &["a", "é", ""]), Content(170_200_821_113_790_575));
        assert_eq!(of("webhook", &["aé"]), of("webhook", &["a", "é"]));
    }

    #[test]
    fn it_depends_on_the_catalog() {
        assert_ne!(of("webhook 1", &["a"]), of("webhook 2", &["a"]));
    }
}
