//! An Entra ID tenant: how it changes, and what goes wrong.

mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use azure_incremental::cli::Settings as Flags;
use azure_incremental::config::Mode;
use sandbox::Sandbox;
use sandbox::clock;
use sandbox::directory::{Id, life};
use sandbox::expected::{DirectoryScope, Expected, Membership, SignIns};
use sandbox::settings::{DirectorySize, EntraSettings, EstateSize, Settings};
use serde_json::Value;

use super::story::{DAY, MINUTE, Plot, Story, TICK};
use super::workflow::Workflow;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// 429, 503 and broken connections on both sides.
    Errors,
    /// Port is down for several runs in a row.
    Outages,
    /// Port applies posts without answering, or after the run.
    Lost,
    /// Runs are killed.
    Kills,
    /// Links become invalid, in every possible way.
    Resets,
    /// Rounds replay, repeat and contradict themselves, and omit restores.
    Rounds,
    /// Restores show or not, while runs are killed.
    Restores,
    /// Endpoints lag behind one another by up to 40 minutes.
    Replicas,
    /// Occasional full comparisons, while endpoints lag behind one another.
    Comparisons,
    /// Page links and access tokens expire while in use.
    Expiry,
    /// Permissions are revoked and granted again.
    Rights,
    /// Guests, disabled accounts and Microsoft's service principals are out of scope.
    Filters,
    /// Nothing runs for days.
    Pauses,
    /// The checkpoint is lost or damaged.
    Losses,
    /// The checkpoint is outdated.
    Rollbacks,
    /// Everything that leaves the checkpoint trustworthy.
    Mixed,
}

/// The state of a story's trouble.
#[derive(Default)]
pub(crate) struct Course {
    /// What was deleted between a run and the loss of its checkpoint, by blueprint and identifier.
    unseen: BTreeSet<(String, String)>,
    /// What happened to each object, for people.
    posts: BTreeMap<Id, Vec<String>>,
}

impl Trouble {
    fn is_filtered(self) -> bool {
        matches!(self, Self::Filters | Self::Mixed)
    }

    fn is_behind(self) -> bool {
        matches!(self, Self::Replicas | Self::Comparisons | Self::Mixed)
    }

    fn hides_restores(self) -> bool {
        matches!(self, Self::Rounds | Self::Restores | Self::Filters | Self::Mixed)
    }

    /// The side that lists memberships.
    fn membership(self) -> Membership {
        match self {
            Self::Kills | Self::Rollbacks | Self::Comparisons | Self::Filters | Self::Mixed | Self::Outages => {
                Membership::Both
            }
            Self::Resets | Self::Replicas | Self::Losses | Self::Expiry => Membership::User,
            _ => Membership::Group,
        }
    }

    /// Whether sign-ins are synced.
    fn has_sign_ins(self) -> bool {
        !matches!(self, Self::None | Self::Rights)
    }

    /// Whether reads always return the current state.
    fn is_up_to_date(self) -> bool {
        !self.is_behind() && self != Self::Rounds
    }
}

impl Plot for Trouble {
    type Scope = DirectoryScope;
    type Course = Course;

    fn length(self) -> (u64, usize) {
        (1, 8)
    }

    fn settings(self, mut settings: Settings) -> Settings {
        settings.estate = EstateSize { subscriptions: 0, groups: 0, resources: 0 };
        settings.directory = DirectorySize {
            users: 40,
            groups: 8,
            memberships: 100,
            applications: 4,
            service_principals: 6,
            large: vec![25],
        };
        settings.port.add_entra(false);
        // Deletes are compared with the history.
        settings.port.record = true;
        let entra = &mut settings.entra;
        // Rounds and lists have several pages, and groups several slices.
        (entra.delta.page, entra.delta.slice, entra.lists.page) = (25, 4..=12, 12);
        entra.delta.empty_page_in = Some(3);
        // Their limits use real time, so nothing should wait for them.
        (entra.units, entra.sign_ins.rate) = (None, None);
        if self.is_behind() {
            let behind = Duration::ZERO..=40 * MINUTE;
            let replicas = &mut entra.replicas;
            (replicas.delta, replicas.members, replicas.object) = (behind.clone(), behind.clone(), behind);
        }
        settings
    }

