//! Parses tokens into a [`Pipeline`]: statements and tabular operators. `expressions` parses expressions.

use super::ast::{JoinKey, JoinKind, Name, Named, Operator, OperatorKind, OrderKey, Pipeline, Source};
use super::error::{KqlError, Pos};
use super::expressions::kind_named;
use super::kind::Kind;
use super::lexer::{Lexeme, Token, lex};

/// Maximum nesting of parentheses, calls and queries: more than any sane query has, but safe for the stack.
const MAX_DEPTH: usize = 64;

/// Joins of Kusto that Resource Graph does not have.
const OTHER_JOINS: [&str; 8] =
    ["rightouter", "fullouter", "leftanti", "anti", "leftantisemi", "leftsemi", "rightanti", "rightsemi"];

pub(crate) fn parse(text: &str) -> Result<Pipeline, KqlError> {
    let mut parser = Parser { lexemes: lex(text)?, next: 0, depth: 0 };
    let query = parser.pipeline()?;
    parser.eat(";");
    match parser.peek() {
        Token::End => Ok(query),
        _ => Err(parser.unexpected("the end of the query")),
    }
}

pub(crate) struct Parser {
    lexemes: Vec<Lexeme>,
    next: usize,
    depth: usize,
}

/// Token access.
impl Parser {
    /// The lexeme `ahead` positions further, or the last one.
    fn ahead(&self, ahead: usize) -> &Lexeme {
        let last = self.lexemes.len() - 1;
        &self.lexemes[(self.next + ahead).min(last)]
    }

    pub(crate) fn peek(&self) -> &Token {
        &self.ahead(0).token
    }

    pub(crate) fn pos(&self) -> Pos {
        self.ahead(0).pos
    }

    pub(crate) fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    pub(crate) fn at(&self, mark: &str) -> bool {
        matches!(self.peek(), Token::Mark(found) if *found == mark)
    }

