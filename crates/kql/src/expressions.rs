//! Parses scalar expressions by precedence climbing.

use std::sync::Arc;

use serde_json::{Map, Number, Value as Json};

use super::ast::{Arithmetic, Comparison, Expr, ExprKind, Match, TextTest};
use super::error::KqlError;
use super::kind::Kind;
use super::lexer::Token;
use super::literal;
use super::parser::Parser;
use super::value::Value;

/// The type with this KQL name.
pub(crate) fn kind_named(name: &str) -> Option<Kind> {
    Some(match name {
        "bool" | "boolean" => Kind::Bool,
        "int" | "long" => Kind::Long,
        "real" | "double" => Kind::Real,
        "string" => Kind::String,
        "datetime" | "date" => Kind::DateTime,
        "timespan" | "time" => Kind::Timespan,
        "dynamic" => Kind::Dynamic,
        _ => return None,
    })
}

impl Parser {
    pub(crate) fn expression(&mut self) -> Result<Expr, KqlError> {
        self.nested(Self::disjunction)
    }

    fn disjunction(&mut self) -> Result<Expr, KqlError> {
        self.chain("or", Self::conjunction, ExprKind::Or)
    }

    fn conjunction(&mut self) -> Result<Expr, KqlError> {
        self.chain("and", Self::comparison, ExprKind::And)
    }

    fn chain(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Result<Expr, KqlError>,
        whole: fn(Vec<Expr>) -> ExprKind,
    ) -> Result<Expr, KqlError> {
        let pos = self.pos();
        let first = part(self)?;
        if !self.at_word(word) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.eat_word(word) {
            parts.push(part(self)?);
        }
        Expr::new(whole(parts), pos)
    }

    /// One comparison; KQL does not chain them.
    fn comparison(&mut self) -> Result<Expr, KqlError> {
        let left = Box::new(self.sum()?);
        let pos = self.pos();
        let kind = match self.peek().clone() {
            Token::Mark(mark) => match comparison_mark(mark) {
                Some(Infix::Compare(comparison)) => {
                    self.advance();
                    ExprKind::Compare(comparison, left, Box::new(self.sum()?))
                }
                Some(Infix::Match(test)) => {
                    self.advance();
                    ExprKind::Match(test, left, Box::new(self.sum()?))
                }
                None => return Ok(*left),
            },
            Token::Word(word) => {
                let (positive, negated) = word.strip_prefix('!').map_or((word.as_str(), false), |word| (word, true));
                match positive {
                    "in" | "in~" => {
                        self.advance();
                        let list = self.arguments()?;
                        ExprKind::In { value: left, list, fold: positive == "in~", negated }
                    }
                    "between" => {
                        self.advance();
                        self.between(left, negated)?
                    }
                    "has_any" if !negated => {
                        self.advance();
                        ExprKind::HasAny(left, self.arguments()?)
                    }
                    _ => match text_test(positive) {
                        Some((test, fold)) => {
                            self.advance();
                            ExprKind::Match(Match { test, fold, negated }, left, Box::new(self.sum()?))
                        }
                        None => return Ok(*left),
                    },
                }
            }
            _ => return Ok(*left),
        };
        Expr::new(kind, pos)
    }

    fn between(&mut self, value: Box<Expr>, negated: bool) -> Result<ExprKind, KqlError> {
        self.expect("(")?;
        let low = Box::new(self.sum()?);
        self.expect("..")?;
        let high = Box::new(self.sum()?);
        self.expect(")")?;
        Ok(ExprKind::Between { value, low, high, negated })
    }

    fn sum(&mut self) -> Result<Expr, KqlError> {
        self.left_associative(Self::product, |mark| match mark {
            "+" => Some(Arithmetic::Add),
            "-" => Some(Arithmetic::Subtract),
            _ => None,
        })
    }

    fn product(&mut self) -> Result<Expr, KqlError> {
        self.left_associative(Self::unary, |mark| match mark {
            "*" => Some(Arithmetic::Multiply),
            "/" => Some(Arithmetic::Divide),
            "%" => Some(Arithmetic::Modulo),
            _ => None,
        })
    }

    fn left_associative(
        &mut self,
        part: fn(&mut Self) -> Result<Expr, KqlError>,
        operator: fn(&str) -> Option<Arithmetic>,
    ) -> Result<Expr, KqlError> {
        let mut left = part(self)?;
        loop {
            let pos = self.pos();
            let Token::Mark(mark) = *self.peek() else {
                return Ok(left);
            };
            let Some(operator) = operator(mark) else {
                return Ok(left);
            };
            self.advance();
            let right = part(self)?;
            left = Expr::new(ExprKind::Arithmetic(operator, Box::new(left), Box::new(right)), pos)?;
        }
    }

    fn unary(&mut self) -> Result<Expr, KqlError> {
        let pos = self.pos();
        if self.eat("-") {
            let inner = self.nested(Self::unary)?;
            return Expr::new(ExprKind::Negate(Box::new(inner)), pos);
        }
        self.path()
    }

