//! A small interpreter of the Kusto Query Language, as Azure Resource Graph speaks it.
//!
//! It evaluates the text that it is sent, over tables in memory: `lexer` → `parser` → `operators`, each of which binds its
//! expressions to the columns before it. What it does not know it refuses, with the place in the text, as the service does.
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

/// What a query reads.
pub trait Tables {
    /// The table of that name, whatever the case of its letters. Its rows are shared, so this is cheap.
    fn table(&self, name: &str) -> Option<Table>;

    /// What `now()` says, in milliseconds since the epoch; it is asked once a run.
    fn now_ms(&self) -> i64;
}

/// A query that was parsed; its names are looked up when it runs.
#[derive(Clone, Debug)]
pub struct Query {
    pipeline: Pipeline,
}

/// What a query yields.
#[derive(Clone, Debug)]
pub struct Answer {
    pub table: Table,
    /// The columns by which the rows are sorted, if the query sorts them and nothing after that reorders them.
    pub order: Vec<usize>,
}

impl Query {
    pub fn parse(text: &str) -> Result<Self, KqlError> {
        Ok(Self { pipeline: parser::parse(text)? })
    }

    pub fn run(&self, tables: &dyn Tables) -> Result<Answer, KqlError> {
        operators::Run { tables, now: tables.now_ms() }.pipeline(&self.pipeline)
    }

    /// How many tables it joins or unites with its first, those inside of joins and unions too.
    pub fn remote_tables(&self) -> usize {
        self.pipeline.remote_tables()
    }

    /// Whether it asks for some of the rows only: `take`, `limit` or `top`, wherever it stands.
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
