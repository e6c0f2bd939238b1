//! Owns the shape of templates: Go's text/template as far as it is read (see `super`). What Go refuses as well is
//! [`TemplateError::Fails`]; what only we do not read is [`TemplateError::Unsupported`].

use super::TemplateError;

/// How deep actions and parentheses may be nested.
const MAX_DEPTH: usize = 16;
/// What trim markers remove.
const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part<'t> {
    Text(&'t str),
    Print(Pipeline<'t>),
    If(Branch<'t>),
    Range(Branch<'t>),
}

/// What follows where a pipeline holds (or for each of its elements), and what otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Branch<'t> {
    pub(super) on: Pipeline<'t>,
    pub(super) then: Vec<Part<'t>>,
    pub(super) otherwise: Vec<Part<'t>>,
}

/// Commands; the value of each is the last argument of the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pipeline<'t>(pub(super) Vec<Command<'t>>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command<'t> {
    Value(Operand<'t>),
    Call(&'t str, Vec<Operand<'t>>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operand<'t> {
    /// `.a.b`, from where the template stands, or from its root: `$.a.b`.
    Field {
        root: bool,
        path: Vec<&'t str>,
    },
    /// `(…).a.b`
    Inner(Box<Pipeline<'t>>, Vec<&'t str>),
    Text(String),
    Int(i64),
    Bool(bool),
}

/// Reads a whole template.
pub(super) fn parse(template: &str) -> Result<Vec<Part<'_>>, TemplateError> {
    let mut actions = Actions { tokens: split(template)?.into_iter(), depth: 0 };
    match actions.list()? {
        (parts, End::Text) => Ok(parts),
        (_, _) => Err(fails("an end without a beginning")),
    }
}

fn fails(why: &str) -> TemplateError {
    TemplateError::Fails(why.to_owned())
}

#[derive(Debug, Clone, Copy)]
enum Token<'t> {
    Text(&'t str),
    Action(&'t str),
}

/// Text and actions by turns; trim markers are carried out, comments removed.
fn split(template: &str) -> Result<Vec<Token<'_>>, TemplateError> {
    let (mut tokens, mut rest, mut trim) = (Vec::new(), template, false);
    loop {
        let (text, action) = rest.split_once("{{").map_or((rest, None), |(text, action)| (text, Some(action)));
        let text = if trim { text.trim_start_matches(SPACE) } else { text };
        let trims = action.is_some_and(|action| action.starts_with('-') && action[1..].starts_with(SPACE));
        tokens.push(Token::Text(if trims { text.trim_end_matches(SPACE) } else { text }));
        let Some(action) = action else { return Ok(tokens) };
        let (inner, after) = action.split_once("}}").ok_or_else(|| fails("an action is not closed"))?;
        trim = inner.ends_with('-') && inner[..inner.len() - 1].ends_with(SPACE);
        let inner = if trims { &inner[1..] } else { inner };
        let inner = if trim { &inner[..inner.len() - 1] } else { inner };
        let inner = inner.trim_matches(SPACE);
        if !(inner.starts_with("/*") && inner.ends_with("*/")) {
            tokens.push(Token::Action(inner));
        }
        rest = after;
    }
}

/// How a list of parts ended.
enum End<'t> {
    Text,
    Action,
    Else,
    ElseIf(&'t str),
}

struct Actions<'t> {
    tokens: std::vec::IntoIter<Token<'t>>,
    depth: usize,
}

impl<'t> Actions<'t> {
    fn list(&mut self) -> Result<(Vec<Part<'t>>, End<'t>), TemplateError> {
        let mut parts = Vec::new();
        while let Some(token) = self.tokens.next() {
            let action = match token {
                Token::Text(text) => {
                    parts.push(Part::Text(text));
                    continue;
                }
                Token::Action(action) => action,
            };
            let (word, rest) = action.split_once(SPACE).unwrap_or((action, ""));
            match (word, rest.trim_start_matches(SPACE)) {
                ("end", "") => return Ok((parts, End::Action)),
                ("else", "") => return Ok((parts, End::Else)),
                ("else", rest) => match rest.strip_prefix("if").filter(|rest| rest.starts_with(SPACE)) {
                    Some(condition) => return Ok((parts, End::ElseIf(condition))),
                    None => return Err(unsupported(action)),
                },
                ("if", condition) => parts.push(Part::If(self.branch(condition)?)),
                ("with" | "define" | "template" | "block" | "break" | "continue", _) => {
                    return Err(unsupported(action));
                }
                ("range", over) => parts.push(Part::Range(self.branch(over)?)),
                _ => parts.push(Part::Print(pipeline(action)?)),
            }
        }
        Ok((parts, End::Text))
    }

    fn branch(&mut self, on: &'t str) -> Result<Branch<'t>, TemplateError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(TemplateError::Unsupported(format!("nested deeper than {MAX_DEPTH} actions")));
        }
        let on = pipeline(on)?;
        let (then, end) = self.list()?;
        let otherwise = match end {
            End::Action => Vec::new(),
            End::Text => return Err(fails("an action has no end")),
            End::ElseIf(condition) => vec![Part::If(self.branch(condition)?)],
            End::Else => match self.list()? {
                (parts, End::Action) => parts,
                (_, End::Text) => return Err(fails("an action has no end")),
                (_, End::Else | End::ElseIf(_)) => return Err(fails("an else after an else")),
            },
        };
        self.depth -= 1;
        Ok(Branch { on, then, otherwise })
    }
}

