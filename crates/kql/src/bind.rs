//! Resolves names and types in expressions, and rejects invalid ones, as Kusto's binder does.

use std::sync::Arc;

use super::ast::{Arithmetic, Comparison, Expr, ExprKind};
use super::bound::{Bound, Step};
use super::compare::{can_equal, can_order, result};
use super::error::{KqlError, Pos};
use super::functions::{self, Body, Function, Returns};
use super::kind::Kind;
use super::text;
use super::value::{Column, Value};

/// What an expression may refer to, and the operator that contains it.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub operator: &'static str,
    pub columns: &'a [Column],
    pub now: i64,
}

/// A bound expression and its type.
pub(crate) struct Typed {
    pub kind: Kind,
    pub bound: Bound,
}

impl Typed {
    fn new(kind: Kind, bound: Bound) -> Self {
        Self { kind, bound: bound.folded() }
    }
}

/// The default column name of an expression: its column's name, or its path joined with underscores.
pub(crate) fn own_name(expr: &Expr) -> Option<String> {
    let step = |base: &Expr, key: &str| match own_name(base) {
        Some(base) => format!("{base}_{key}"),
        None => key.to_owned(),
    };
    match &expr.kind {
        ExprKind::Column(name) => Some(name.clone()),
        ExprKind::Member(base, key) => Some(step(base, key)),
        ExprKind::Element(base, index) => match &index.kind {
            ExprKind::Literal(_, Value::Long(index)) => Some(step(base, &index.to_string())),
            _ => None,
        },
        ExprKind::Call(name, args) if functions::keeps_name(name) => own_name(args.first()?),
        _ => None,
    }
}

