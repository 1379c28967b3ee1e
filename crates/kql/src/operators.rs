//! Runs a pipeline: each operator is bound to its input columns, then applied to the rows.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::ast::{Name, Named, Operator, OperatorKind, OrderKey, Pipeline, Source};
use super::bind::{Scope, Typed, own_name};
use super::bound::Bound;
use super::compare::order;
use super::error::{KqlError, Pos};
use super::functions;
use super::join::{free_name, join};
use super::key::Key;
use super::kind::Kind;
use super::summarize::summarize;
use super::text;
use super::value::{Column, Table, Type, Value};
use super::{Answer, Tables};

/// The most rows that `mv-expand` makes from one: Resource Graph's limit.
const EXPANSION_LIMIT: usize = 128;

/// The context of a run.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub tables: &'a dyn Tables,
    pub now: i64,
}

/// The column type of an expression. Timespans have none.
pub(crate) fn column_type(scope: Scope<'_>, kind: Kind, pos: Pos) -> Result<Type, KqlError> {
    kind.column().ok_or_else(|| scope.error(pos, "a column cannot hold a timespan"))
}

/// The given name of a column, which must be unused; otherwise `own`, with a number appended if that is used.
pub(crate) fn column_name(
    scope: Scope<'_>,
    given: Option<&Name>,
    own: String,
    columns: &[Column],
) -> Result<String, KqlError> {
    match given {
        None => Ok(free_name(columns, &own)),
        Some(name) if columns.iter().any(|column| *column.name == *name.text) => {
            Err(scope.error(name.pos, format!("A column with the name '{}' is already declared", name.text)))
        }
        Some(name) => Ok(name.text.clone()),
    }
}

impl Run<'_> {
    pub(crate) fn pipeline(self, pipeline: &Pipeline) -> Result<Answer, KqlError> {
        let mut answer = match &pipeline.source {
            Source::Table(name) => {
                let unknown =
                    || KqlError::at(name.pos, format!("Failed to resolve table expression named '{}'", name.text));
                let table = self.tables.table(&name.text).ok_or_else(unknown)?;
                Answer { table, order: Vec::new() }
            }
            Source::Nested(inner) => self.pipeline(inner)?,
            Source::Union(parts, pos) => Answer { table: self.union(None, parts, *pos)?, order: Vec::new() },
        };
        for operator in &pipeline.operators {
            answer = self.operator(operator, answer)?;
        }
        Ok(answer)
    }

    fn operator(self, operator: &Operator, Answer { mut table, order }: Answer) -> Result<Answer, KqlError> {
        let columns = table.columns.clone();
        let scope = |operator| Scope { operator, columns: &columns, now: self.now };
        let unordered = |table| Ok(Answer { table, order: Vec::new() });
        match &operator.kind {
            OperatorKind::Where(condition) => {
                let condition = scope("where").condition(condition)?;
                table.rows.retain(|row| condition.holds(row));
                Ok(Answer { table, order })
            }
            OperatorKind::Take(rows) => {
                table.rows.truncate(*rows);
                Ok(Answer { table, order })
            }
            OperatorKind::Extend(items) => extend(scope("extend"), items, table, order),
            OperatorKind::Project(items) => {
                let outputs = outputs(scope("project"), items)?;
                Ok(reshape(table, order, outputs))
            }
            OperatorKind::ProjectAway(names) => {
                let dropped = matching(scope("project-away"), names)?;
                let kept = columns.iter().enumerate().filter(|(index, _)| !dropped.contains(index));
                let outputs = kept.map(|(index, column)| (column.clone(), Bound::Column(index))).collect();
                Ok(reshape(table, order, outputs))
            }
            OperatorKind::ProjectRename(names) => {
                table.columns = rename(scope("project-rename"), names)?;
                Ok(Answer { table, order })
            }
            OperatorKind::Order(keys) => sort(scope("order"), keys, table),
            OperatorKind::Top(rows, keys) => {
                let mut answer = sort(scope("top"), keys, table)?;
                answer.table.rows.truncate(*rows);
                Ok(answer)
            }
            OperatorKind::Count => {
                let count = Value::Long(i64::try_from(table.rows.len()).unwrap_or(i64::MAX));
                let columns = [Column { name: "Count".into(), ty: Type::Long }];
                unordered(Table { columns: columns.into(), rows: vec![[count].into()] })
            }
            OperatorKind::Distinct(items) => unordered(distinct(scope("distinct"), items, table, operator.pos)?),
            OperatorKind::Summarize { aggregates, by } => {
                unordered(summarize(&table, scope("summarize"), aggregates, by)?)
            }
            OperatorKind::Join { kind, right, on } => {
                let right = self.pipeline(right)?.table;
                unordered(join(table, &right, *kind, on)?)
            }
            OperatorKind::Union(parts) => unordered(self.union(Some(table), parts, operator.pos)?),
            OperatorKind::MvExpand { column, to, limit } => {
                let limit = limit.unwrap_or(EXPANSION_LIMIT);
                unordered(mv_expand(scope("mv-expand"), column, *to, limit, table)?)
            }
        }
    }

    /// The rows of all tables, with the columns of all tables. Cells of columns that a table lacks are missing.
    fn union(self, first: Option<Table>, parts: &[Pipeline], pos: Pos) -> Result<Table, KqlError> {
        let mut tables = Vec::from_iter(first);
        for part in parts {
            tables.push(self.pipeline(part)?.table);
        }
        let mut columns: Vec<Column> = Vec::new();
        for column in tables.iter().flat_map(|table| table.columns.iter()) {
            match columns.iter().find(|other| other.name == column.name) {
                None => columns.push(column.clone()),
                Some(other) if other.ty == column.ty => {}
                Some(_) => {
                    let message =
                        format!("'union' operator: the column '{}' is not of one type in all tables", column.name);
                    return Err(KqlError::at(pos, message));
                }
            }
        }
        let mut rows = Vec::new();
        for table in tables {
            let places: Vec<Option<usize>> =
                columns.iter().map(|column| table.columns.iter().position(|other| other.name == column.name)).collect();
            rows.extend(table.rows.iter().map(|row| -> Arc<[Value]> {
                let cell = |(place, column): (&Option<usize>, &Column)| {
                    place.and_then(|place| row.get(place).cloned()).unwrap_or_else(|| Kind::from(column.ty).missing())
                };
                places.iter().zip(&columns).map(cell).collect()
            }));
        }
        Ok(Table { columns: columns.into(), rows })
    }
}

