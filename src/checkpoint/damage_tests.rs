//! Files that cannot serve, and those that others have.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use super::tests::{held, names, root, runtime};
use super::*;
use crate::error::{Exit, Problem as _};

fn leaf(number: u64) -> Id {
    let text = format!("/subscriptions/s{}/resourcegroups/g{}/providers/x/y{number}", number % 3, number % 7);
    Id::new(text, 17, 35).unwrap()
}

/// A file with so many entries, folded or still in the journal, and what it holds.
async fn filled(path: &Path, count: u64, most_over: usize) {
    let checkpoint = Checkpoint::open_with(path, Sizes { over: most_over, ..Sizes::default() }).await.unwrap();
    checkpoint.set_terms(Terms { sink: "sink".into(), scope: "scope".into() });
    for number in 1..count {
        checkpoint.put(&leaf(number), Some(held(number))).unwrap();
    }
    checkpoint.save().await.unwrap();
    // What is put after a save has others folded.
    checkpoint.put(&leaf(0), Some(held(0))).unwrap();
    checkpoint.close().await.unwrap();
}

fn aside(directory: &tempfile::TempDir, why: &str) -> Vec<String> {
    names(directory).into_iter().filter(|name| name.contains(why)).collect()
}

/// `None` if it began anew; fails if anything is read otherwise than it was written.
fn read_all(checkpoint: &Checkpoint, count: u64) -> Option<()> {
    checkpoint.terms()?;
    for number in 0..count {
        assert_eq!(checkpoint.entry(&leaf(number)).unwrap(), Some(held(number)));
    }
    let entries: usize = (0..3)
        .map(|shard| checkpoint.entries(&root(&format!("/subscriptions/s{shard}")), None, usize::MAX).unwrap().len())
        .sum();
    assert_eq!(entries as u64, count);
    assert_eq!(checkpoint.totals().unwrap(), Totals { held: count, in_doubt: 0 });
    Some(())
}

#[test]
fn a_flipped_bit_is_found_or_does_no_harm() {
    flip_bits(10);
}

#[test]
fn a_flipped_bit_is_found_or_does_no_harm_while_all_is_in_the_journal() {
    flip_bits(100_000);
}

/// Flips one bit of a file of which so much may be in the journal, 200 times.
fn flip_bits(most_over: usize) {
    let random = |seed: u64| {
        (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 7
    };
    let directory = tempfile::tempdir().unwrap();
    let good = directory.path().join("good");
    runtime().block_on(filled(&good, 2000, most_over));
    let good = fs::read(good).unwrap();
    let mut found = 0;
    for flip in 0..200 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let mut bytes = good.clone();
        // Every other one in the part that says where everything is.
        let within = if flip % 2 == 0 { bytes.len() } else { 512 };
        let bit = usize::try_from(random(flip)).unwrap() % (within * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        runtime().block_on(async {
            let read = Checkpoint::open_to_read(&path).await;
            match &read {
                Ok(checkpoint) => assert_eq!(read_all(checkpoint, 2000), Some(())),
                Err(error) => assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}"),
            }
            assert_eq!(fs::read(&path).unwrap(), bytes);
            drop(read);
            let checkpoint = Checkpoint::open(&path).await.unwrap();
            let is_new = read_all(&checkpoint, 2000).is_none();
            found += u32::from(is_new);
            let aside = aside(&directory, "file.corrupt-");
            assert_eq!(is_new, aside.len() == 1);
            for aside in aside {
                assert_eq!(fs::read(directory.path().join(aside)).unwrap(), bytes);
            }
        });
    }
    assert!(found > 20);
}

#[tokio::test]
async fn a_truncated_file_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    filled(&path, 2000, 10).await;
    let good = fs::read(&path).unwrap();
    for (number, length) in
        [0, 1, 8, 9, 100, 320, 4095, 4096, 5000, 50_000, good.len() / 2, good.len() - 1].iter().enumerate()
    {
        fs::write(&path, &good[..*length]).unwrap();
        let checkpoint = Checkpoint::open(&path).await.unwrap();
        assert_eq!(read_all(&checkpoint, 2000), None, "{length}");
        assert_eq!(aside(&directory, "file.corrupt-").len(), number + 1, "{length}");
        drop(checkpoint);
        filled(&path, 20, 10).await;
        read_all(&Checkpoint::open(&path).await.unwrap(), 20).unwrap();
    }
}

