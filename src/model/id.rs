//! The id of an entity: a path of up to three parts that says what it belongs to.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;

/// Ids, with a hash that is fast for strings of their length.
pub(crate) type Ids = HashSet<Id, RandomState>;

/// A value for each id.
pub(crate) type ById<T> = HashMap<Id, T, RandomState>;

/// An id in lower case, as its source writes it: of a shard, a container in it, or a leaf in either.
///
/// A shard is read, and its mark moves, as a whole. The source that makes an id says where its parts end; for Azure
/// they are `/subscriptions/S`, `/resourcegroups/G` and the rest.
#[derive(Clone)]
pub(crate) struct Id {
    text: Arc<str>,
    shard_end: u16,
    container_end: u16,
}

/// An entity's level in the path. Parents come first: one stage is settled before the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stage {
    /// The shard's own entity.
    Root,
    Container,
    Leaf,
}

impl Id {
    /// The longest text that an id may have, in bytes.
    pub(crate) const LONGEST: usize = u16::MAX as usize;

    /// An id whose shard and container end at these bytes; both are the same if there is no container. `None` if these
    /// are not character boundaries, or the text is too long.
    pub(crate) fn new(text: impl Into<Arc<str>>, shard_end: usize, container_end: usize) -> Option<Self> {
        let text = text.into();
        let is_split = text.len() <= Self::LONGEST
            && shard_end <= container_end
            && text.is_char_boundary(shard_end)
            && text.is_char_boundary(container_end);
        is_split.then_some(())?;
        Some(Self {
            shard_end: u16::try_from(shard_end).ok()?,
            container_end: u16::try_from(container_end).ok()?,
            text,
        })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn shard_end(&self) -> usize {
        self.shard_end.into()
    }

    pub(crate) fn container_end(&self) -> usize {
        self.container_end.into()
    }

    /// The text of the shard's own id.
    pub(crate) fn shard(&self) -> &str {
        self.text.get(..self.shard_end()).unwrap_or(&self.text)
    }

    /// The text of the container's id, or of the shard's if there is no container.
    pub(crate) fn container(&self) -> &str {
        self.text.get(..self.container_end()).unwrap_or(&self.text)
    }

    pub(crate) fn stage(&self) -> Stage {
        let end = self.text.len();
        match (self.shard_end() == end, self.container_end() == end) {
            (true, _) => Stage::Root,
            (false, true) => Stage::Container,
            (false, false) => Stage::Leaf,
        }
    }

    /// The container of a leaf, or the shard if it has none; `None` for a shard.
    pub(crate) fn parent(&self) -> Option<Self> {
        let parent = |text: &str| Self {
            text: text.into(),
            shard_end: self.shard_end,
            container_end: self.container_end.min(u16::try_from(text.len()).unwrap_or(u16::MAX)),
        };
        match self.stage() {
            Stage::Root => None,
            Stage::Container => Some(parent(self.shard())),
            Stage::Leaf => Some(parent(self.container())),
        }
    }

    /// The id of the shard's own entity.
    pub(crate) fn root(&self) -> Self {
        Self { text: self.shard().into(), shard_end: self.shard_end, container_end: self.shard_end }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// The same text is the same entity, however it is divided.
impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Id {}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Id {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Borrow<str> for Id {
    fn borrow(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_knows_its_parents_and_its_stage() {
        let leaf = Id::new("/s/g/l", 2, 4).unwrap();
        let container = leaf.parent().unwrap();
        let root = container.parent().unwrap();
        assert_eq!([leaf.stage(), container.stage(), root.stage()], [Stage::Leaf, Stage::Container, Stage::Root]);
        assert_eq!((container.as_str(), root.as_str(), root.parent()), ("/s/g", "/s", None));
        assert_eq!((leaf.root(), container.root()), (root.clone(), root));
    }

    #[test]
    fn a_leaf_without_a_container_belongs_to_the_shard() {
        let leaf = Id::new("/s/l", 2, 2).unwrap();
        assert_eq!((leaf.stage(), leaf.container(), leaf.parent().unwrap().stage()), (Stage::Leaf, "/s", Stage::Root));
    }

    #[test]
    fn parts_end_within_the_text_and_between_characters() {
        assert!(Id::new("/é", 2, 2).is_none());
        assert!(Id::new("/s", 2, 3).is_none());
        assert!(Id::new("/s", 2, 1).is_none());
        assert!(Id::new("x".repeat(Id::LONGEST + 1), 1, 1).is_none());
    }
}
