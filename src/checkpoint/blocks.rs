//! The entries of the file, in blocks. A block is the entries that follow each other in the order of the keys, as many as fit a page
//! of the database, as one value under the key of the first. So a fold of thousands of entries writes hundreds of values.

use std::ops::{Bound, RangeBounds};

use redb::{ReadOnlyTable, ReadableTable as _, Table};

use super::codec::{Keys, Packed, Put};
use super::error::Fault;
use super::list::{Malformed, Reader, Writer, find};

/// A block that is larger is divided. With its key it fits a page of 4 KB.
pub(super) const LARGEST: usize = 3_600;

type Key = &'static [u8];

/// The entry of a key.
pub(super) fn entry(blocks: &ReadOnlyTable<Key, Key>, key: &[u8]) -> Result<Option<Packed>, Fault> {
    let Some((first, list)) = blocks.upper_bound(Bound::Included(key))?.prev()? else { return Ok(None) };
    Ok(find(first.value(), list.value(), key)?.map(packed).transpose()?)
}

/// The entries of a range. A block is read once the one before has been taken.
pub(super) fn entries<'a>(
    blocks: &ReadOnlyTable<Key, Key>,
    keys: &'a Keys,
) -> Result<impl Iterator<Item = Result<(Vec<u8>, Packed), Fault>> + use<'a>, Fault> {
    let (from, to) = keys.bounds();
    // The range may begin in the middle of a block.
    let begun = match from {
        Bound::Included(key) | Bound::Excluded(key) => blocks.upper_bound(Bound::Included(key))?.prev()?,
        Bound::Unbounded => None,
    };
    let from = begun.as_ref().map_or(from, |(first, _)| Bound::Included(first.value()));
    Ok(blocks.range::<&[u8]>((from, to))?.flat_map(|block| {
        let found = block.map_err(Fault::from).and_then(|(first, list)| within(first.value(), list.value(), keys));
        let (found, fault) = found.map_or_else(|fault| (Vec::new(), Some(fault)), |found| (found, None));
        found.into_iter().map(Ok).chain(fault.map(Err))
    }))
}

/// What of a block is in a range.
fn within(first: &[u8], list: &[u8], keys: &Keys) -> Result<Vec<(Vec<u8>, Packed)>, Fault> {
    let mut reader = Reader::after(first, list);
    let mut found = Vec::new();
    while let Some((key, value)) = reader.next()? {
        if RangeBounds::<[u8]>::contains(&keys.bounds(), key) {
            found.push((key.to_vec(), packed(value)?));
        }
    }
    Ok(found)
}

/// Puts entries where they belong, and tells what each was before. They are in order. A block that gets larger than `largest` is
/// divided.
pub(super) fn put(
    blocks: &mut Table<'_, Key, Key>,
    largest: usize,
    mut puts: &[Put],
    mut tell: impl FnMut(&Put, Option<Packed>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    while let Some((key, _)) = puts.first() {
        let (old, end) = {
            let mut cursor = blocks.upper_bound(Bound::Included(&**key))?;
            let old = match cursor.prev()? {
                Some(old) => {
                    cursor.next()?;
                    Some(old)
                }
                // What comes before all others goes into the first block.
                None => cursor.next()?,
            };
            let end = cursor.next()?.map(|(end, _)| end.value().to_vec());
            (old.map(|(first, list)| (first.value().to_vec(), list.value().to_vec())), end)
        };
        let here = puts.partition_point(|(key, _)| end.as_ref().is_none_or(|end| key[..] < end[..]));
        let (now, later) = puts.split_at(here);
        let (first, list) = old.as_ref().map_or((&[][..], &[][..]), |(first, list)| (first, list));
        let merged = merge(first, list, now, &mut tell)?;
        let mut is_replaced = false;
        for (key, list) in divided(merged, largest)? {
            is_replaced |= key == first;
            blocks.insert(&*key, &*list)?;
        }
        if old.is_some() && !is_replaced {
            blocks.remove(first)?;
        }
        puts = later;
    }
    Ok(())
}

/// A block that is being written, with its key.
type Block = (Vec<u8>, Writer);

/// A block with its key, as it is stored.
type Stored = (Vec<u8>, Vec<u8>);

fn push(block: &mut Option<Block>, key: &[u8], value: &[u8]) {
    block.get_or_insert_with(|| (key.to_vec(), Writer::after(key))).1.push(key, value);
}

/// A block, and what is put into it; `None` if nothing is left.
fn merge(
    first: &[u8],
    list: &[u8],
    puts: &[Put],
    mut tell: impl FnMut(&Put, Option<Packed>) -> Result<(), Fault>,
) -> Result<Option<Block>, Fault> {
    let mut merged = None;
    let mut old = Reader::after(first, list);
    let mut puts = puts.iter().peekable();
    loop {
        let next = old.next()?;
        while let Some(put) = puts.next_if(|(key, _)| next.is_none_or(|(next, _)| key[..] < *next)) {
            replace(&mut merged, put, None, &mut tell)?;
        }
        let Some((key, value)) = next else { return Ok(merged) };
        match puts.next_if(|(put, _)| put[..] == *key) {
            Some(put) => replace(&mut merged, put, Some(packed(value)?), &mut tell)?,
            None => push(&mut merged, key, value),
        }
    }
}

/// Puts an entry in the place of what was there before.
fn replace(
    block: &mut Option<Block>,
    put: &Put,
    before: Option<Packed>,
    tell: impl FnOnce(&Put, Option<Packed>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if let (key, Some(value)) = put {
        push(block, key, &value.to_bytes());
    }
    tell(put, before)
}

/// A block that is larger than this, in parts that are about as large as each other.
fn divided(block: Option<Block>, largest: usize) -> Result<Vec<Stored>, Fault> {
    let Some((first, writer)) = block else { return Ok(Vec::new()) };
    let list = writer.into_bytes();
    let parts = list.len().div_ceil(largest);
    if parts <= 1 {
        return Ok(vec![(first, list)]);
    }
    let mut divided = Vec::new();
    let mut part: Option<Block> = None;
    let mut reader = Reader::after(&first, &list);
    while let Some((key, value)) = reader.next()? {
        push(&mut part, key, value);
        let is_full = |(_, writer): &mut Block| writer.len() >= list.len() / parts;
        divided.extend(part.take_if(is_full).map(|(first, writer)| (first, writer.into_bytes())));
    }
    divided.extend(part.map(|(first, writer)| (first, writer.into_bytes())));
    Ok(divided)
}

fn packed(bytes: &[u8]) -> Result<Packed, Malformed> {
    Packed::from_bytes(bytes).ok_or(Malformed)
}