/// An output column and how it is computed.
type Output = (Column, Bound);

fn outputs(scope: Scope<'_>, items: &[Named]) -> Result<Vec<Output>, KqlError> {
    let mut columns: Vec<Column> = Vec::new();
    let mut outputs = Vec::new();
    let mut unnamed = 0;
    for Named { name, expr } in items {
        let Typed { kind, bound } = scope.bind(expr)?;
        let own = own_name(expr).unwrap_or_else(|| {
            unnamed += 1;
            format!("Column{unnamed}")
        });
        let taken = columns.iter().any(|column| *column.name == *own);
        if let (None, Bound::Column(_), true) = (name, &bound, taken) {
            return Err(scope.error(expr.pos, format!("A column with the name '{own}' is already declared")));
        }
        let name = column_name(scope, name.as_ref(), own, &columns)?;
        let column = Column { name: name.into(), ty: column_type(scope, kind, expr.pos)? };
        columns.push(column.clone());
        outputs.push((column, bound));
    }
    Ok(outputs)
}

/// Appends new columns. One with the name of an existing column replaces it.
fn extend(scope: Scope<'_>, items: &[Named], table: Table, order: Vec<usize>) -> Result<Answer, KqlError> {
    let added = outputs(scope, items)?;
    let kept = scope.columns.iter().enumerate().filter(|(_, old)| added.iter().all(|(new, _)| new.name != old.name));
    let mut all: Vec<Output> = kept.map(|(index, old)| (old.clone(), Bound::Column(index))).collect();
    all.extend(added);
    Ok(reshape(table, order, all))
}

/// The rows with `outputs` as their columns. Keeps the sort order as far as its columns remain.
fn reshape(table: Table, order: Vec<usize>, outputs: Vec<Output>) -> Answer {
    let place = |key: &usize| outputs.iter().position(|(_, bound)| matches!(bound, Bound::Column(from) if from == key));
    let order = order.iter().map_while(place).collect();
    let rows = table.rows.iter().map(|row| outputs.iter().map(|(_, bound)| bound.value(row)).collect()).collect();
    let columns = outputs.into_iter().map(|(column, _)| column).collect();
    Answer { table: Table { columns, rows }, order }
}

/// The indexes of the columns that match names such as `id` and `rg*`.
fn matching(scope: Scope<'_>, names: &[Name]) -> Result<HashSet<usize>, KqlError> {
    let mut found = HashSet::new();
    for name in names {
        match name.text.strip_suffix('*') {
            None => found.extend([scope.column(&name.text, name.pos)?]),
            Some(prefix) => {
                let columns = scope.columns.iter().enumerate();
                found.extend(columns.filter(|(_, column)| column.name.starts_with(prefix)).map(|(index, _)| index));
            }
        }
    }
    Ok(found)
}

fn rename(scope: Scope<'_>, names: &[(Name, Name)]) -> Result<Arc<[Column]>, KqlError> {
    let mut columns = scope.columns.to_vec();
    for (new, old) in names {
        let index = scope.column(&old.text, old.pos)?;
        let name = column_name(scope, Some(new), String::new(), &columns)?;
        columns[index].name = name.into();
    }
    Ok(columns.into())
}

