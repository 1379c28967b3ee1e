//! A parsed query, before names are resolved.

use super::error::{KqlError, Pos};
use super::kind::Kind;
use super::value::Value;

/// Maximum depth of an expression, so that walking one may recurse.
const MAX_DEPTH: usize = 128;

#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub kind: ExprKind,
    pub pos: Pos,
    depth: usize,
}

impl Expr {
    pub(crate) fn new(kind: ExprKind, pos: Pos) -> Result<Self, KqlError> {
        let deepest = |list: &[Self]| list.iter().map(|expr| expr.depth).max().unwrap_or(0);
        let below = match &kind {
            ExprKind::Literal(..) | ExprKind::Column(_) | ExprKind::Star => 0,
            ExprKind::Member(base, _) | ExprKind::Negate(base) => base.depth,
            ExprKind::Element(a, b)
            | ExprKind::Arithmetic(_, a, b)
            | ExprKind::Compare(_, a, b)
            | ExprKind::Match(_, a, b) => a.depth.max(b.depth),
            ExprKind::Call(_, list) | ExprKind::And(list) | ExprKind::Or(list) => deepest(list),
            ExprKind::In { value, list, .. } | ExprKind::HasAny(value, list) => value.depth.max(deepest(list)),
            ExprKind::Between { value, low, high, .. } => value.depth.max(low.depth).max(high.depth),
        };
        match below < MAX_DEPTH {
            true => Ok(Self { kind, pos, depth: below + 1 }),
            false => Err(KqlError::at(pos, "the expression nests too deeply")),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum ExprKind {
    Literal(Kind, Value),
    Column(String),
    /// `*`, which only aggregates accept.
    Star,
    /// `base.name` and `base['name']`.
    Member(Box<Expr>, String),
    /// `base[index]`.
    Element(Box<Expr>, Box<Expr>),
    Call(String, Vec<Expr>),
    Negate(Box<Expr>),
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    Match(Match, Box<Expr>, Box<Expr>),
    In {
        value: Box<Expr>,
        list: Vec<Expr>,
        fold: bool,
        negated: bool,
    },
    HasAny(Box<Expr>, Vec<Expr>),
    Between {
        value: Box<Expr>,
        low: Box<Expr>,
        high: Box<Expr>,
        negated: bool,
    },
    /// Flat, so that a long chain of conditions nests no deeper than a short one.
    And(Vec<Expr>),
    Or(Vec<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A comparison of text: `=~`, `contains`, `!has_cs` and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub test: TextTest,
    /// Ignores case.
    pub fold: bool,
    pub negated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextTest {
    Equals,
    Contains,
    StartsWith,
    EndsWith,
    Has,
}

/// An expression and the column name given to it, if any: `name = expr`.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub name: Option<Name>,
    pub expr: Expr,
}

#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub text: String,
    pub pos: Pos,
}

#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub source: Source,
    pub operators: Vec<Operator>,
}

#[derive(Clone, Debug)]
pub(crate) enum Source {
    Table(Name),
    Nested(Box<Pipeline>),
    Union(Vec<Pipeline>, Pos),
}

#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub kind: OperatorKind,
    pub pos: Pos,
}

#[derive(Clone, Debug)]
pub(crate) enum OperatorKind {
    Where(Expr),
    Extend(Vec<Named>),
    Project(Vec<Named>),
    /// Names, each possibly with a trailing `*`.
    ProjectAway(Vec<Name>),
    ProjectRename(Vec<(Name, Name)>),
    Summarize {
        aggregates: Vec<Named>,
        by: Vec<Named>,
    },
    Join {
        kind: JoinKind,
        right: Pipeline,
        on: Vec<JoinKey>,
    },
    Order(Vec<OrderKey>),
    Take(usize),
    Top(usize, Vec<OrderKey>),
    Count,
    /// All columns, if it names none.
    Distinct(Vec<Named>),
    Union(Vec<Pipeline>),
    MvExpand {
        column: Named,
        to: Option<Kind>,
        limit: Option<usize>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinKind {
    InnerUnique,
    Inner,
    LeftOuter,
}

#[derive(Clone, Debug)]
pub(crate) struct JoinKey {
    pub left: Name,
    pub right: Name,
}

#[derive(Clone, Debug)]
pub(crate) struct OrderKey {
    pub expr: Expr,
    pub descending: bool,
    pub nulls_first: bool,
}

impl Pipeline {
    /// How many tables are joined or unioned with the first.
    pub(crate) fn remote_tables(&self) -> usize {
        let within = |parts: &[Self]| parts.iter().map(Self::remote_tables).sum::<usize>();
        let source = match &self.source {
            Source::Table(_) => 0,
            Source::Nested(inner) => inner.remote_tables(),
            Source::Union(parts, _) => parts.len() - 1 + within(parts),
        };
        let of = |operator: &Operator| match &operator.kind {
            OperatorKind::Join { right, .. } => 1 + right.remote_tables(),
            OperatorKind::Union(parts) => parts.len() + within(parts),
            _ => 0,
        };
        source + self.operators.iter().map(of).sum::<usize>()
    }

    /// Visits every operator, including those of joined and unioned tables.
    pub(crate) fn visit<'a>(&'a self, see: &mut impl FnMut(&'a Operator)) {
        match &self.source {
            Source::Table(_) => {}
            Source::Nested(inner) => inner.visit(see),
            Source::Union(parts, _) => parts.iter().for_each(|part| part.visit(see)),
        }
        for operator in &self.operators {
            see(operator);
            match &operator.kind {
                OperatorKind::Join { right, .. } => right.visit(see),
                OperatorKind::Union(parts) => parts.iter().for_each(|part| part.visit(see)),
                _ => {}
            }
        }
    }
}