    /// A value and the steps into it: `properties.extended['key'][0]`.
    fn path(&mut self) -> Result<Expr, KqlError> {
        let mut base = self.primary()?;
        loop {
            let pos = self.pos();
            let kind = if self.eat(".") {
                ExprKind::Member(Box::new(base), self.name()?.text)
            } else if self.eat("[") {
                let index = self.expression()?;
                self.expect("]")?;
                match &index.kind {
                    ExprKind::Literal(Kind::String, Value::String(key)) => {
                        ExprKind::Member(Box::new(base), key.as_ref().to_owned())
                    }
                    _ => ExprKind::Element(Box::new(base), Box::new(index)),
                }
            } else {
                return Ok(base);
            };
            base = Expr::new(kind, pos)?;
        }
    }

    fn primary(&mut self) -> Result<Expr, KqlError> {
        let pos = self.pos();
        if self.eat("(") {
            let inner = self.expression()?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.eat("*") {
            return Expr::new(ExprKind::Star, pos);
        }
        let (kind, value) = match self.peek().clone() {
            Token::Text(text) => (Kind::String, Value::String(Arc::from(text))),
            Token::Long(number) => (Kind::Long, Value::Long(number)),
            Token::Real(number) => (Kind::Real, Value::Real(number)),
            Token::Timespan(span) => (Kind::Timespan, Value::Long(span)),
            Token::Typed { name, inner } => literal::typed(&name, &inner)
                .ok_or_else(|| KqlError::at(pos, format!("'{name}({inner})' is not a literal that is supported")))?,
            Token::Word(word) if word == "true" || word == "false" => (Kind::Bool, Value::Bool(word == "true")),
            Token::Word(word) if word == "dynamic" => {
                self.advance();
                self.expect("(")?;
                let json = self.json()?;
                self.expect(")")?;
                return Expr::new(ExprKind::Literal(Kind::Dynamic, Value::from_json(json)), pos);
            }
            Token::Word(_) | Token::Mark("[") => return self.reference(),
            _ => return Err(self.unexpected("an expression")),
        };
        self.advance();
        Expr::new(ExprKind::Literal(kind, value), pos)
    }

    /// A column or a call.
    fn reference(&mut self) -> Result<Expr, KqlError> {
        let name = self.name()?;
        let kind = match self.at("(") {
            true => ExprKind::Call(name.text, self.arguments()?),
            false => ExprKind::Column(name.text),
        };
        Expr::new(kind, name.pos)
    }

    /// A list in parentheses, possibly empty.
    fn arguments(&mut self) -> Result<Vec<Expr>, KqlError> {
        self.expect("(")?;
        let arguments = if self.at(")") { Vec::new() } else { self.list(Self::expression)? };
        self.expect(")")?;
        Ok(arguments)
    }

    /// The JSON in a `dynamic(…)`; its strings are KQL literals.
    fn json(&mut self) -> Result<Json, KqlError> {
        self.nested(|parser| {
            let pos = parser.pos();
            let json = match parser.advance() {
                Token::Text(text) => Json::String(text),
                Token::Long(number) => Json::from(number),
                Token::Real(number) => Number::from_f64(number).map_or(Json::Null, Json::Number),
                Token::Mark("-") => match parser.advance() {
                    Token::Long(number) => Json::from(-number),
                    Token::Real(number) => Number::from_f64(-number).map_or(Json::Null, Json::Number),
                    _ => return Err(KqlError::at(pos, "expected a number after '-'")),
                },
                Token::Word(word) if word == "true" || word == "false" => Json::Bool(word == "true"),
                Token::Word(word) if word == "null" => Json::Null,
                Token::Mark("[") => {
                    let items = if parser.at("]") { Vec::new() } else { parser.list(Self::json)? };
                    parser.expect("]")?;
                    Json::Array(items)
                }
                Token::Mark("{") => {
                    let members = if parser.at("}") { Vec::new() } else { parser.list(Self::member)? };
                    parser.expect("}")?;
                    Json::Object(Map::from_iter(members))
                }
                _ => return Err(KqlError::at(pos, "expected JSON in a dynamic literal")),
            };
            Ok(json)
        })
    }

    fn member(&mut self) -> Result<(String, Json), KqlError> {
        let Token::Text(key) = self.peek().clone() else {
            return Err(self.unexpected("a key in quotes"));
        };
        self.advance();
        self.expect(":")?;
        Ok((key, self.json()?))
    }
}

enum Infix {
    Compare(Comparison),
    Match(Match),
}

fn comparison_mark(mark: &str) -> Option<Infix> {
    let equals = |negated| Infix::Match(Match { test: TextTest::Equals, fold: true, negated });
    Some(match mark {
        "==" => Infix::Compare(Comparison::Equal),
        "!=" | "<>" => Infix::Compare(Comparison::NotEqual),
        "<" => Infix::Compare(Comparison::Less),
        "<=" => Infix::Compare(Comparison::LessOrEqual),
        ">" => Infix::Compare(Comparison::Greater),
        ">=" => Infix::Compare(Comparison::GreaterOrEqual),
        "=~" => equals(false),
        "!~" => equals(true),
        _ => return None,
    })
}

/// A text operator by name, without `!`, and whether it ignores case.
fn text_test(word: &str) -> Option<(TextTest, bool)> {
    let (test, fold) = word.strip_suffix("_cs").map_or((word, true), |test| (test, false));
    let test = match test {
        "contains" => TextTest::Contains,
        "startswith" => TextTest::StartsWith,
        "endswith" => TextTest::EndsWith,
        "has" => TextTest::Has,
        _ => return None,
    };
    Some((test, fold))
}