    pub(crate) fn eat(&mut self, mark: &str) -> bool {
        let found = self.at(mark);
        self.next += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, mark: &str) -> Result<(), KqlError> {
        match self.eat(mark) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("'{mark}'"))),
        }
    }

    pub(crate) fn at_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(found) if found == word)
    }

    pub(crate) fn eat_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        self.next += usize::from(found);
        found
    }

    fn expect_word(&mut self, word: &str) -> Result<(), KqlError> {
        match self.eat_word(word) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("'{word}'"))),
        }
    }

    pub(crate) fn unexpected(&self, wanted: &str) -> KqlError {
        let found = match self.peek() {
            Token::End => "the end of the query".to_owned(),
            Token::Word(word) => format!("'{word}'"),
            Token::Mark(mark) => format!("'{mark}'"),
            Token::Text(_) => "a string".to_owned(),
            Token::Typed { name, .. } => format!("a {name} literal"),
            Token::Long(_) | Token::Real(_) | Token::Timespan(_) => "a number".to_owned(),
        };
        KqlError::at(self.pos(), format!("expected {wanted}, found {found}"))
    }

    /// Runs `read` one nesting level deeper.
    pub(crate) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, KqlError>) -> Result<T, KqlError> {
        if self.depth == MAX_DEPTH {
            return Err(KqlError::at(self.pos(), "the query nests too deeply"));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    pub(crate) fn list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T, KqlError>) -> Result<Vec<T>, KqlError> {
        let mut items = vec![item(self)?];
        while self.eat(",") {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// The name of a column or table, plain or quoted: `name`, `['name']`.
    pub(crate) fn name(&mut self) -> Result<Name, KqlError> {
        let pos = self.pos();
        if let Token::Word(word) = self.peek()
            && !word.starts_with('!')
        {
            let text = word.clone();
            self.next += 1;
            return Ok(Name { text, pos });
        }
        if let (true, Token::Text(text)) = (self.at("["), &self.ahead(1).token) {
            let text = text.clone();
            self.next += 2;
            self.expect("]")?;
            return Ok(Name { text, pos });
        }
        Err(self.unexpected("a name"))
    }

    fn count(&mut self) -> Result<usize, KqlError> {
        match *self.peek() {
            Token::Long(number) if number >= 0 => {
                self.next += 1;
                Ok(usize::try_from(number).unwrap_or(usize::MAX))
            }
            _ => Err(self.unexpected("a whole number")),
        }
    }

    /// `name = expr`, or only the expression.
    fn named(&mut self) -> Result<Named, KqlError> {
        let quoted = self.at("[");
        let equals = &self.ahead(if quoted { 3 } else { 1 }).token;
        let name = match (equals, self.peek()) {
            (Token::Mark("="), Token::Word(_) | Token::Mark("[")) => {
                let name = self.name()?;
                self.expect("=")?;
                Some(name)
            }
            _ => None,
        };
        Ok(Named { name, expr: self.expression()? })
    }
}

/// Tabular operators.
impl Parser {
    fn pipeline(&mut self) -> Result<Pipeline, KqlError> {
        self.nested(|parser| {
            let source = parser.source()?;
            let mut operators = Vec::new();
            while parser.eat("|") {
                operators.push(parser.operator()?);
            }
            Ok(Pipeline { source, operators })
        })
    }

    fn source(&mut self) -> Result<Source, KqlError> {
        if self.at("(") {
            return Ok(Source::Nested(Box::new(self.parenthesised()?)));
        }
        let pos = self.pos();
        if self.eat_word("union") {
            return Ok(Source::Union(self.list(Self::tabular)?, pos));
        }
        for statement in ["let", "set", "declare", "datatable", "print", "range"] {
            if self.at_word(statement) {
                return Err(KqlError::at(pos, format!("'{statement}' is not supported")));
            }
        }
        Ok(Source::Table(self.name()?))
    }

    fn parenthesised(&mut self) -> Result<Pipeline, KqlError> {
        self.expect("(")?;
        let inner = self.pipeline()?;
        self.expect(")")?;
        Ok(inner)
    }

    /// The argument of `join` and `union`: a table's name, or a query in parentheses.
    fn tabular(&mut self) -> Result<Pipeline, KqlError> {
        if self.at("(") {
            return self.parenthesised();
        }
        Ok(Pipeline { source: Source::Table(self.name()?), operators: Vec::new() })
    }

    /// An operator's name. `project-away` is one name but three tokens.
    fn operator_name(&mut self) -> Result<Name, KqlError> {
        let Name { mut text, pos } = self.name()?;
        while let (Token::Mark("-"), true, Lexeme { token: Token::Word(more), glued: true, .. }) =
            (self.peek(), self.ahead(0).glued, self.ahead(1))
        {
            text.push('-');
            text.push_str(more);
            self.next += 2;
        }
        Ok(Name { text, pos })
    }

    fn operator(&mut self) -> Result<Operator, KqlError> {
        let Name { text, pos } = self.operator_name()?;
        let kind = match text.as_str() {
            "where" | "filter" => OperatorKind::Where(self.expression()?),
            "extend" => OperatorKind::Extend(self.list(Self::named)?),
            "project" => OperatorKind::Project(self.list(Self::named)?),
            "project-away" => OperatorKind::ProjectAway(self.list(Self::name_pattern)?),
            "project-rename" => OperatorKind::ProjectRename(self.list(Self::renaming)?),
            "summarize" => self.summarize()?,
            "join" => self.join()?,
            "order" | "sort" => {
                self.expect_word("by")?;
                OperatorKind::Order(self.list(Self::order_key)?)
            }
            "take" | "limit" => OperatorKind::Take(self.count()?),
            "top" => {
                let rows = self.count()?;
                self.expect_word("by")?;
                OperatorKind::Top(rows, self.list(Self::order_key)?)
            }
            "count" => OperatorKind::Count,
            "distinct" if self.eat("*") => OperatorKind::Distinct(Vec::new()),
            "distinct" => OperatorKind::Distinct(self.list(Self::named)?),
            "union" => OperatorKind::Union(self.list(Self::tabular)?),
            "mv-expand" | "mvexpand" => self.mv_expand()?,
            _ => {
                return Err(KqlError::at(pos, format!("the operator '{text}' is not supported")));
            }
        };
        match self.peek() {
            Token::End | Token::Mark("|" | ")" | ";") => Ok(Operator { kind, pos }),
            _ => Err(self.unexpected(&format!("the end of the '{text}' operator"))),
        }
    }

    fn name_pattern(&mut self) -> Result<Name, KqlError> {
        let mut name = self.name()?;
        if self.ahead(0).glued && self.eat("*") {
            name.text.push('*');
        }
        Ok(name)
    }

    fn renaming(&mut self) -> Result<(Name, Name), KqlError> {
        let new = self.name()?;
        self.expect("=")?;
        Ok((new, self.name()?))
    }

    fn summarize(&mut self) -> Result<OperatorKind, KqlError> {
        let aggregates = if self.at_word("by") { Vec::new() } else { self.list(Self::named)? };
        let by = if self.eat_word("by") { self.list(Self::named)? } else { Vec::new() };
        Ok(OperatorKind::Summarize { aggregates, by })
    }

    fn order_key(&mut self) -> Result<OrderKey, KqlError> {
        let expr = self.expression()?;
        let ascending = self.eat_word("asc");
        if !ascending {
            self.eat_word("desc");
        }
        let mut nulls_first = ascending;
        if self.eat_word("nulls") {
            nulls_first = self.eat_word("first");
            if !nulls_first {
                self.expect_word("last")?;
            }
        }
        Ok(OrderKey { expr, descending: !ascending, nulls_first })
    }

    fn join(&mut self) -> Result<OperatorKind, KqlError> {
        let mut kind = JoinKind::InnerUnique;
        if self.eat_word("kind") {
            self.expect("=")?;
            let Name { text, pos } = self.name()?;
            kind = match text.as_str() {
                "innerunique" => JoinKind::InnerUnique,
                "inner" => JoinKind::Inner,
                "leftouter" => JoinKind::LeftOuter,
                other if OTHER_JOINS.contains(&other) => {
                    return Err(KqlError::at(pos, format!("the join kind '{other}' is not supported")));
                }
                other => return Err(KqlError::at(pos, format!("'{other}' is no kind of join"))),
            };
        }
        let right = self.tabular()?;
        self.expect_word("on")?;
        let mut on = Vec::new();
        loop {
            on.push(self.join_key()?);
            if !self.eat(",") && !self.eat_word("and") {
                return Ok(OperatorKind::Join { kind, right, on });
            }
        }
    }

    /// `column`, or `$left.a == $right.b` in either order.
    fn join_key(&mut self) -> Result<JoinKey, KqlError> {
        let pos = self.pos();
        let Some((first_is_left, first)) = self.join_side()? else {
            let name = self.name()?;
            return Ok(JoinKey { left: name.clone(), right: name });
        };
        self.expect("==")?;
        match self.join_side()? {
            Some((false, right)) if first_is_left => Ok(JoinKey { left: first, right }),
            Some((true, left)) if !first_is_left => Ok(JoinKey { left, right: first }),
            _ => Err(KqlError::at(pos, "a join condition compares a column of $left with one of $right")),
        }
    }

    fn join_side(&mut self) -> Result<Option<(bool, Name)>, KqlError> {
        let left = self.at_word("$left");
        if !left && !self.at_word("$right") {
            return Ok(None);
        }
        self.next += 1;
        if !self.at("[") {
            self.expect(".")?;
        }
        Ok(Some((left, self.name()?)))
    }

    fn mv_expand(&mut self) -> Result<OperatorKind, KqlError> {
        let column = self.named()?;
        let mut to = None;
        if self.eat_word("to") {
            self.expect_word("typeof")?;
            self.expect("(")?;
            let Name { text, pos } = self.name()?;
            let kind = kind_named(&text).filter(|kind| *kind != Kind::Timespan);
            to = Some(kind.ok_or_else(|| KqlError::at(pos, format!("'{text}' is no type of a column")))?);
            self.expect(")")?;
        }
        let limit = if self.eat_word("limit") { Some(self.count()?) } else { None };
        Ok(OperatorKind::MvExpand { column, to, limit })
    }
}