fn unsupported(action: &str) -> TemplateError {
    TemplateError::Unsupported(format!("{{{{ {action} }}}}"))
}

fn pipeline(action: &str) -> Result<Pipeline<'_>, TemplateError> {
    let mut words = Words { action, rest: action, depth: 0 };
    let pipeline = words.pipeline()?;
    if words.rest.is_empty() { Ok(pipeline) } else { Err(unsupported(action)) }
}

/// The words of one action.
struct Words<'t> {
    action: &'t str,
    rest: &'t str,
    depth: usize,
}

impl<'t> Words<'t> {
    /// Up to the end of the action, or a closing parenthesis.
    fn pipeline(&mut self) -> Result<Pipeline<'t>, TemplateError> {
        let mut commands = Vec::new();
        loop {
            commands.push(self.command()?);
            self.space();
            match self.rest.strip_prefix('|') {
                Some(rest) => self.rest = rest,
                None => return Ok(Pipeline(commands)),
            }
        }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches(SPACE);
    }

    fn command(&mut self) -> Result<Command<'t>, TemplateError> {
        self.space();
        let name = self.rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap_or_default();
        let first = name.chars().next();
        if !first.is_some_and(|c| c.is_ascii_alphabetic()) || matches!(name, "true" | "false") {
            let value = self.operand()?.ok_or_else(|| unsupported(self.action))?;
            return Ok(Command::Value(value));
        }
        self.rest = &self.rest[name.len()..];
        let mut arguments = Vec::new();
        while let Some(argument) = self.operand()? {
            arguments.push(argument);
        }
        Ok(Command::Call(name, arguments))
    }

    /// The next operand; `None` at the end of a command.
    fn operand(&mut self) -> Result<Option<Operand<'t>>, TemplateError> {
        self.space();
        let operand = match self.rest.chars().next() {
            None | Some('|' | ')') => return Ok(None),
            Some('.' | '$') => self.field(),
            Some('(') => self.inner(),
            Some('"') => self.quoted(),
            Some('0'..='9' | '-' | '+' | 't' | 'f') => self.literal(),
            Some(_) => Err(unsupported(self.action)),
        }?;
        if self.rest.starts_with(|next: char| !SPACE.contains(&next) && !"|)".contains(next)) {
            return Err(unsupported(self.action));
        }
        Ok(Some(operand))
    }

    fn field(&mut self) -> Result<Operand<'t>, TemplateError> {
        let (root, rest) = match self.rest.strip_prefix('$') {
            Some(rest) => (true, rest),
            None => (false, self.rest),
        };
        self.rest = rest;
        let here = rest.strip_prefix('.').filter(|rest| {
            let ends = |next: char| SPACE.contains(&next) || "|)".contains(next);
            rest.is_empty() || rest.starts_with(ends)
        });
        if let Some(rest) = here.filter(|_| !root) {
            self.rest = rest;
            return Ok(Operand::Field { root, path: Vec::new() });
        }
        Ok(Operand::Field { root, path: self.path()? })
    }

    /// `.a.b`, as far as it goes.
    fn path(&mut self) -> Result<Vec<&'t str>, TemplateError> {
        let mut path = Vec::new();
        while let Some(rest) = self.rest.strip_prefix('.') {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            if end == 0 || rest.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(unsupported(self.action));
            }
            path.push(&rest[..end]);
            self.rest = &rest[end..];
        }
        Ok(path)
    }

    fn inner(&mut self) -> Result<Operand<'t>, TemplateError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(TemplateError::Unsupported(format!("nested deeper than {MAX_DEPTH} parentheses")));
        }
        self.rest = &self.rest[1..];
        let inner = self.pipeline()?;
        self.space();
        self.rest = self.rest.strip_prefix(')').ok_or_else(|| unsupported(self.action))?;
        self.depth -= 1;
        Ok(Operand::Inner(Box::new(inner), self.path()?))
    }

    /// `"…"` without escapes but `\"`, `\\`, `\n` and `\t`.
    fn quoted(&mut self) -> Result<Operand<'t>, TemplateError> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(Operand::Text(text));
                }
                '\\' => text.push(match characters.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, 't')) => '\t',
                    Some((_, same @ ('"' | '\\'))) => same,
                    _ => return Err(unsupported(self.action)),
                }),
                other => text.push(other),
            }
        }
        Err(unsupported(self.action))
    }

    fn literal(&mut self) -> Result<Operand<'t>, TemplateError> {
        let end = self.rest.find(|c: char| SPACE.contains(&c) || "|)".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word {
            "true" => Ok(Operand::Bool(true)),
            "false" => Ok(Operand::Bool(false)),
            // Go reads a leading zero as octal.
            _ if word.len() > 1 && word.trim_start_matches(['-', '+']).starts_with('0') => {
                Err(unsupported(self.action))
            }
            _ => word.parse().map(Operand::Int).map_err(|_| unsupported(self.action)),
        }
    }
}
