use std::collections::BTreeMap;
use std::fs;

use jiff::Timestamp;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::engine::{Absent, Content, State};
use crate::model::{Names, Scope};

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

/// The ids of a small estate: shards, containers, leaves in both. Names of all lengths, and such as begin alike.
fn ids() -> Vec<Id> {
    let mut ids = Vec::new();
    for shard in ["/s/a", "/s/ab", "/s/b"] {
        ids.push(Id::new(shard, shard.len(), shard.len()).unwrap());
        for leaf in ["/l", "/g/a", "/é\u{0}x"] {
            ids.push(Id::new([shard, leaf].concat(), shard.len(), shard.len()).unwrap());
        }
        for container in ["/g/a", "/g/ab", "/g/\u{0}", "/g/b"] {
            let container = [shard, container].concat();
            ids.push(Id::new(&*container, shard.len(), container.len()).unwrap());
            for leaf in ["/l", "/m", "b"] {
                ids.push(Id::new([&container, leaf].concat(), shard.len(), container.len()).unwrap());
            }
        }
    }
    // "/s/a/g/ab" is a container, and no leaf of "/s/a/g/a" as well; one text is one entity.
    let mut texts = std::collections::BTreeSet::new();
    ids.retain(|id| texts.insert(id.as_str().to_owned()));
    ids
}

pub(super) fn root(shard: &str) -> Id {
    Id::new(shard, shard.len(), shard.len()).unwrap()
}

