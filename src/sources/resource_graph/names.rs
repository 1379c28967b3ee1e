//! Limits how many ids a query names.

use std::collections::HashSet;

use crate::model::{Id, Stage};

/// The most ids that one query names.
pub(super) const FEW_NAMES: usize = 200;

/// The same in bytes. Ids are some hundred bytes long, so this limits only those that are longer.
const FEW_BYTES: usize = 64 << 10;

/// Splits ids into portions that a query can name.
pub(super) fn portions(ids: &[Id]) -> impl Iterator<Item = &[Id]> {
    let mut rest = ids;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = rest.iter().take(FEW_NAMES).take_while(|id| {
            bytes += id.as_str().len();
            bytes <= FEW_BYTES
        });
        let (portion, after) = rest.split_at_checked(fits.count().max(1))?;
        rest = after;
        Some(portion)
    })
}

/// Ids to be asked for together, with the roots of their shards.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) shards: Vec<Id>,
    /// Containers, and the shards themselves.
    pub(super) containers: Vec<Id>,
    pub(super) leaves: Vec<Id>,
    bytes: usize,
}

impl Asked {
    /// Splits ids into portions of up to `together` shards, each id once.
    pub(super) fn portions(ids: &[Id], together: usize) -> Vec<Self> {
        // Sorted by text, the ids of a shard are together.
        let mut ids: Vec<&Id> = ids.iter().collect();
        ids.sort_unstable();
        ids.dedup();
        let mut portions: Vec<Self> = Vec::new();
        let mut shards: HashSet<Id> = HashSet::new();
        for id in ids {
            let mut root = (!shards.contains(id.shard())).then(|| id.root());
            let fits = portions.last().is_some_and(|last| last.has_room(id, root.as_ref(), together));
            if !fits {
                portions.push(Self::default());
                shards.clear();
                root = Some(id.root());
            }
            let Some(last) = portions.last_mut() else { continue };
            if let Some(root) = root {
                shards.insert(root.clone());
                last.shards.push(root.clone());
                last.containers.push(root);
            }
            last.add(id);
        }
        portions
    }

    /// Whether there is room for an id, and for the root of its shard if that is new.
    fn has_room(&self, id: &Id, root: Option<&Id>, together: usize) -> bool {
        let roots = usize::from(root.is_some());
        self.shards.len() + roots <= together
            && self.containers.len() + self.leaves.len() + 1 + roots <= FEW_NAMES
            && self.bytes + id.as_str().len() <= FEW_BYTES
    }

    fn add(&mut self, id: &Id) {
        self.bytes += id.as_str().len();
        match id.stage() {
            Stage::Root => {}
            Stage::Container => self.containers.push(id.clone()),
            Stage::Leaf => self.leaves.push(id.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::arm_id::id_of;
    use super::*;

    fn leaf(shard: usize, n: usize) -> Id {
        id_of(&format!("/subscriptions/{shard}/resourcegroups/g/providers/a.b/c/{n}")).unwrap()
    }

    #[test]
    fn a_query_names_few_ids_and_no_long_text() {
        let ids: Vec<Id> = (0..450).map(|n| leaf(0, n)).collect();
        let sizes: Vec<usize> = portions(&ids).map(<[Id]>::len).collect();
        assert_eq!(sizes, [200, 200, 50]);
        let long: Vec<Id> =
            (0..20).map(|n| id_of(&format!("/subscriptions/s/{}{n}", "x".repeat(30_000))).unwrap()).collect();
        assert!(portions(&long).all(|portion| portion.len() == 2));
        assert_eq!(portions(&[]).count(), 0);
        let huge = [id_of(&format!("/subscriptions/{}", "s".repeat(65_000))).unwrap(), leaf(0, 0)];
        assert_eq!(portions(&huge).map(<[Id]>::len).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn what_is_asked_comes_with_its_shards_and_each_id_once() {
        let container = id_of("/subscriptions/1/resourcegroups/g").unwrap();
        let root = id_of("/subscriptions/2").unwrap();
        let ids = [leaf(1, 0), container.clone(), root.clone(), leaf(1, 0), leaf(0, 0)];
        let portions = Asked::portions(&ids, 10);
        let [asked] = &portions[..] else { panic!("{portions:?}") };
        let roots = ["/subscriptions/0", "/subscriptions/1", "/subscriptions/2"].map(|text| id_of(text).unwrap());
        assert_eq!(asked.shards, roots);
        assert_eq!(asked.leaves, [leaf(0, 0), leaf(1, 0)]);
        assert_eq!(asked.containers, [roots[0].clone(), roots[1].clone(), container, root]);
    }

    #[test]
    fn no_portion_is_of_too_many_shards_or_ids() {
        let ids: Vec<Id> = (0..5).flat_map(|shard| (0..150).map(move |n| leaf(shard, n))).collect();
        for together in [1, 2, 1000] {
            let portions = Asked::portions(&ids, together);
            for asked in &portions {
                assert!(asked.shards.len() <= together && asked.containers.len() + asked.leaves.len() <= FEW_NAMES);
                assert!(asked.leaves.iter().all(|id| asked.shards.contains(&id.root())));
            }
            assert_eq!(portions.iter().map(|asked| asked.leaves.len()).sum::<usize>(), ids.len());
        }
    }
}