    fn workflows(self, sandbox: &Sandbox) -> Vec<Workflow<DirectoryScope>> {
        let mut flags =
            Flags { azure_sources: Some("entra".into()), entra_kinds: Some("all".into()), ..Flags::default() };
        let mut scope = DirectoryScope::default();
        (flags.entra_membership, scope.membership) = match self.membership() {
            Membership::Group => (None, Membership::Group),
            Membership::User => (Some("user".into()), Membership::User),
            other => (Some("both".into()), other),
        };
        if self.has_sign_ins() {
            flags.entra_sign_in_activity = Some("true".into());
            scope.sign_ins = SignIns::Day;
        }
        if self.is_filtered() {
            flags.entra_users = Some("members,enabled".into());
            flags.entra_service_principals = Some("own".into());
            (scope.guests, scope.disabled, scope.microsoft) = (false, false, false);
        }
        vec![Workflow::new(sandbox, "tenant", flags, scope, &[])]
    }

    fn kills(self) -> usize {
        match self {
            Self::Kills | Self::Restores => 2,
            Self::Mixed => 4,
            _ => usize::MAX,
        }
    }

    fn change(story: &mut Story<Self>, _: usize) {
        for _ in 0..3 {
            story.sandbox.clock().advance(TICK / 3);
            life::tick(&mut story.sandbox.tenant(), &mut story.rng, 3);
        }
    }

    fn befall(story: &mut Story<Self>, tick: usize) -> bool {
        match story.plot {
            Self::Errors if tick == 0 => story.break_connections(),
            Self::Outages => story.shut_port(3),
            Self::Lost => story.lose_answers(),
            Self::Resets => story.reset_links(3),
            Self::Rounds => {
                story.vary_rounds();
                story.reset_links(12);
            }
            Self::Restores => story.hide_restores(),
            Self::Comparisons => story.compare_at_times(),
            Self::Expiry if tick == 0 => story.let_tokens_expire(),
            Self::Rights => story.change_rights(),
            Self::Filters => story.hide_restores(),
            Self::Pauses => story.pause(),
            Self::Losses => story.lose_unseen(),
            Self::Rollbacks => {
                story.keep_checkpoint();
                if story.rng.one_in(8) {
                    story.roll_back();
                }
            }
            Self::Mixed => story.mix(tick),
            _ => {}
        }
        true
    }

    fn calm_down(story: &mut Story<Self>) {
        let mut usual = EntraSettings::default();
        (usual.units, usual.sign_ins.rate) = (None, None);
        *story.sandbox.entra().settings() = usual;
        story.workflows[0].config.mode = Mode::Incremental;
    }

    /// Recent changes are read again for an hour, possible restores are checked once an hour, and their relations for
    /// another hour. Deletes shown only by absence take an hour.
    fn calm(self) -> Vec<Duration> {
        vec![TICK; 11]
    }

    /// Only deletes of objects that were gone or out of scope were sent.
    fn check(story: &mut Story<Self>) {
        let sandbox = &story.sandbox;
        story.runtime.block_on(sandbox.port().settle());
        let age = if story.plot.is_up_to_date() {
            Duration::ZERO
        } else {
            // What a run was told may be as old as the last run that left nothing to do, or an hour before that.
            let since = sandbox.clock().now_ms() - story.right_at;
            60 * MINUTE + Duration::from_millis(since.try_into().unwrap())
        };
        for delivery in sandbox.port().deliveries() {
            let body: Value = serde_json::from_slice(&delivery.body).unwrap();
            let id: Id = body["data"]["id"].as_str().unwrap().parse().unwrap();
            let now = clock::seconds(sandbox.clock().now_ms());
            let post = format!("{now} posted: {} {}", body["operation"], body["data"]["members"]);
            story.course.posts.entry(id).or_default().push(post);
            let is_right =
                body["operation"] != "delete" || sandbox.was_out_of_scope(id, &story.workflows[0].scope, age);
            assert!(
                is_right,
                "{} {id} is there, and was deleted: {:#?}\n{:#?}",
                body["type"],
                Self::explain(story, &[id.to_string()]),
                story.tail()
            );
        }
        story.runtime.block_on(sandbox.port().forget_deliveries());
    }