fn sort(scope: Scope<'_>, keys: &[OrderKey], table: Table) -> Result<Answer, KqlError> {
    let mut bound = Vec::new();
    for key in keys {
        let Typed { kind, bound: expr } = scope.bind(&key.expr)?;
        if kind == Kind::Dynamic {
            let message = "a sort key is of a 'dynamic' type. Please use an explicit cast";
            return Err(scope.error(key.expr.pos, message));
        }
        bound.push((expr, key));
    }
    // Only sorting by columns is tracked, up to the first key that is not a column.
    let columns = bound.iter().map_while(|(expr, _)| match expr {
        Bound::Column(index) => Some(*index),
        _ => None,
    });
    let columns = columns.collect();
    let compare = |a: &Vec<Value>, b: &Vec<Value>| {
        let pairs = a.iter().zip(b).zip(&bound);
        pairs.map(|((a, b), (_, key))| by_key(key, a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    };
    let mut keyed: Vec<(Vec<Value>, Arc<[Value]>)> =
        table.rows.into_iter().map(|row| (bound.iter().map(|(expr, _)| expr.value(&row)).collect(), row)).collect();
    keyed.sort_by(|(a, _), (b, _)| compare(a, b));
    let rows = keyed.into_iter().map(|(_, row)| row).collect();
    Ok(Answer { table: Table { columns: table.columns, rows }, order: columns })
}

fn by_key(key: &OrderKey, a: &Value, b: &Value) -> Ordering {
    let first = |null| {
        if key.nulls_first == null { Ordering::Less } else { Ordering::Greater }
    };
    match (a, b) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => first(true),
        (_, Value::Null) => first(false),
        // NaNs are not ordered among themselves and keep their positions.
        (a, b) => {
            let ascending = order(a, b).unwrap_or_else(|| is_nan(a).cmp(&is_nan(b)));
            if key.descending { ascending.reverse() } else { ascending }
        }
    }
}

fn is_nan(value: &Value) -> bool {
    matches!(value, Value::Real(number) if number.is_nan())
}

fn distinct(scope: Scope<'_>, items: &[Named], table: Table, pos: Pos) -> Result<Table, KqlError> {
    let table = match items {
        [] => table,
        items => reshape(table, Vec::new(), outputs(scope, items)?).table,
    };
    if let Some(column) = table.columns.iter().find(|column| column.ty == Type::Dynamic) {
        let message = format!("the column '{}' is of a 'dynamic' type. Please use an explicit cast", column.name);
        return Err(scope.error(pos, message));
    }
    let mut seen = HashSet::new();
    let mut rows = table.rows;
    rows.retain(|row| seen.insert(Key(row.to_vec())));
    Ok(Table { columns: table.columns, rows })
}

/// Makes one row for each element of an array or member of a property bag.
fn mv_expand(
    scope: Scope<'_>,
    Named { name, expr }: &Named,
    to: Option<Kind>,
    limit: usize,
    table: Table,
) -> Result<Table, KqlError> {
    let Typed { kind, bound } = scope.bind(expr)?;
    if kind != Kind::Dynamic {
        return Err(scope.error(expr.pos, format!("a {kind} cannot be expanded")));
    }
    let name: Arc<str> = match (name, own_name(expr)) {
        (Some(name), _) => name.text.as_str().into(),
        (None, Some(own)) => own.into(),
        (None, None) => return Err(scope.error(expr.pos, "the expanded column needs a name")),
    };
    let to = to.unwrap_or(Kind::Dynamic);
    let column = Column { name: name.clone(), ty: column_type(scope, to, expr.pos)? };
    let replaced = scope.columns.iter().position(|column| column.name == name);
    let mut columns = scope.columns.to_vec();
    match replaced {
        Some(index) => columns[index] = column,
        None => columns.push(column),
    }
    let mut rows = Vec::new();
    for row in &table.rows {
        for element in elements(&bound.eval(row)).into_iter().take(limit) {
            let mut cells = row.to_vec();
            let cell = converted(element, to);
            match replaced.and_then(|index| cells.get_mut(index)) {
                Some(place) => *place = cell,
                None => cells.push(cell),
            }
            rows.push(cells.into());
        }
    }
    Ok(Table { columns: columns.into(), rows })
}

fn elements(value: &Value) -> Vec<Value> {
    let Value::Dynamic(json) = value else {
        return vec![Value::Null];
    };
    match json.as_ref() {
        Json::Array(items) => items.iter().cloned().map(Value::from_json).collect(),
        Json::Object(bag) => {
            let member = |(key, value): (&String, &Json)| Map::from_iter([(key.clone(), value.clone())]);
            bag.iter().map(|pair| Value::from_json(Json::Object(member(pair)))).collect()
        }
        _ => vec![value.clone()],
    }
}

fn converted(value: Value, to: Kind) -> Value {
    match to {
        Kind::String => text::to_string(&value),
        Kind::Long => functions::to_long(&value),
        Kind::Real => functions::to_real(&value),
        Kind::Bool => functions::to_bool(&value),
        Kind::DateTime => functions::to_datetime(&value),
        Kind::Dynamic | Kind::Timespan => value,
    }
}