impl Scope<'_> {
    pub(crate) fn error(&self, pos: Pos, message: impl AsRef<str>) -> KqlError {
        KqlError::at(pos, format!("'{}' operator: {}", self.operator, message.as_ref()))
    }

    /// The index of a column.
    pub(crate) fn column(&self, name: &str, pos: Pos) -> Result<usize, KqlError> {
        let unknown = || self.error(pos, format!("Failed to resolve column or scalar expression named '{name}'"));
        self.columns.iter().position(|column| column.name.as_ref() == name).ok_or_else(unknown)
    }

    pub(crate) fn bind(&self, expr: &Expr) -> Result<Typed, KqlError> {
        let pos = expr.pos;
        let (kind, bound) = match &expr.kind {
            ExprKind::Literal(kind, value) => (*kind, Bound::Constant(value.clone())),
            ExprKind::Column(name) => {
                let index = self.column(name, pos)?;
                (Kind::from(self.columns[index].ty), Bound::Column(index))
            }
            ExprKind::Star => return Err(self.error(pos, "'*' is no scalar expression")),
            ExprKind::Member(base, key) => self.step(base, Step::Key(key.clone()), pos)?,
            ExprKind::Element(base, index) => {
                let index = self.expect(index, &[Kind::String, Kind::Long], "an index")?;
                self.step(base, Step::Computed(index), pos)?
            }
            ExprKind::Call(name, args) => self.call(name, args, pos)?,
            ExprKind::Negate(inner) => {
                let Typed { kind, bound } = self.bind(inner)?;
                let zero = Box::new(Bound::Constant(Value::Long(0)));
                let result = match kind {
                    Kind::Timespan => Kind::Timespan,
                    number => result(Arithmetic::Subtract, Kind::Long, number)
                        .ok_or_else(|| self.error(pos, format!("'-' does not apply to a {kind}")))?,
                };
                let operation = Arithmetic::Subtract;
                (result, Bound::Arithmetic { operation, result, left: zero, right: Box::new(bound) })
            }
            ExprKind::Arithmetic(operation, left, right) => {
                let (left, right) = (self.bind(left)?, self.bind(right)?);
                let result = result(*operation, left.kind, right.kind).ok_or_else(|| {
                    let message = format!("cannot calculate with values of types {} and {}", left.kind, right.kind);
                    self.error(pos, message)
                })?;
                let (left, right) = (Box::new(left.bound), Box::new(right.bound));
                (result, Bound::Arithmetic { operation: *operation, result, left, right })
            }
            ExprKind::Compare(comparison, left, right) => {
                (Kind::Bool, self.compare(*comparison, self.bind(left)?, self.bind(right)?, pos)?)
            }
            ExprKind::Match(test, left, right) => {
                let (left, right) = (self.text(left)?, self.text(right)?);
                let right = match right {
                    // Folded once instead of for every row.
                    Bound::Constant(value) if test.fold => {
                        Bound::Constant(text::string(&text::lower(&text::shown(&value))))
                    }
                    right => right,
                };
                (Kind::Bool, Bound::Match { test: *test, left: Box::new(left), right: Box::new(right) })
            }
            ExprKind::In { value, list, fold, negated } => (Kind::Bool, self.membership(value, list, *fold, *negated)?),
            ExprKind::HasAny(value, list) => {
                let list = list.iter().map(|item| self.text(item)).collect::<Result<_, _>>()?;
                (Kind::Bool, Bound::HasAny(Box::new(self.text(value)?), list))
            }
            ExprKind::Between { value, low, high, negated } => {
                let (at_least, at_most) = match negated {
                    false => (Comparison::GreaterOrEqual, Comparison::LessOrEqual),
                    true => (Comparison::Less, Comparison::Greater),
                };
                let low = self.compare(at_least, self.bind(value)?, self.bind(low)?, pos)?;
                let high = self.compare(at_most, self.bind(value)?, self.bind(high)?, pos)?;
                let ends = vec![low, high];
                (Kind::Bool, if *negated { Bound::Or(ends) } else { Bound::And(ends) })
            }
            ExprKind::And(parts) => (Kind::Bool, Bound::And(self.conditions(parts)?)),
            ExprKind::Or(parts) => (Kind::Bool, Bound::Or(self.conditions(parts)?)),
        };
        Ok(Typed::new(kind, bound))
    }

    /// Binds an expression that must be a condition.
    pub(crate) fn condition(&self, expr: &Expr) -> Result<Bound, KqlError> {
        self.expect(expr, &[Kind::Bool], "a condition")
    }

    fn conditions(&self, parts: &[Expr]) -> Result<Vec<Bound>, KqlError> {
        parts.iter().map(|part| self.condition(part)).collect()
    }

    fn text(&self, expr: &Expr) -> Result<Bound, KqlError> {
        self.expect(expr, &[Kind::String, Kind::Dynamic], "text")
    }

    fn expect(&self, expr: &Expr, kinds: &[Kind], what: &str) -> Result<Bound, KqlError> {
        let Typed { kind, bound } = self.bind(expr)?;
        match kinds.contains(&kind) {
            true => Ok(bound),
            false => Err(self.error(expr.pos, format!("expected {what}, found a {kind}"))),
        }
    }

    /// A step into a dynamic value; consecutive steps form one path.
    fn step(&self, base: &Expr, step: Step, pos: Pos) -> Result<(Kind, Bound), KqlError> {
        let Typed { kind, bound } = self.bind(base)?;
        if kind != Kind::Dynamic {
            return Err(self.error(pos, format!("only a dynamic value has members, this is a {kind}")));
        }
        let path = match bound {
            Bound::Path { base, mut steps } => {
                steps.push(step);
                Bound::Path { base, steps }
            }
            base => Bound::Path { base: Box::new(base), steps: vec![step] },
        };
        Ok((Kind::Dynamic, path))
    }

    fn compare(&self, comparison: Comparison, left: Typed, right: Typed, pos: Pos) -> Result<Bound, KqlError> {
        let fits = match comparison {
            Comparison::Equal | Comparison::NotEqual => can_equal(left.kind, right.kind),
            _ => can_order(left.kind, right.kind),
        };
        match fits {
            true => Ok(Bound::Compare { comparison, left: Box::new(left.bound), right: Box::new(right.bound) }),
            false => Err(self.incomparable(left.kind, right.kind, pos)),
        }
    }

    fn incomparable(&self, left: Kind, right: Kind, pos: Pos) -> KqlError {
        let message = format!("Cannot compare values of types {left} and {right}. Try adding explicit casts");
        self.error(pos, message)
    }

    fn membership(&self, value: &Expr, list: &[Expr], fold: bool, negated: bool) -> Result<Bound, KqlError> {
        let Typed { kind, bound } = self.bind(value)?;
        let mut items = Vec::with_capacity(list.len());
        for expr in list {
            let item = self.bind(expr)?;
            match item.bound {
                // `x in (dynamic([1, 2]))` searches the array.
                Bound::Constant(Value::Dynamic(json)) if json.is_array() => {
                    let elements = json.as_array().into_iter().flatten().cloned();
                    items.extend(elements.map(|element| Bound::Constant(Value::from_json(element))));
                }
                item_bound => {
                    let textual = |kind| matches!(kind, Kind::String | Kind::Dynamic);
                    if !can_equal(kind, item.kind) || (fold && !(textual(kind) && textual(item.kind))) {
                        return Err(self.incomparable(kind, item.kind, expr.pos));
                    }
                    items.push(item_bound);
                }
            }
        }
        let constant = |item: &Bound| match item {
            Bound::Constant(Value::String(text)) if fold => Some(Arc::from(text::lower(text))),
            Bound::Constant(Value::String(text)) => Some(text.clone()),
            _ => None,
        };
        let value = Box::new(bound);
        Ok(match items.iter().map(constant).collect::<Option<_>>() {
            Some(set) => Bound::InSet { value, set, fold, negated },
            None => Bound::InList { value, list: items, fold, negated },
        })
    }

    fn call(&self, name: &str, args: &[Expr], pos: Pos) -> Result<(Kind, Bound), KqlError> {
        match (name, args) {
            ("now", []) => return Ok((Kind::DateTime, Bound::Constant(Value::DateTime(self.now)))),
            ("ago", [span]) => {
                let right = Box::new(self.expect(span, &[Kind::Timespan], "a timespan")?);
                let left = Box::new(Bound::Constant(Value::DateTime(self.now)));
                let (operation, result) = (Arithmetic::Subtract, Kind::DateTime);
                return Ok((result, Bound::Arithmetic { operation, result, left, right }));
            }
            ("iff" | "iif", [_, _, _]) => return self.choose(args),
            ("case", [_, _, _, ..]) if args.len() % 2 == 1 => return self.choose(args),
            ("coalesce", [_, ..]) => {
                let (kind, values) = self.alike(args.iter())?;
                return Ok((kind, Bound::Coalesce(values)));
            }
            ("now" | "ago" | "iff" | "iif" | "case" | "coalesce", _) => {
                return Err(self.wrong_count(name, pos));
            }
            _ => {}
        }
        let function = functions::find(name)
            .ok_or_else(|| self.error(pos, format!("The name '{name}' does not refer to any known function")))?;
        let args = self.arguments(function, args, pos)?;
        let kind = match function.returns {
            Returns::Always(kind) => kind,
            Returns::First => args.first().map_or(Kind::Dynamic, |arg| arg.kind),
        };
        Ok((kind, Bound::Call(function.body, args.into_iter().map(|arg| arg.bound).collect())))
    }

    fn arguments(&self, function: &Function, args: &[Expr], pos: Pos) -> Result<Vec<Typed>, KqlError> {
        let most = if function.repeats { usize::MAX } else { function.params.len() };
        if !(function.params.len() - function.optional..=most).contains(&args.len()) {
            return Err(self.wrong_count(function.name, pos));
        }
        let params = function.params.iter().chain(function.params.last().into_iter().cycle());
        let bound = args.iter().zip(params).map(|(arg, param)| {
            let typed = self.bind(arg)?;
            match param.takes(typed.kind) {
                true => Ok(typed),
                false => {
                    let message = format!("{}() does not take a {} here", function.name, typed.kind);
                    Err(self.error(arg.pos, message))
                }
            }
        });
        bound.collect()
    }

    fn wrong_count(&self, function: &str, pos: Pos) -> KqlError {
        self.error(pos, format!("{function}() does not take this many arguments"))
    }

    /// Alternating conditions and values, then a final value.
    fn choose(&self, args: &[Expr]) -> Result<(Kind, Bound), KqlError> {
        let (pairs, otherwise) = args.as_chunks::<2>();
        let values = pairs.iter().map(|[_, value]| value).chain(otherwise);
        let (kind, mut values) = self.alike(values)?;
        let otherwise = Box::new(values.pop().unwrap_or(Bound::Constant(Value::Null)));
        let conditions = pairs.iter().map(|[condition, _]| self.condition(condition));
        let arms = conditions.zip(values).map(|(condition, value)| Ok((condition?, value)));
        Ok((kind, Bound::Choose { arms: arms.collect::<Result<_, KqlError>>()?, otherwise }))
    }

    /// Binds alternative expressions, and converts them to a common type.
    fn alike<'e>(&self, exprs: impl Iterator<Item = &'e Expr>) -> Result<(Kind, Vec<Bound>), KqlError> {
        let mut common = None;
        let mut values = Vec::new();
        for expr in exprs {
            let value = self.bind(expr)?;
            common = Some(match (common, value.kind) {
                (None, kind) => kind,
                (Some(common), kind) if common == kind => common,
                (Some(common), kind) if common.is_number() && kind.is_number() => Kind::Real,
                (Some(Kind::Dynamic), kind) | (Some(kind), Kind::Dynamic) if kind != Kind::Timespan => Kind::Dynamic,
                (Some(common), kind) => {
                    return Err(
                        self.error(expr.pos, format!("values of types {common} and {kind} have no common type"))
                    );
                }
            });
            values.push(value);
        }
        let common = common.unwrap_or(Kind::Dynamic);
        let converted = values.into_iter().map(|value| match (common, value.kind) {
            (common, kind) if common == kind => value.bound,
            (Kind::Real, _) => Bound::Call(Body::One(functions::to_real), vec![value.bound]).folded(),
            _ => Bound::Call(Body::One(functions::to_dynamic), vec![value.bound]).folded(),
        });
        Ok((common, converted.collect()))
    }
}