    /// Without a checkpoint, earlier deletes are unknown. If rounds do not show restores, an object that was deleted
    /// before it was ever seen also stays unknown after its restore, until everything is read again.
    fn expected(story: &Story<Self>) -> Expected {
        let mut expected = story.sandbox.expected_of_tenant(&story.workflows[0].scope);
        if story.plot.hides_restores() && story.workflows[0].config.mode == Mode::Incremental {
            let tenant = story.sandbox.tenant();
            let is_known = |id: &str| {
                let id: Id = id.parse().unwrap();
                story.course.posts.contains_key(&id) || !tenant.was_restored(id)
            };
            expected.catalog.entities.retain(|(_, id), _| is_known(id));
            // Something related to it may have been read for another reason.
            story.sandbox.port().with_catalog(|catalog| {
                for (key, entity) in &mut expected.catalog.entities {
                    for (name, related) in &mut entity.relations {
                        let there = catalog.entities.get(key).and_then(|there| there.relations.get(name)?.as_array());
                        let is_there = |id: &Value| there.is_some_and(|there| there.contains(id));
                        let related = related.as_array_mut().unwrap();
                        related.retain(|id| is_known(id.as_str().unwrap()) || is_there(id));
                    }
                }
            });
        }
        story.sandbox.port().with_catalog(|catalog| {
            for key in &story.course.unseen {
                if let Some(left) = catalog.entities.get(key) {
                    expected.catalog.entities.entry(key.clone()).or_insert_with(|| left.clone());
                }
            }
        });
        expected
    }

    fn explain(story: &Story<Self>, differences: &[String]) -> Vec<String> {
        let words = differences.iter().flat_map(|text| text.split(|c: char| !c.is_ascii_hexdigit() && c != '-'));
        let ids: BTreeSet<Id> = words.filter_map(|word| word.parse().ok()).collect();
        let tenant = story.sandbox.tenant();
        let tell = |id: Id| {
            let mut events = tenant.account_of(id);
            events.extend(story.course.posts.get(&id).cloned().unwrap_or_default());
            events.sort();
            std::iter::once(id.to_string()).chain(events)
        };
        ids.into_iter().flat_map(tell).collect()
    }
}

impl Story<Trouble> {
    /// Loses the checkpoint, and with it the knowledge of deleted entities that the catalog still has.
    fn lose_unseen(&mut self) {
        if !self.rng.one_in(8) {
            return;
        }
        self.lose_checkpoint();
        self.runtime.block_on(self.sandbox.port().settle());
        let tenant = self.sandbox.tenant();
        let is_gone = |id: &str| !tenant.is_alive(id.parse::<Id>().unwrap());
        let gone: Vec<(String, String)> = self
            .sandbox
            .port()
            .with_catalog(|catalog| catalog.entities.keys().filter(|(_, id)| is_gone(id)).cloned().collect());
        self.course.unseen.extend(gone);
    }

    /// Days pass between some runs.
    fn pause(&mut self) {
        if self.rng.one_in(10) {
            for _ in 0..self.rng.below(24) {
                self.sandbox.clock().advance(DAY / 2);
                life::tick(&mut self.sandbox.tenant(), &mut self.rng, 2);
            }
        }
    }

    fn compare_at_times(&mut self) {
        self.workflows[0].config.mode = if self.rng.one_in(4) { Mode::Full } else { Mode::Incremental };
    }
}
