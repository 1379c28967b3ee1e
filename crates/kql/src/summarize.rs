//! `summarize`: groups rows and computes aggregates for each group.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value as Json;

use super::ast::{Expr, ExprKind, Named};
use super::bind::{Scope, Typed, own_name};
use super::bound::Bound;
use super::compare::order;
use super::error::KqlError;
use super::key::Key;
use super::kind::Kind;
use super::operators::{column_name, column_type};
use super::text::to_json;
use super::value::{Column, Table, Value};

/// An aggregate to compute.
enum Aggregate {
    Count,
    CountIf(Bound),
    Sum(Bound, Kind),
    Average(Bound),
    Distinct(Bound),
    /// The minimum or maximum.
    Extreme(Bound, Ordering, Kind),
    /// The first value that is not missing.
    Any(Bound, Kind),
    /// All values, or only distinct ones if `true`, up to this many.
    Collect(Bound, bool, usize),
    /// The values of the row with the minimum or maximum.
    ArgExtreme {
        by: Bound,
        wanted: Ordering,
        outputs: Vec<(Bound, Kind)>,
    },
}

/// The state of an aggregate for a group.
#[derive(Clone)]
enum State {
    Count(i64),
    Sum(f64, i64, i64),
    Value(Value),
    Set(HashSet<Key>),
    List(Vec<Json>, HashSet<Key>),
    Row(Option<(Value, Arc<[Value]>)>),
}

pub(crate) fn summarize(
    table: &Table,
    scope: Scope<'_>,
    aggregates: &[Named],
    by: &[Named],
) -> Result<Table, KqlError> {
    let mut columns: Vec<Column> = Vec::new();
    let mut keys = Vec::new();
    for (number, Named { name, expr }) in by.iter().enumerate() {
        let Typed { kind, bound } = scope.bind(expr)?;
        if kind == Kind::Dynamic {
            let message = "a group key is of a 'dynamic' type. Please use an explicit cast (for example, \
                           'summarize ... by tostring(key)') as grouping by a 'dynamic' type is not supported";
            return Err(scope.error(expr.pos, message));
        }
        let own = own_name(expr).unwrap_or_else(|| format!("Column{}", number + 1));
        let name = column_name(scope, name.as_ref(), own, &columns)?;
        columns.push(Column { name: name.into(), ty: column_type(scope, kind, expr.pos)? });
        keys.push(bound);
    }
    let mut bound = Vec::new();
    for named in aggregates {
        let (aggregate, outputs) = bind(scope, named, &keys)?;
        for (index, (own, kind)) in outputs.into_iter().enumerate() {
            let given = if index == 0 { named.name.as_ref() } else { None };
            let name = column_name(scope, given, own, &columns)?;
            columns.push(Column { name: name.into(), ty: column_type(scope, kind, named.expr.pos)? });
        }
        bound.push(aggregate);
    }
    Ok(Table { columns: columns.into(), rows: groups(table, &keys, &bound) })
}

/// One row per group, in order of first appearance.
fn groups(table: &Table, keys: &[Bound], aggregates: &[Aggregate]) -> Vec<Arc<[Value]>> {
    let initial: Vec<State> = aggregates.iter().map(Aggregate::initial).collect();
    let mut places: HashMap<Key, usize> = HashMap::new();
    let mut groups: Vec<(Key, Vec<State>)> = Vec::new();
    if keys.is_empty() {
        // Without keys there is a single group, even if it is empty.
        places.insert(Key(Vec::new()), 0);
        groups.push((Key(Vec::new()), initial.clone()));
    }
    for row in &table.rows {
        let key = Key(keys.iter().map(|key| key.value(row)).collect());
        let place = match places.get(&key) {
            Some(place) => *place,
            None => {
                places.insert(key.clone(), groups.len());
                groups.push((key, initial.clone()));
                groups.len() - 1
            }
        };
        for (aggregate, state) in aggregates.iter().zip(&mut groups[place].1) {
            aggregate.add(state, row);
        }
    }
    let finished = groups.into_iter().map(|(Key(mut cells), states)| -> Arc<[Value]> {
        for (aggregate, state) in aggregates.iter().zip(states) {
            aggregate.finish(state, &mut cells);
        }
        cells.into()
    });
    finished.collect()
}