pub(super) fn held(content: u64) -> Entry {
    Entry { state: State::Held(Content(content)), at: Some(time(1)), there: true, ..Entry::NEW }
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    (any::<i64>()).prop_map(|nanoseconds| Timestamp::from_nanosecond(nanoseconds.into()).unwrap())
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let state = prop_oneof![
        any::<u64>().prop_map(|content| State::Held(Content(content))),
        any::<u64>().prop_map(|content| State::Refused(Content(content))),
        Just(State::Unknown),
        Just(State::Nothing),
    ];
    let absent = prop_oneof![Just(None), Just(Some(Absent::Proven)), any_time().prop_map(|at| Some(Absent::Since(at)))];
    let scope = prop_oneof![Just(None), Just(Some(Scope::In)), Just(Some(Scope::Out))];
    let at = proptest::option::of(any_time());
    let names = proptest::option::of(proptest::collection::vec("[a-z /é]{0,12}", 0..4));
    (state, at, absent, any::<[bool; 3]>(), scope, names).prop_map(
        |(state, at, absent, [there, unread, fresh], scope, names)| {
            let names = names.map_or(Names::UNKNOWN, |names| Names::known(names.iter().map(String::as_str)));
            Entry { state, at, absent, there, scope, unread, fresh: fresh && scope.is_none(), names }
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    Put(prop::sample::Index, Option<Entry>),
    Mark(prop::sample::Index, Mark),
    Terms(bool),
    Last(u8),
    Save,
    /// A save that nobody waits for.
    Abandon,
    Reopen,
    Kill,
    Look,
}

fn any_step() -> impl Strategy<Value = Step> {
    let mark = (proptest::option::of(any_time()), proptest::option::of(any_time()));
    prop_oneof![
        12 => (any::<prop::sample::Index>(), proptest::option::weighted(0.8, any_entry()))
            .prop_map(|(id, entry)| Step::Put(id, entry)),
        2 => (any::<prop::sample::Index>(), mark).prop_map(|(id, (since, full))| Step::Mark(id, Mark { since, full })),
        1 => any::<bool>().prop_map(Step::Terms),
        1 => any::<u8>().prop_map(Step::Last),
        4 => Just(Step::Save),
        1 => Just(Step::Abandon),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
        2 => Just(Step::Look),
    ]
}

#[derive(Clone, Debug, Default)]
struct Model {
    entries: BTreeMap<Id, Entry>,
    marks: BTreeMap<Id, Mark>,
    terms: Option<Terms>,
    last: Option<String>,
}

impl Model {
    fn pages(
        most: usize,
        page: impl Fn(Option<&Id>, usize) -> Result<Vec<(Id, Entry)>, CheckpointError>,
    ) -> BTreeMap<Id, Entry> {
        let mut all = BTreeMap::new();
        let mut after = None;
        loop {
            let found = page(after.as_ref(), most).unwrap();
            assert!(found.len() <= most);
            let Some((last, _)) = found.last() else { return all };
            after = Some(last.clone());
            for (id, entry) in found {
                assert_eq!(all.insert(id.clone(), entry), None, "{id} came twice");
            }
        }
    }

    fn some(&self, is_meant: impl Fn(&Id, &Entry) -> bool) -> BTreeMap<Id, Entry> {
        let meant = self.entries.iter().filter(|(id, entry)| is_meant(id, entry));
        meant.map(|(id, entry)| (id.clone(), entry.clone())).collect()
    }

    fn check(&self, checkpoint: &Checkpoint, ids: &[Id], most: usize) {
        let mut totals = Totals::default();
        for id in ids {
            assert_eq!(checkpoint.entry(id).unwrap(), self.entries.get(id).cloned(), "{id}");
            let children = Self::pages(most, |after, most| checkpoint.children(id, after, most));
            if id.stage() != Stage::Leaf {
                assert_eq!(children, self.some(|child, _| child.parent().as_ref() == Some(id)), "in {id}");
            }
        }
        for shard in ids.iter().filter(|id| id.stage() == Stage::Root) {
            let entries = Self::pages(most, |after, most| checkpoint.entries(shard, after, most));
            assert_eq!(entries, self.some(|id, _| id.root() == *shard));
            assert!(entries.keys().all(|id| ids.iter().any(|other| {
                (other, other.shard_end(), other.container_end()) == (id, id.shard_end(), id.container_end())
            })));
            let open = Self::pages(most, |after, most| checkpoint.open_entries(shard, after, most));
            assert_eq!(open, self.some(|id, entry| id.root() == *shard && entry.is_open()));
            let held = self.some(|id, entry| id.root() == *shard && entry.is_held()).len() as u64;
            assert_eq!(checkpoint.held(shard), held);
            assert_eq!(checkpoint.mark(shard), self.marks.get(shard).copied().unwrap_or_default());
            totals.held += held;
            totals.in_doubt += open.iter().filter(|(_, entry)| entry.is_in_doubt()).count() as u64;
        }
        assert_eq!(checkpoint.totals().unwrap(), totals);
        let marked = self.marks.iter().filter(|(_, mark)| **mark != Mark::default()).map(|(id, _)| id.clone());
        let shards: std::collections::BTreeSet<_> = marked.chain(self.entries.keys().map(Id::root)).collect();
        assert_eq!(checkpoint.shards().unwrap(), Vec::from_iter(shards));
        assert_eq!((checkpoint.terms(), checkpoint.last_run()), (self.terms.clone(), self.last.clone()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_put_is_read_and_what_is_saved_outlives_the_run(
        steps in prop::collection::vec(any_step(), 1..80),
        over in 1..60_usize,
        block in 1..200_usize,
        most in 1..12_usize,
    ) {
        let directory = tempfile::tempdir().unwrap();
        runtime().block_on(run(&directory, steps, Sizes { over, block }, most));
    }

    #[test]
    fn an_entry_is_read_as_it_was_written(entry in any_entry()) {
        let packed = Packed::new(&entry);
        prop_assert_eq!(packed.entry(), Some(entry.clone()));
        prop_assert_eq!(Packed::from_bytes(&packed.to_bytes()), Some(packed.clone()));
        prop_assert_eq!((packed.is_held(), packed.is_open()), (entry.is_held(), entry.is_open()));
    }

    #[test]
    fn bytes_that_are_no_entry_are_never_taken_for_one(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
        if let Some(packed) = Packed::from_bytes(&bytes) {
            let again = Packed::new(&packed.entry().unwrap());
            prop_assert_eq!(&*again.to_bytes(), &bytes[..]);
        }
        _ = codec::from_journal(&bytes);
    }

    #[test]
    fn an_id_is_read_as_it_was_written(shard in ".{0,9}", container in ".{0,9}", leaf in ".{0,9}", number in any::<u32>()) {
        let container_end = shard.len() + container.len();
        let id = Id::new([&*shard, &container, &leaf].concat(), shard.len(), container_end).unwrap();
        let key = codec::key(number, &id);
        let read = codec::id(&shard, &key).unwrap();
        prop_assert_eq!(
            (read.as_str(), read.shard_end(), read.container_end(), codec::number(&key)),
            (id.as_str(), id.shard_end(), id.container_end(), Some(number))
        );
    }

    #[test]
    fn a_journal_is_read_as_it_was_written(
        puts in prop::collection::btree_map(prop::collection::vec(0..3_u8, 0..6), proptest::option::of(any_entry()), 0..9),
    ) {
        let puts: Vec<_> = puts.iter().map(|(key, entry)| (Arc::from(&key[..]), entry.as_ref().map(Packed::new))).collect();
        let bytes = codec::journal(&puts);
        prop_assert_eq!(codec::from_journal(&bytes), Some(puts));
        for cut in 0..bytes.len() {
            _ = codec::from_journal(&bytes[..cut]);
        }
    }
}

async fn run(directory: &TempDir, steps: Vec<Step>, sizes: Sizes, most: usize) {
    let ids = ids();
    let roots: Vec<_> = ids.iter().filter(|id| id.stage() == Stage::Root).cloned().collect();
    let mut path = directory.path().join("0");
    let mut checkpoint = Checkpoint::open_with(&path, sizes).await.unwrap();
    let (mut model, mut saved) = (Model::default(), Model::default());
    for (number, step) in steps.into_iter().chain([Step::Look, Step::Reopen, Step::Look]).enumerate() {
        match step {
            Step::Put(id, entry) => {
                let id = id.get(&ids);
                checkpoint.put(id, entry.clone()).unwrap();
                match entry {
                    Some(entry) => _ = model.entries.insert(id.clone(), entry),
                    None => _ = model.entries.remove(id),
                }
            }
            Step::Mark(shard, mark) => {
                checkpoint.set_mark(shard.get(&roots), mark);
                model.marks.insert(shard.get(&roots).clone(), mark);
            }
            Step::Terms(other) => {
                let terms = Terms { sink: "sink".into(), scope: if other { "all" } else { "some" }.into() };
                checkpoint.set_terms(terms.clone());
                model.terms = Some(terms);
            }
            Step::Last(last) => {
                checkpoint.set_last_run(last.to_string());
                model.last = Some(last.to_string());
            }
            Step::Save => {
                checkpoint.save().await.unwrap();
                saved = model.clone();
            }
            Step::Abandon => {
                // It may be done before it is looked at for the first time.
                _ = futures::poll!(Box::pin(checkpoint.save()));
                model.check(&checkpoint, &ids, most);
                let before = model.clone();
                checkpoint.put(&ids[1], Some(held(number as u64))).unwrap();
                model.entries.insert(ids[1].clone(), held(number as u64));
                model.check(&checkpoint, &ids, most);
                if number % 2 == 0 {
                    checkpoint.save().await.unwrap();
                    saved = model.clone();
                } else {
                    // Waits for the one that was abandoned, and saves nothing else.
                    checkpoint.finish(&mut *checkpoint.saving.lock().await).await.unwrap();
                    saved = before;
                }
            }
            Step::Reopen => {
                checkpoint.close().await.unwrap();
                saved = model.clone();
                checkpoint = Checkpoint::open_with(&path, sizes).await.unwrap();
            }
            Step::Kill => {
                // As the file is, so a kill leaves it.
                path = directory.path().join(format!("{}", number + 1));
                let old = checkpoint.path.clone();
                fs::copy(old, &path).unwrap();
                checkpoint = Checkpoint::open_with(&path, sizes).await.unwrap();
                model = saved.clone();
            }
            Step::Look => {
                model.check(&checkpoint, &ids, most);
            }
        }
    }
    assert!(names(directory).iter().all(|name| !name.contains("corrupt")), "{:?}", names(directory));
}

pub(super) fn names(directory: &TempDir) -> Vec<String> {
    let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// The estate of a measurement: ids as Azure writes them, in any order.
fn azure_ids(count: u64) -> Vec<Id> {
    const TYPES: [&str; 6] = [
        "microsoft.compute/virtualmachines/vm-",
        "microsoft.storage/storageaccounts/st",
        "microsoft.network/networkinterfaces/nic-app-prod-",
        "microsoft.keyvault/vaults/kv-",
        "microsoft.web/sites/app-backend-api-",
        "microsoft.sql/servers/sql-main-westeurope/databases/db-",
    ];
    let mut ids = Vec::new();
    for number in 0..count {
        let mixed = |salt: u64| (number.wrapping_add(salt)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ salt;
        let shard = number % 40;
        let shard_text = format!(
            "/subscriptions/{:08x}-1b2c-4d3e-8f90-{:012x}",
            shard * 0x1357_9bdf % 0xffff_ffff,
            shard * 0xdead_beef
        );
        let group = mixed(1) % (count / 1200 + 1);
        let container = format!("{shard_text}/resourcegroups/rg-team{}-workload-{group}-prod", group % 17);
        let kind = TYPES[usize::try_from(mixed(2) % 6).unwrap()];
        let text = format!("{container}/providers/{kind}{:06x}{:x}", mixed(3) % 0xff_ffff, number);
        ids.push(Id::new(text, shard_text.len(), container.len()).unwrap());
    }
    // Answers come in an order of their own.
    ids.sort_by_key(|id| {
        codec::key(0, id).iter().fold(7_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
    });
    ids
}

async fn fill(checkpoint: &Checkpoint, ids: &[Id]) {
    for (page, ids) in ids.chunks(1000).enumerate() {
        for id in ids {
            checkpoint.put(id, Some(Entry::NEW.doubted())).unwrap();
        }
        checkpoint.save().await.unwrap();
        for (number, id) in ids.iter().enumerate() {
            let content = (page * 1000 + number) as u64;
            checkpoint.put(id, Some(held(content.wrapping_mul(0x9e37_79b9_7f4a_7c15)))).unwrap();
        }
    }
    for shard in checkpoint.shards().unwrap() {
        checkpoint.set_mark(&shard, Mark { since: Some(time(7)), full: Some(time(7)) });
    }
    checkpoint.save().await.unwrap();
}

#[test]
fn a_file_takes_little_of_a_disk_and_less_of_a_cache() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    runtime().block_on(async {
        let checkpoint = Checkpoint::open(&path).await.unwrap();
        fill(&checkpoint, &azure_ids(20_000)).await;
        checkpoint.close().await.unwrap();
    });
    let bytes = fs::read(&path).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, &bytes).unwrap();
    let (raw, packed) = (bytes.len() / 20_000, encoder.finish().unwrap().len() / 20_000);
    assert!(raw <= 400 && packed <= 60, "{raw} bytes an entity, {packed} compressed");
}