#[tokio::test]
async fn what_another_program_wrote_is_set_aside_and_what_an_older_version_wrote_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let foreign = redb::Database::create(&path).unwrap();
    let transaction = foreign.begin_write().unwrap();
    transaction.open_table(redb::TableDefinition::<u64, u64>::new("meta")).unwrap().insert(1, 1).unwrap();
    transaction.commit().unwrap();
    drop(foreign);
    let foreign = fs::read(&path).unwrap();
    let cases: [(&[u8], &str); 4] = [
        (b"{\"version\": 1}", "old"),
        (b"SQLite format 3\0 and so on", "corrupt"),
        (&[0; 9000], "corrupt"),
        (&foreign, "corrupt"),
    ];
    for (content, why) in cases {
        fs::write(&path, content).unwrap();
        assert!(matches!(Checkpoint::open_to_read(&path).await, Err(CheckpointError::Damaged { .. })));
        let before = names(&directory);
        drop(Checkpoint::open(&path).await.unwrap());
        let new: Vec<_> = names(&directory).into_iter().filter(|name| !before.contains(name)).collect();
        assert!(new.len() == 1 && new[0].starts_with(&format!("file.{why}-")), "{new:?}");
        assert_eq!(fs::read(directory.path().join(&new[0])).unwrap(), content);
    }
}

#[tokio::test]
async fn a_directory_in_place_of_the_file_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("precious"), "untouched").unwrap();
    drop(Checkpoint::open(&path).await.unwrap());
    let aside = aside(&directory, "file.corrupt-");
    assert_eq!(fs::read(directory.path().join(&aside[0]).join("precious")).unwrap(), b"untouched");
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    filled(&path, 20, 10).await;
    let newer = redb::Database::create(&path).unwrap();
    let transaction = newer.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
    transaction.open_table(meta).unwrap().insert("format", &7_u32.to_le_bytes()[..]).unwrap();
    transaction.commit().unwrap();
    drop(newer);
    let bytes = fs::read(&path).unwrap();
    for opened in [Checkpoint::open(&path).await, Checkpoint::open_to_read(&path).await] {
        let Err(error) = opened else { panic!("it was opened") };
        assert!(error.to_string().contains("has format 7") && error.to_string().contains("knows format 1"), "{error}");
        assert_eq!(error.exit(), Exit::Configuration);
    }
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(names(&directory), ["file"]);
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named_at_once() {
    for path in ["/nonexistent/file", "/proc/checkpoint", "/dev/null", "/proc/version"] {
        let Err(error) = Checkpoint::open(Path::new(path)).await else { panic!("{path} was opened") };
        assert!(matches!(error, CheckpointError::Unusable { .. }), "{error:?}");
        assert!(error.to_string().starts_with(&format!("CHECKPOINT_FILE: {path} cannot be ")), "{error}");
        assert_eq!((error.exit(), error.advice().is_some()), (Exit::Configuration, true));
    }
}

#[tokio::test]
async fn a_file_in_use_is_waited_for_and_a_reader_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    filled(&path, 20, 10).await;
    let first = Checkpoint::open(&path).await.unwrap();
    let Err(error) = Checkpoint::open_to_read(&path).await else { panic!("it was opened") };
    assert!(error.to_string().ends_with("is in use by another process"), "{error}");
    assert_eq!(error.exit(), Exit::Failed);
    let (second, ()) = tokio::join!(Checkpoint::open(&path), async {
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        first.close().await.unwrap();
    });
    read_all(&second.unwrap(), 20).unwrap();
}

#[tokio::test]
async fn two_may_read_at_once_and_neither_leaves_a_trace() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    filled(&path, 20, 1000).await;
    let bytes = fs::read(&path).unwrap();
    let one = Checkpoint::open_to_read(&path).await.unwrap();
    let other = Checkpoint::open_to_read(&path).await.unwrap();
    let container = leaf(1).parent().unwrap();
    for checkpoint in [&one, &other] {
        read_all(checkpoint, 20).unwrap();
        checkpoint.put(&leaf(1), None).unwrap();
        checkpoint.put(&container, Some(held(9))).unwrap();
        checkpoint.save().await.unwrap();
        assert_eq!(checkpoint.entry(&leaf(1)).unwrap(), Some(held(1)));
        assert_eq!(checkpoint.entry(&container).unwrap(), Some(held(9)));
    }
    one.close().await.unwrap();
    drop(other);
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(names(&directory), ["file"]);
}