impl Aggregate {
    fn initial(&self) -> State {
        match self {
            Self::Count | Self::CountIf(_) => State::Count(0),
            Self::Sum(..) | Self::Average(_) => State::Sum(0.0, 0, 0),
            Self::Distinct(_) => State::Set(HashSet::new()),
            Self::Extreme(..) | Self::Any(..) => State::Value(Value::Null),
            Self::Collect(..) => State::List(Vec::new(), HashSet::new()),
            Self::ArgExtreme { .. } => State::Row(None),
        }
    }

    fn add(&self, state: &mut State, row: &Arc<[Value]>) {
        match (self, state) {
            (Self::Count, State::Count(count)) => *count += 1,
            (Self::CountIf(condition), State::Count(count)) => *count += i64::from(condition.holds(row)),
            (Self::Sum(value, _) | Self::Average(value), State::Sum(real, whole, count)) => match *value.eval(row) {
                Value::Long(number) => {
                    *real += number as f64;
                    *whole = whole.wrapping_add(number);
                    *count += 1;
                }
                Value::Real(number) => {
                    *real += number;
                    *count += 1;
                }
                _ => {}
            },
            (Self::Distinct(value), State::Set(seen)) => {
                let value = value.eval(row);
                if *value != Value::Null {
                    seen.insert(Key(vec![value.into_owned()]));
                }
            }
            (Self::Extreme(value, wanted, _), State::Value(best)) => {
                let value = value.eval(row);
                if is_better(&value, best, *wanted) {
                    *best = value.into_owned();
                }
            }
            (Self::Any(value, _), State::Value(any)) if *any == Value::Null => *any = value.value(row),
            (Self::Collect(value, distinct, most), State::List(list, seen)) if list.len() < *most => {
                let value = value.value(row);
                if value != Value::Null && (!distinct || seen.insert(Key(vec![value.clone()]))) {
                    list.push(to_json(&value));
                }
            }
            (Self::ArgExtreme { by, wanted, .. }, State::Row(best)) => {
                let value = by.eval(row);
                // The first of several equal rows wins.
                if best.as_ref().is_none_or(|(best, _)| is_better(&value, best, *wanted)) {
                    *best = Some((value.into_owned(), row.clone()));
                }
            }
            _ => {}
        }
    }

    fn finish(&self, state: State, cells: &mut Vec<Value>) {
        match (self, state) {
            (_, State::Count(count)) => cells.push(Value::Long(count)),
            (Self::Sum(_, Kind::Long), State::Sum(_, whole, _)) => cells.push(Value::Long(whole)),
            (Self::Sum(..), State::Sum(real, ..)) => cells.push(Value::Real(real)),
            (_, State::Sum(_, _, 0)) => cells.push(Value::Null),
            (_, State::Sum(real, _, count)) => cells.push(Value::Real(real / count as f64)),
            (_, State::Set(seen)) => cells.push(Value::Long(i64::try_from(seen.len()).unwrap_or(i64::MAX))),
            (_, State::List(list, _)) => cells.push(Value::from_json(Json::Array(list))),
            (Self::Extreme(_, _, kind) | Self::Any(_, kind), State::Value(Value::Null)) => cells.push(kind.missing()),
            (_, State::Value(value)) => cells.push(value),
            (Self::ArgExtreme { outputs, .. }, State::Row(Some((_, row)))) => {
                cells.extend(outputs.iter().map(|(output, _)| output.value(&row)));
            }
            (Self::ArgExtreme { outputs, .. }, _) => cells.extend(outputs.iter().map(|(_, kind)| kind.missing())),
            (_, State::Row(_)) => {}
        }
    }
}

/// Whether `value` replaces the best one so far; nulls never do.
fn is_better(value: &Value, best: &Value, wanted: Ordering) -> bool {
    match (value, best) {
        (Value::Null, _) => false,
        (_, Value::Null) => true,
        (value, best) => order(value, best) == Some(wanted),
    }
}

type Outputs = Vec<(String, Kind)>;

