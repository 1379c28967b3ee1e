//! Simulates days of an estate or a tenant, with one kind of trouble each. At the end the catalog must match.
//!
//! With the other tests, a simulated day of a few seeds runs, or some hours of a tenant; `make soak` runs weeks of many
//! seeds. `SOAK_SEED` runs one seed, `SOAK_SEEDS` this many, `SOAK_TICKS` this many times 20 minutes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a failing test shows what it printed")]

mod checkpoints;
mod engine;
mod estate;
mod story;
mod tenant;
mod workflow;

use engine::alone;
use estate::{Estate, Sink, Trouble};
use story::Story;
use tenant::Trouble as Tenant;

macro_rules! stories {
    ($($name:ident: $plot:expr;)*) => {$(
        #[test]
        fn $name() {
            alone(concat!(module_path!(), "::", stringify!($name)), || Story::tell($plot));
        }
    )*};
}

/// Each with the webhook, and again with Port's API and its own faults.
macro_rules! estates {
    ($($name:ident: $trouble:expr;)*) => {
        mod by_webhook {
            use super::*;

            stories! { $($name: Estate { trouble: $trouble, sink: Sink::Webhook };)* }
        }

        mod by_api {
            use super::*;

            stories! { $($name: Estate { trouble: $trouble, sink: Sink::Api };)* }
        }
    };
}

estates! {
    the_catalog_converges_when_all_is_calm: Trouble::None;
    the_catalog_converges_when_ticks_come_late_or_not_at_all: Trouble::Ticks;
    the_catalog_converges_under_throttling_and_server_errors: Trouble::Errors;
    the_catalog_converges_after_outages_of_port: Trouble::Outages;
    the_catalog_converges_when_runs_are_killed_between_any_two_steps: Trouble::Kills;
    the_catalog_converges_when_tags_move_groups_into_and_out_of_scope: Trouble::Tags;
    the_catalog_converges_with_tag_filters_when_runs_are_killed: Trouble::TagsAndKills;
    the_catalog_converges_when_only_some_types_are_wanted: Trouble::Types;
    the_catalog_converges_after_a_burst_of_changes: Trouble::Burst;
    the_catalog_converges_when_subscriptions_come_and_go: Trouble::Subscriptions;
    the_catalog_holds_both_when_two_workflows_with_different_filters_keep_what_leaves: Trouble::TwoWorkflows;
    the_catalog_converges_when_the_checkpoint_goes_back_in_time_is_lost_or_is_damaged: Trouble::Rollbacks;
    the_catalog_converges_when_resource_graph_is_blind_for_hours_and_its_rows_flicker: Trouble::Blindness;
    the_catalog_converges_when_rows_show_in_steps_and_those_of_groups_come_and_go: Trouble::Slowness;
    the_catalog_converges_when_children_without_a_row_have_records: Trouble::Children;
    the_catalog_converges_in_a_real_tenant_with_twins_strangers_heavy_questions_and_clocks_that_are_off: Trouble::Tenant;
    the_catalog_converges_by_the_daily_comparison_when_changes_leave_no_record: Trouble::Silence;
    the_catalog_converges_around_rows_that_break_queries_and_changes_that_are_rejected_or_fail: Trouble::Poison;
    the_catalog_converges_when_the_credentials_and_the_filters_change_and_change_back: Trouble::Identity;
    the_catalog_converges_when_the_listing_and_the_tags_of_groups_flap: Trouble::Flapping;
    the_catalog_converges_when_answers_are_lost_and_posts_are_applied_late: Trouble::Lost;
    the_catalog_converges_when_everything_goes_wrong_at_once: Trouble::Mixed;
}

stories! {
    the_catalog_follows_a_tenant_when_all_is_calm: Tenant::None;
    the_catalog_follows_a_tenant_under_throttling_and_server_errors: Tenant::Errors;
    the_catalog_follows_a_tenant_after_outages_of_the_webhook: Tenant::Outages;
    the_catalog_follows_a_tenant_when_answers_are_lost_and_posts_are_applied_late: Tenant::Lost;
    the_catalog_follows_a_tenant_when_runs_are_killed_between_any_two_steps: Tenant::Kills;
    the_catalog_follows_a_tenant_when_links_are_not_good_any_more: Tenant::Resets;
    the_catalog_follows_a_tenant_when_rounds_replay_and_contradict_themselves: Tenant::Rounds;
    the_catalog_follows_a_tenant_when_restores_do_not_show_and_runs_are_killed: Tenant::Restores;
    the_catalog_follows_a_tenant_when_endpoints_are_behind_one_another: Tenant::Replicas;
    the_catalog_follows_a_tenant_when_everything_is_compared_with_endpoints_behind_one_another: Tenant::Comparisons;
    the_catalog_follows_a_tenant_when_tokens_expire_while_they_are_used: Tenant::Expiry;
    the_catalog_follows_a_tenant_when_permissions_are_taken_away_and_given_back: Tenant::Rights;
    the_catalog_follows_a_tenant_into_and_out_of_scope: Tenant::Filters;
    the_catalog_follows_a_tenant_when_nothing_runs_for_days: Tenant::Pauses;
    the_catalog_follows_a_tenant_when_the_checkpoint_is_lost_but_for_what_was_deleted_unseen: Tenant::Losses;
    the_catalog_follows_a_tenant_when_the_checkpoint_goes_back_in_time: Tenant::Rollbacks;
    the_catalog_follows_a_tenant_when_everything_goes_wrong_at_once: Tenant::Mixed;
}
