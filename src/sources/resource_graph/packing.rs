//! Splits a large result: small subscriptions are grouped, a large one is split by the hashes of its ids.
//!
//! This way, neighbours in the checkpoint arrive at about the same time, and a query covers few subscriptions.

use super::queries::Slice;
use super::reading::Portion;

/// More parts of a subscription than this would mean a bug of ours, or a service whose numbers never add up.
const MOST_PARTS: u32 = 1 << 14;

/// Divides a portion of `rows` rows into at least two parts of about `most` rows each; `None` if there would be too
/// many. `size` says how many resources a subscription has, as far as known.
pub(super) fn parts<'a>(
    portion: &Portion<'a>,
    rows: u64,
    most: u64,
    size: impl Fn(&str) -> u64,
) -> Option<Vec<Portion<'a>>> {
    if portion.subscriptions.len() < 2 || matches!(portion.slice, Slice::Named(_)) {
        return finer(portion, parts_of(rows, most).max(2));
    }
    let of = |subscriptions: Vec<&'a str>| portion.over(subscriptions.into());
    // Plus one each, because the rows need not be resources.
    let mut sized: Vec<(u64, &str)> = portion.subscriptions.iter().map(|one| (size(one) + 1, *one)).collect();
    sized.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    let all: u128 = sized.iter().map(|(size, _)| u128::from(*size)).sum();
    let most = most.min(rows.div_ceil(2)).max(1);
    let mut parts = Vec::new();
    let mut packed: Vec<(u64, Vec<&str>)> = Vec::new();
    for (size, subscription) in sized {
        let rows = u64::try_from((u128::from(rows) * u128::from(size)).div_ceil(all)).unwrap_or(rows);
        if rows > most {
            parts.extend(finer(&of(vec![subscription]), parts_of(rows, most))?);
            continue;
        }
        match packed.iter_mut().find(|(taken, _)| taken.saturating_add(rows) <= most) {
            Some((taken, together)) => {
                *taken += rows;
                together.push(subscription);
            }
            None => packed.push((rows, vec![subscription])),
        }
    }
    parts.extend(packed.into_iter().map(|(_, together)| of(together)));
    Some(parts)
}

/// Divides a portion into `by` parts, by the hashes of its ids or by the ids it names; `None` if there would be too
/// many.
pub(super) fn finer<'a>(portion: &Portion<'a>, by: u32) -> Option<Vec<Portion<'a>>> {
    let slices: Vec<Slice> = match &portion.slice {
        Slice::Hashed(part) if part.of.saturating_mul(by) > MOST_PARTS => return None,
        Slice::Hashed(part) => part.split(by).map(Slice::Hashed).collect(),
        Slice::Named(ids) => {
            let size = ids.len().div_ceil(usize::try_from(by).unwrap_or(usize::MAX).max(1)).max(1);
            ids.chunks(size).map(|ids| Slice::Named(ids.to_vec())).collect()
        }
    };
    Some(slices.into_iter().map(|slice| portion.with(slice)).collect())
}

pub(super) fn parts_of(rows: u64, in_a_part: u64) -> u32 {
    u32::try_from(rows.div_ceil(in_a_part)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::queries::Part;
    use super::*;

    proptest! {
        #[test]
        fn every_row_is_in_one_part_and_no_part_is_larger_than_asked_for(
            sizes in prop::collection::vec(0_u64..5_000, 2..200),
            most in 100_u64..1_000,
        ) {
            let names: Vec<String> = (0..sizes.len()).map(|number| format!("s{number}")).collect();
            let size: BTreeMap<&str, u64> = names.iter().map(String::as_str).zip(sizes.iter().copied()).collect();
            let rows: u64 = sizes.iter().map(|size| size + 1).sum();
            prop_assume!(rows > most);
            let whole = Portion::whole(size.keys().copied().collect());
            let parts = parts(&whole, rows, most, |one| size[one]).unwrap();
            prop_assert!(parts.len() > 1);
            let mut shares: BTreeMap<&str, Vec<Part>> = BTreeMap::new();
            for part in &parts {
                let Slice::Hashed(slice) = part.slice else { panic!("{:?}", part.slice) };
                let all: u64 = part.subscriptions.iter().map(|one| size[one] + 1).sum();
                prop_assert!(all.div_ceil(slice.of.into()) <= most, "{all} in {slice:?}");
                for one in part.subscriptions.iter() {
                    shares.entry(one).or_default().push(slice);
                }
            }
            prop_assert_eq!(shares.len(), size.len());
            for slices in shares.values() {
                let expected: Vec<Part> = Part::WHOLE.split(u32::try_from(slices.len()).unwrap()).collect();
                prop_assert_eq!(slices, &expected);
            }
        }
    }

    #[test]
    fn sizes_that_are_wrong_or_unknown_still_divide() {
        let whole = Portion::whole(["a", "b", "c"].into());
        for size in [0, 1, u64::MAX / 8] {
            let parts = parts(&whole, 1_001, 930, |one| if one == "a" { size } else { 0 }).unwrap();
            assert!(parts.len() > 1, "{size}");
        }
    }
}