#[tokio::test]
async fn what_a_killed_run_left_is_read_without_being_written() {
    let directory = tempfile::tempdir().unwrap();
    let (path, killed) = (directory.path().join("file"), directory.path().join("killed"));
    let checkpoint = Checkpoint::open(&path).await.unwrap();
    checkpoint.set_terms(Terms { sink: "sink".into(), scope: "scope".into() });
    for number in 0..20 {
        checkpoint.put(&leaf(number), Some(held(number))).unwrap();
        checkpoint.save().await.unwrap();
    }
    checkpoint.put(&leaf(1), None).unwrap();
    fs::copy(&path, &killed).unwrap();
    let bytes = fs::read(&killed).unwrap();
    read_all(&Checkpoint::open_to_read(&killed).await.unwrap(), 20).unwrap();
    assert_eq!(fs::read(&killed).unwrap(), bytes);
    read_all(&Checkpoint::open(&killed).await.unwrap(), 20).unwrap();
}

#[tokio::test]
async fn without_a_file_a_reader_finds_nothing_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open_to_read(&directory.path().join("file")).await.unwrap();
    assert!(checkpoint.terms().is_none() && checkpoint.shards().unwrap().is_empty() && checkpoint.remembers());
    checkpoint.close().await.unwrap();
    assert_eq!(names(&directory), [""; 0]);
}

#[tokio::test]
async fn without_memory_only_roots_and_containers_are_kept() {
    let checkpoint = Checkpoint::stateless();
    let container = leaf(1).parent().unwrap();
    for id in [&leaf(1), &container, &container.root()] {
        checkpoint.put(id, Some(held(1))).unwrap();
    }
    assert!(!checkpoint.remembers());
    assert_eq!(checkpoint.entry(&leaf(1)).unwrap(), None);
    assert_eq!(checkpoint.entry(&container).unwrap(), Some(held(1)));
    assert_eq!(checkpoint.children(&container.root(), None, 9).unwrap(), [(container.clone(), held(1))]);
    assert_eq!(checkpoint.held(&container.root()), 2);
    checkpoint.save().await.unwrap();
    checkpoint.close().await.unwrap();
}

#[tokio::test]
async fn the_file_is_its_owners_alone_and_a_link_to_it_stays_a_link() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let (target, path) = (directory.path().join("target"), directory.path().join("file"));
    std::os::unix::fs::symlink(&target, &path).unwrap();
    for content in [None, Some("damaged")] {
        if let Some(content) = content {
            fs::write(&target, content).unwrap();
            fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
        }
        filled(&path, 20, 10).await;
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        read_all(&Checkpoint::open(&path).await.unwrap(), 20).unwrap();
    }
    assert_eq!(aside(&directory, "target.corrupt-").len(), 1);
}

#[tokio::test]
async fn a_file_that_cannot_be_moved_is_copied_aside() {
    // A directory that may not be changed cannot be had as root; what is done instead is asked for directly.
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("file"), directory.path().join("copy"));
    fs::write(&path, "damaged").unwrap();
    file::copy_aside(&path, &copy).unwrap();
    assert_eq!((fs::read(&copy).unwrap(), fs::read(&path).unwrap().len()), (b"damaged".to_vec(), 0));
    assert!(file::copy_aside(&path, &copy).is_err());
}

#[tokio::test]
async fn what_does_not_change_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let checkpoint = Checkpoint::open(&path).await.unwrap();
    let put = || {
        checkpoint.put(&leaf(1), Some(held(1))).unwrap();
        checkpoint.set_terms(Terms { sink: "sink".into(), scope: "scope".into() });
        checkpoint.set_mark(&root("/subscriptions/s1"), Mark { since: Some(jiff::Timestamp::UNIX_EPOCH), full: None });
        checkpoint.set_last_run("{}".into());
    };
    put();
    checkpoint.save().await.unwrap();
    let bytes = fs::read(&path).unwrap();
    put();
    checkpoint.save().await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
}
