//! The sources: one folder for each kind of estate that can be read. They implement [`crate::engine::Source`] and do
//! not know each other.

pub(crate) mod directory;
pub(crate) mod resource_graph;
