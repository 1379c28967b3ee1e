//! A small interpreter of the Kusto Query Language, in Azure Resource Graph's dialect.
//!
//! It evaluates a query over tables in memory: `lexer` → `parser` → `operators`, each of which binds its expressions to
//! its input columns. It rejects anything unknown with the position in the text, as the service does.
#![allow(clippy::indexing_slicing, reason = "an interpreter that panics fails the test that runs it, as it should")]

mod ast;
mod bind;
mod bound;
mod compare;
mod error;
mod expressions;
mod functions;
mod hash;
mod join;
mod key;
mod kind;
mod lexer;
mod literal;
mod operators;
mod parser;
mod summarize;
#[cfg(test)]
mod tests;
mod text;
mod value;

pub use error::KqlError;
pub use lexer::read_string_literals;
pub use value::{Column, Table, Type, Value};

use ast::{OperatorKind, Pipeline};

/// The tables that queries read.
pub trait Tables {
    /// The table with this name, ignoring case. Cheap, because rows are shared.
    fn table(&self, name: &str) -> Option<Table>;

    /// The value of `now()`, in milliseconds since the epoch; called once per run.
    fn now_ms(&self) -> i64;
}

/// A parsed query; names are resolved when it runs.
#[derive(Clone, Debug)]
pub struct Query {
    pipeline: Pipeline,
}

/// The result of a query.
#[derive(Clone, Debug)]
pub struct Answer {
    pub table: Table,
    /// The columns by which the rows are sorted; empty if they are not, or if a later operator reorders them.
    pub order: Vec<usize>,
}

impl Query {
    pub fn parse(text: &str) -> Result<Self, KqlError> {
        Ok(Self { pipeline: parser::parse(text)? })
    }

    pub fn run(&self, tables: &dyn Tables) -> Result<Answer, KqlError> {
        operators::Run { tables, now: tables.now_ms() }.pipeline(&self.pipeline)
    }

    /// How many tables it joins or unions with the first, including nested ones.
    pub fn remote_tables(&self) -> usize {
        self.pipeline.remote_tables()
    }

    /// Whether it limits the number of rows anywhere: `take`, `limit` or `top`.
    pub fn limits(&self) -> bool {
        self.count(|operator| matches!(operator, OperatorKind::Take(_) | OperatorKind::Top(..))) > 0
    }

    /// Whether `summarize` is its last operator.
    pub fn summarizes_last(&self) -> bool {
        matches!(self.pipeline.operators.last(), Some(last) if matches!(last.kind, OperatorKind::Summarize { .. }))
    }

    fn count(&self, counts: impl Fn(&OperatorKind) -> bool) -> usize {
        let mut count = 0;
        self.pipeline.visit(&mut |operator| count += usize::from(counts(&operator.kind)));
        count
    }
}
