//! Keys and entries as bytes, and back.
//!
//! A key is the shard's number, the length of the container's part of the id, that part, and the rest of the id. So what is in a
//! shard is one range of keys, and so is what is in a container.

use std::borrow::Cow;
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;
use smallvec::SmallVec;

use super::list::{self, Writer};
use crate::engine::{Absent, Content, Entry, State};
use crate::model::{Id, Names, Scope};

/// No byte of an id is as great.
const BEYOND: u8 = 0xff;

/// The shard's number.
const NUMBER: usize = 4;
/// The number, and the length of the container's part.
const HEAD: usize = NUMBER + 2;

/// A key; that of an id of usual length lies on the stack.
pub(super) type Key = SmallVec<[u8; 192]>;

pub(super) fn key(number: u32, id: &Id) -> Key {
    let mut key = head(number, id.container_end() - id.shard_end());
    key.extend_from_slice(id.as_str().as_bytes().get(id.shard_end()..).unwrap_or_default());
    key
}

/// What a key begins with: the shard's number, and the length of the container's part.
fn head(number: u32, container: usize) -> Key {
    let length = u16::try_from(container).unwrap_or(u16::MAX);
    let [_, _, head @ ..] = (u64::from(number) << u16::BITS | u64::from(length)).to_be_bytes();
    Key::from_slice(&head)
}

/// The shard's number in a key.
pub(super) fn number(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*key.first_chunk()?))
}

/// Where the container's part of a key ends.
fn container_end(key: &[u8]) -> Option<usize> {
    let length = u16::from_be_bytes(*key.get(NUMBER..)?.first_chunk()?);
    Some(HEAD + usize::from(length))
}

/// The id of a key of this shard.
pub(super) fn id(shard: &str, key: &[u8]) -> Option<Id> {
    let rest = std::str::from_utf8(key.get(HEAD..)?).ok()?;
    let container_end = shard.len() + container_end(key)? - HEAD;
    Id::new([shard, rest].concat(), shard.len(), container_end)
}

/// Whether it is a leaf in a container, and not the container itself or what belongs to the shard.
pub(super) fn is_in_container(key: &[u8]) -> bool {
    container_end(key).is_some_and(|end| end > HEAD && key.len() > end)
}

/// Beyond all keys of the container that this key is of or in.
pub(super) fn beyond_container(key: &[u8]) -> Vec<u8> {
    let prefix = container_end(key).and_then(|end| key.get(..end)).unwrap_or(key);
    [prefix, &[BEYOND]].concat()
}

/// A range of keys.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    from: Bound<Vec<u8>>,
    /// Exclusive.
    to: Vec<u8>,
}

impl Keys {
    /// All of a shard.
    pub(super) fn of_shard(number: u32) -> Self {
        let from = Bound::Included(number.to_be_bytes().to_vec());
        Self { from, to: number.saturating_add(1).to_be_bytes().to_vec() }
    }

    /// The leaves of a container, or those of a shard that are in none.
    pub(super) fn of_leaves(number: u32, parent: &Id) -> Self {
        let parent = key(number, parent).into_vec();
        Self { to: beyond_container(&parent), from: Bound::Excluded(parent) }
    }

    /// The containers of a shard and all that is in them.
    pub(super) fn of_containers(number: u32) -> Self {
        Self { from: Bound::Included(beyond_container(&head(number, 0))), ..Self::of_shard(number) }
    }

    pub(super) fn after(self, key: Key) -> Self {
        self.beginning(Bound::Excluded(key.into_vec()))
    }

    /// Without what comes before this key.
    pub(super) fn from(self, key: Vec<u8>) -> Self {
        self.beginning(Bound::Included(key))
    }

    fn beginning(self, from: Bound<Vec<u8>>) -> Self {
        let earliest = |bound: &Bound<Vec<u8>>| match bound {
            Bound::Included(key) => (key.clone(), false),
            Bound::Excluded(key) => (key.clone(), true),
            Bound::Unbounded => (Vec::new(), false),
        };
        // What begins beyond its end would be no range.
        if earliest(&from).0 >= self.to {
            return Self { from: Bound::Included(self.to.clone()), ..self };
        }
        if earliest(&from) > earliest(&self.from) { Self { from, ..self } } else { self }
    }

    pub(super) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.from.as_ref().map(Vec::as_slice), Bound::Excluded(&self.to))
    }
}

/// An entry in as many bytes as it needs: its flags, its content, since when it is absent, when it was last answered; then its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    length: u8,
    bytes: [u8; Self::LONGEST],
    names: Names,
}

const THERE: u8 = 1 << 2;
const UNREAD: u8 = 1 << 3;

/// In the place of a scope: only what has none can be so.
const FRESH: u8 = 3;

/// Before the names, where they are known.
const NAMED: u8 = b'\n';

/// Stands for no time at all where names follow.
const NEVER: [u8; 8] = i64::MIN.to_le_bytes();

impl Packed {
    const LONGEST: usize = 1 + 3 * 8;