/// Binds an aggregate; also returns the names and types of its columns.
fn bind(scope: Scope<'_>, named: &Named, keys: &[Bound]) -> Result<(Aggregate, Outputs), KqlError> {
    let pos = named.expr.pos;
    let ExprKind::Call(name, args) = &named.expr.kind else {
        return Err(scope.error(pos, "expected an aggregate"));
    };
    let prefixed = |prefix: &str, expr: &Expr| format!("{prefix}_{}", own_name(expr).unwrap_or_default());
    let number = |expr: &Expr| match scope.bind(expr)? {
        Typed { kind, bound } if kind.is_number() => Ok((kind, bound)),
        _ => Err(scope.error(expr.pos, format!("{name}() takes a number"))),
    };
    let one = |aggregate, name: String, kind| Ok((aggregate, vec![(name, kind)]));
    match (name.as_str(), &args[..]) {
        ("count", []) => one(Aggregate::Count, "count_".to_owned(), Kind::Long),
        ("countif", [condition]) => {
            one(Aggregate::CountIf(scope.condition(condition)?), "countif_".to_owned(), Kind::Long)
        }
        ("dcount", [value, ..]) if args.len() <= 2 => {
            one(Aggregate::Distinct(scope.bind(value)?.bound), prefixed("dcount", value), Kind::Long)
        }
        ("sum", [value]) => {
            let (kind, bound) = number(value)?;
            one(Aggregate::Sum(bound, kind), prefixed("sum", value), kind)
        }
        ("avg", [value]) => one(Aggregate::Average(number(value)?.1), prefixed("avg", value), Kind::Real),
        ("min" | "max", [value]) => {
            let Typed { kind, bound } = scope.bind(value)?;
            one(Aggregate::Extreme(bound, extreme(name), kind), prefixed(name, value), kind)
        }
        ("take_any" | "any", [value]) if !is_star(value) => {
            let Typed { kind, bound } = scope.bind(value)?;
            let own = own_name(value).unwrap_or_default();
            let column = if name == "any" { format!("any_{own}") } else { own };
            one(Aggregate::Any(bound, kind), column, kind)
        }
        ("make_set" | "makeset" | "make_list" | "makelist", [value, rest @ ..]) => {
            let most = match rest {
                [] => usize::MAX,
                [Expr { kind: ExprKind::Literal(_, Value::Long(most)), .. }] => usize::try_from(*most).unwrap_or(0),
                _ => return Err(scope.error(pos, format!("{name}() takes a constant size"))),
            };
            let distinct = name.ends_with("set");
            let prefix = if distinct { "set" } else { "list" };
            let bound = scope.bind(value)?.bound;
            one(Aggregate::Collect(bound, distinct, most), prefixed(prefix, value), Kind::Dynamic)
        }
        ("arg_max" | "arg_min", [by, outputs @ ..]) if !outputs.is_empty() => {
            arg_extreme(scope, by, outputs, extreme(name), keys)
        }
        _ => Err(scope.error(pos, format!("'{name}' with these arguments does not refer to any known aggregate"))),
    }
}

fn is_star(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Star)
}

fn extreme(name: &str) -> Ordering {
    if name.ends_with("max") { Ordering::Greater } else { Ordering::Less }
}

/// `arg_max(by, …)`: `*` stands for all columns except `by` and the group keys.
fn arg_extreme(
    scope: Scope<'_>,
    by: &Expr,
    outputs: &[Expr],
    wanted: Ordering,
    keys: &[Bound],
) -> Result<(Aggregate, Outputs), KqlError> {
    let Typed { kind, bound: by_bound } = scope.bind(by)?;
    if kind == Kind::Dynamic {
        return Err(scope.error(by.pos, "a 'dynamic' value has no order. Please use an explicit cast"));
    }
    let mut names = vec![(own_name(by).unwrap_or_default(), kind)];
    let mut bound = vec![(by_bound.clone(), kind)];
    for output in outputs {
        if !is_star(output) {
            let Typed { kind, bound: output_bound } = scope.bind(output)?;
            names.push((own_name(output).unwrap_or_default(), kind));
            bound.push((output_bound, kind));
            continue;
        }
        for (index, column) in scope.columns.iter().enumerate() {
            let is_column = |bound: &Bound| matches!(bound, Bound::Column(other) if *other == index);
            if !is_column(&by_bound) && !keys.iter().any(is_column) {
                names.push((column.name.as_ref().to_owned(), column.ty.into()));
                bound.push((Bound::Column(index), column.ty.into()));
            }
        }
    }
    Ok((Aggregate::ArgExtreme { by: by_bound, wanted, outputs: bound }, names))
}
