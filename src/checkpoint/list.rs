//! Entries in a row, as bytes: of each key what it does not share with the one before, and what is stored of the entry. The
//! journal is made of such lists, and so are the blocks, which are in the order of their keys.

use std::cmp::Ordering;

/// A list that ends too early, or shares more than there is; or an entry in it that is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A list that is being written.
#[derive(Debug)]
pub(super) struct Writer {
    last: Vec<u8>,
    bytes: Vec<u8>,
}

impl Writer {
    /// One whose first key is stored as if it came after this one.
    pub(super) fn after(key: &[u8]) -> Self {
        Self { last: key.to_vec(), bytes: Vec::new() }
    }

    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) {
        let shared = shared(&self.last, key);
        let rest = key.get(shared..).unwrap_or_default();
        for length in [shared, rest.len(), value.len()] {
            push_length(&mut self.bytes, length);
        }
        self.bytes.extend_from_slice(rest);
        self.bytes.extend_from_slice(value);
        self.last.truncate(shared);
        self.last.extend_from_slice(rest);
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// A key, and what is stored of it.
type Pair<'k, 'a> = (&'k [u8], &'a [u8]);

/// How much a key shares with the one before, the rest of it, and what is stored of it.
type Record<'a> = (usize, &'a [u8], &'a [u8]);

/// A list that is being read.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    key: Vec<u8>,
}

impl<'a> Reader<'a> {
    /// One that was [written after](Writer::after) this key.
    pub(super) fn after(key: &[u8], list: &'a [u8]) -> Self {
        Self { rest: list, key: key.to_vec() }
    }

    /// The next entry; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Pair<'_, 'a>>, Malformed> {
        let Some((shared, rest, value)) = record(&mut self.rest)? else { return Ok(None) };
        if shared > self.key.len() {
            return Err(Malformed);
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(rest);
        Ok(Some((&self.key, value)))
    }
}

/// What is stored of a key in a list that is in order, and was written after one that is not beyond it. No key is put together.
pub(super) fn find<'a>(after: &[u8], mut list: &'a [u8], key: &[u8]) -> Result<Option<&'a [u8]>, Malformed> {
    // How much the last key, which comes before, has in common with the one that is looked for.
    let mut common = shared(after, key);
    while let Some((shares, rest, value)) = record(&mut list)? {
        match shares.cmp(&common) {
            // It differs where the last one does, and in the same way.
            Ordering::Greater => {}
            Ordering::Less => return Ok(None),
            Ordering::Equal => {
                let wanted = key.get(shares..).unwrap_or_default();
                let more = shared(rest, wanted);
                common += more;
                match (rest.get(more), wanted.get(more)) {
                    (None, None) => return Ok(Some(value)),
                    (Some(here), wanted) if wanted.is_none_or(|wanted| here > wanted) => return Ok(None),
                    _ => {}
                }
            }
        }
    }
    Ok(None)
}

/// The next of a list.
fn record<'a>(list: &mut &'a [u8]) -> Result<Option<Record<'a>>, Malformed> {
    if list.is_empty() {
        return Ok(None);
    }
    let (shared, rest, value) = (length(list)?, length(list)?, length(list)?);
    let mut take = |length| {
        let (taken, rest) = list.split_at_checked(length).ok_or(Malformed)?;
        *list = rest;
        Ok(taken)
    };
    Ok(Some((shared, take(rest)?, take(value)?)))
}

/// How many bytes two keys begin with alike.
fn shared(one: &[u8], other: &[u8]) -> usize {
    const WIDE: usize = 16;
    let mut same = 0;
    for (one, other) in one.as_chunks::<WIDE>().0.iter().zip(other.as_chunks::<WIDE>().0) {
        let differs = u128::from_le_bytes(*one) ^ u128::from_le_bytes(*other);
        if differs != 0 {
            return same + (differs.trailing_zeros() / u8::BITS) as usize;
        }
        same += WIDE;
    }
    same + one.iter().zip(other).skip(same).take_while(|(one, other)| one == other).count()
}

/// Seven bits a byte, the least ones first; the highest bit says that more follow.
fn push_length(bytes: &mut Vec<u8>, mut length: usize) {
    const MORE: u8 = 1 << 7;
    loop {
        let [low, ..] = length.to_le_bytes();
        length >>= 7;
        if length == 0 {
            return bytes.push(low & !MORE);
        }
        bytes.push(low | MORE);
    }
}

fn length(list: &mut &[u8]) -> Result<usize, Malformed> {
    // Most take one byte.
    if let Some((byte, rest)) = list.split_first()
        && byte >> 7 == 0
    {
        *list = rest;
        return Ok((*byte).into());
    }
    let mut length = 0;
    let mut shift = 0;
    while shift < usize::BITS {
        let (byte, rest) = list.split_first().ok_or(Malformed)?;
        *list = rest;
        length |= usize::from(byte & 0x7f) << shift;
        if byte >> 7 == 0 {
            return Ok(length);
        }
        shift += 7;
    }
    Err(Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        (0..40_usize, prop::collection::vec(0..3_u8, 0..6)).prop_map(|(long, end)| [vec![1; long], end].concat())
    }

    type Owned = (Vec<u8>, Vec<u8>);

    fn all(after: &[u8], list: &[u8]) -> Result<Vec<Owned>, Malformed> {
        let mut reader = Reader::after(after, list);
        let mut all = Vec::new();
        while let Some((key, value)) = reader.next()? {
            all.push((key.to_vec(), value.to_vec()));
        }
        Ok(all)
    }

    proptest! {
        #[test]
        fn a_list_is_read_as_it_was_written(
            entries in prop::collection::vec((key(), prop::collection::vec(any::<u8>(), 0..200)), 0..9),
            after in key(),
        ) {
            let mut writer = Writer::after(&after);
            for (key, value) in &entries {
                writer.push(key, value);
            }
            let bytes = writer.into_bytes();
            prop_assert_eq!(all(&after, &bytes), Ok(entries));
            for cut in 0..bytes.len() {
                _ = all(&after, &bytes[..cut]);
            }
        }

        #[test]
        fn what_is_in_a_list_is_found_and_nothing_else(
            entries in prop::collection::btree_map(key(), prop::collection::vec(any::<u8>(), 0..3), 1..20),
            others in prop::collection::vec(key(), 0..20),
        ) {
            let first = entries.keys().next().unwrap();
            let mut writer = Writer::after(first);
            for (key, value) in &entries {
                writer.push(key, value);
            }
            let bytes = writer.into_bytes();
            for key in entries.keys().chain(&others).filter(|key| *key >= first) {
                prop_assert_eq!(find(first, &bytes, key), Ok(entries.get(key).map(Vec::as_slice)));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40), key in key()) {
            _ = all(&key, &bytes);
            _ = find(&key, &bytes, &key);
        }
    }

    #[test]
    fn a_length_takes_as_many_bytes_as_it_needs() {
        for (number, bytes) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (usize::MAX, 10)] {
            let mut written = Vec::new();
            push_length(&mut written, number);
            assert_eq!((written.len(), length(&mut &*written)), (bytes, Ok(number)));
        }
        assert_eq!(length(&mut &[0xff; 20][..]), Err(Malformed));
    }
}