    pub(super) fn new(entry: &Entry) -> Self {
        let (state, content) = match entry.state {
            State::Nothing => (0, None),
            State::Unknown => (1, None),
            State::Held(content) => (2, Some(content)),
            State::Refused(content) => (3, Some(content)),
        };
        let scope = match entry.scope {
            None if entry.fresh => FRESH,
            None => 0,
            Some(Scope::In) => 1,
            Some(Scope::Out) => 2,
        };
        let (absent, since) = match entry.absent {
            None => (0, None),
            Some(Absent::Proven) => (1, None),
            Some(Absent::Since(since)) => (2, Some(since)),
        };
        let flag = |is_set, bit| if is_set { bit } else { 0 };
        let flags = state | flag(entry.there, THERE) | flag(entry.unread, UNREAD) | scope << 4 | absent << 6;
        let at = entry.at.map(of_time).or(entry.names.is_known().then_some(NEVER));
        let names = entry.names.clone();
        let mut packed = Self { length: 0, bytes: [0; Self::LONGEST], names };
        packed.push(&[flags]);
        for number in [content.map(|content| content.0.to_le_bytes()), since.map(of_time), at] {
            packed.push(number.as_ref().map_or(&[][..], |number| number));
        }
        packed
    }

    fn push(&mut self, more: &[u8]) {
        let begun = usize::from(self.length);
        if let (Some(to), Ok(length)) = (self.bytes.get_mut(begun..begun + more.len()), u8::try_from(more.len())) {
            to.copy_from_slice(more);
            self.length += length;
        }
    }

    pub(super) fn from_bytes(stored: &[u8]) -> Option<Self> {
        let [flags] = Reader(stored).array()?;
        let numbers = 1 + 8 * (usize::from(flags & 3 > 1) + usize::from(flags >> 6 == 2));
        let (numbers, names) = stored.split_at_checked(numbers + 8).unwrap_or((stored, &[]));
        let names = match names {
            [] => Names::UNKNOWN,
            [NAMED, names @ ..] => Names::from_text(std::str::from_utf8(names).ok()?),
            _ => return None,
        };
        let mut packed = Self { length: 0, bytes: [0; Self::LONGEST], names };
        packed.push(numbers);
        packed.entry().filter(|_| packed.numbers() == numbers)?;
        Some(packed)
    }

    fn numbers(&self) -> &[u8] {
        self.bytes.get(..self.length.into()).unwrap_or_default()
    }

    /// As it is stored.
    pub(super) fn to_bytes(&self) -> Cow<'_, [u8]> {
        match self.names.as_text() {
            Some(names) => [self.numbers(), &[NAMED], names.as_bytes()].concat().into(),
            None => self.numbers().into(),
        }
    }

    /// The entry; `None` if these bytes are none.
    pub(super) fn entry(&self) -> Option<Entry> {
        let mut reader = Reader(self.numbers());
        let [flags] = reader.array()?;
        let state = match flags & 3 {
            0 => State::Nothing,
            1 => State::Unknown,
            2 => State::Held(Content(u64::from_le_bytes(reader.array()?))),
            _ => State::Refused(Content(u64::from_le_bytes(reader.array()?))),
        };
        let (scope, fresh) = match flags >> 4 & 3 {
            1 => (Some(Scope::In), false),
            2 => (Some(Scope::Out), false),
            other => (None, other == FRESH),
        };
        let absent = match flags >> 6 {
            0 => None,
            1 => Some(Absent::Proven),
            2 => Some(Absent::Since(to_time(reader.array()?)?)),
            _ => return None,
        };
        let names = self.names.clone();
        let at = match reader.0 {
            [] if !names.is_known() => None,
            never if never == NEVER && names.is_known() => {
                reader.0 = &[];
                None
            }
            _ => Some(to_time(reader.array()?)?),
        };
        let (there, unread) = (flags & THERE != 0, flags & UNREAD != 0);
        let entry = Entry { state, at, absent, there, scope, unread, fresh, names };
        reader.0.is_empty().then_some(entry)
    }

    pub(super) fn is_held(&self) -> bool {
        self.bytes.first().is_some_and(|flags| flags & 3 != 0)
    }

    /// Whether it will be put again soon: nobody knows yet what became of a post.
    pub(super) fn is_unknown(&self) -> bool {
        self.bytes.first().is_some_and(|flags| flags & 3 == 1)
    }

    pub(super) fn is_open(&self) -> bool {
        self.entry().is_some_and(|entry| entry.is_open())
    }
}

/// Nanoseconds since 1970. What lies outside of the years 1678 to 2262 becomes the nearest that does not.
pub(super) fn nanoseconds(time: Timestamp) -> i64 {
    let nanoseconds = time.as_nanosecond();
    i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
}

pub(super) fn timestamp(nanoseconds: i64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(nanoseconds.into()).ok()
}

fn of_time(time: Timestamp) -> [u8; 8] {
    nanoseconds(time).to_le_bytes()
}

fn to_time(bytes: [u8; 8]) -> Option<Timestamp> {
    timestamp(i64::from_le_bytes(bytes))
}

/// Entries that were put or forgotten. In the order of their keys they take the fewest bytes.
pub(super) fn journal(puts: &[Put]) -> Vec<u8> {
    let mut list = Writer::after(&[]);
    for (key, value) in puts {
        list.push(key, &value.as_ref().map_or(Cow::Borrowed(&[][..]), Packed::to_bytes));
    }
    list.into_bytes()
}

pub(super) type Put = (Arc<[u8]>, Option<Packed>);

pub(super) fn from_journal(bytes: &[u8]) -> Option<Vec<Put>> {
    let mut list = list::Reader::after(&[], bytes);
    let mut puts = Vec::new();
    while let Some((key, value)) = list.next().ok()? {
        let value = if value.is_empty() { None } else { Some(Packed::from_bytes(value)?) };
        puts.push((key.into(), value));
    }
    Some(puts)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}
