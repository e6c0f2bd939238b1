//! Owns the part of Go's text/template and of sprig's functions that rules use to make vars (`varsTemplate`): text, fields,
//! pipelines, `range`, `if`, the functions of `functions`, comments and trim markers. Everything else is reported as not
//! supported, never skipped.

mod functions;
mod parse;

use std::collections::BTreeMap;

use parse::{Branch, Command, Operand, Part, Pipeline};

/// The longest template that NFD reads, in bytes.
const MAX_TEMPLATE: usize = 64 << 10;
/// The longest text that a template may expand to, in bytes.
const MAX_EXPANDED: usize = 256 << 10;
/// The most bytes that the values of one expansion have together.
const MAX_VALUES: usize = 4 << 20;
/// The most steps of one expansion.
const MAX_STEPS: usize = 100_000;

/// What matched: domain, feature, then the elements.
pub(super) type Matched = BTreeMap<String, BTreeMap<String, Vec<Element>>>;
type Element = BTreeMap<String, String>;

/// Why a template gives nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TemplateError {
    /// NFD fails on it, too.
    Fails(String),
    /// NFD may expand it; bestfit does not.
    Unsupported(String),
}

/// What a pipeline gives.
#[derive(Debug, Clone)]
enum Value<'m> {
    Root(&'m Matched),
    Domain(&'m BTreeMap<String, Vec<Element>>),
    List(&'m [Element]),
    Element(&'m Element),
    Texts(Vec<String>),
    Text(String),
    Int(i64),
    Bool(bool),
    /// Go's nil: the first of none.
    Nothing,
}

/// Expands `template` and reads the lines `key=value`.
pub(super) fn expand(template: &str, matched: &Matched) -> Result<BTreeMap<String, String>, TemplateError> {
    if template.len() > MAX_TEMPLATE {
        return Err(TemplateError::Fails(format!("the template has more than {MAX_TEMPLATE} bytes")));
    }
    let parts = parse::parse(template)?;
    let mut expansion = Expansion { root: matched, text: String::new(), values: 0, steps: 0 };
    expansion.parts(&parts, &Value::Root(matched))?;
    let mut vars = BTreeMap::new();
    for line in expansion.text.split('\n').map(str::trim).filter(|line| !line.is_empty()) {
        let (key, value) =
            line.split_once('=').ok_or_else(|| TemplateError::Fails(format!("{line:?} is not <key>=<value>")))?;
        vars.insert(key.to_owned(), value.to_owned());
    }
    Ok(vars)
}

/// One expansion on its way.
struct Expansion<'m> {
    root: &'m Matched,
    text: String,
    /// Bytes of the values so far.
    values: usize,
    steps: usize,
}

impl<'m> Expansion<'m> {
    fn parts(&mut self, parts: &[Part<'_>], dot: &Value<'m>) -> Result<(), TemplateError> {
        for part in parts {
            self.step(None)?;
            match part {
                Part::Text(text) => self.text.push_str(text),
                Part::Print(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    self.text.push_str(&value.printed()?);
                }
                Part::If(Branch { on, then, otherwise }) => {
                    let holds = self.pipeline(on, dot)?.is_true();
                    self.parts(if holds { then } else { otherwise }, dot)?;
                }
                Part::Range(branch) => self.range(branch, dot)?,
            }
            if self.text.len() > MAX_EXPANDED {
                return Err(too_long());
            }
        }
        Ok(())
    }

    /// Counts a step, and the value that came of it.
    fn step(&mut self, value: Option<&Value<'m>>) -> Result<(), TemplateError> {
        self.steps += 1;
        self.values = self.values.saturating_add(value.map_or(0, Value::bytes));
        if self.steps > MAX_STEPS {
            return Err(TemplateError::Unsupported(format!("it takes more than {MAX_STEPS} steps")));
        }
        if self.values > MAX_VALUES {
            return Err(TemplateError::Unsupported(format!("its values have more than {MAX_VALUES} bytes")));
        }
        Ok(())
    }

    fn range(&mut self, branch: &Branch<'_>, dot: &Value<'m>) -> Result<(), TemplateError> {
        let elements: Vec<Value<'m>> = match self.pipeline(&branch.on, dot)? {
            Value::List(list) => list.iter().map(Value::Element).collect(),
            Value::Texts(texts) => texts.into_iter().map(Value::Text).collect(),
            _ => return Err(TemplateError::Unsupported("a range over no list".to_owned())),
        };
        if elements.is_empty() {
            return self.parts(&branch.otherwise, dot);
        }
        elements.iter().try_for_each(|element| self.parts(&branch.then, element))
    }

    fn pipeline(&mut self, pipeline: &Pipeline<'_>, dot: &Value<'m>) -> Result<Value<'m>, TemplateError> {
        let mut handed = None;
        for command in &pipeline.0 {
            let value = match (command, handed.take()) {
                (Command::Value(operand), None) => self.operand(operand, dot)?,
                (Command::Value(_), Some(_)) => {
                    return Err(TemplateError::Fails("a value is handed to what is no function".to_owned()));
                }
                (Command::Call(name, arguments), last) => {
                    let given: Result<Vec<_>, _> =
                        arguments.iter().map(|argument| self.operand(argument, dot)).collect();
                    functions::call(name, given?.into_iter().chain(last).collect())?
                }
            };
            self.step(Some(&value))?;
            handed = Some(value);
        }
        handed.ok_or_else(|| TemplateError::Fails("an empty action".to_owned()))
    }

    fn operand(&mut self, operand: &Operand<'_>, dot: &Value<'m>) -> Result<Value<'m>, TemplateError> {
        let value = match operand {
            Operand::Text(text) => Value::Text(text.clone()),
            Operand::Int(number) => Value::Int(*number),
            Operand::Bool(value) => Value::Bool(*value),
            Operand::Field { root: true, path } => field(Value::Root(self.root), path)?,
            Operand::Field { root: false, path } => field(dot.clone(), path)?,
            Operand::Inner(pipeline, path) => field(self.pipeline(pipeline, dot)?, path)?,
        };
        self.step(Some(&value))?;
        Ok(value)
    }
}

fn too_long() -> TemplateError {
    TemplateError::Unsupported(format!("it expands to more than {MAX_EXPANDED} bytes"))
}

/// Goes down by names. NFD has missing ones be errors.
fn field<'m>(from: Value<'m>, path: &[&str]) -> Result<Value<'m>, TemplateError> {
    let Some((name, rest)) = path.split_first() else { return Ok(from) };
    let missing = |what: &str| TemplateError::Fails(format!("{what} .{name}"));
    let next = match from {
        Value::Root(root) => Value::Domain(root.get(*name).ok_or_else(|| missing("nothing matched"))?),
        Value::Domain(domain) => Value::List(domain.get(*name).ok_or_else(|| missing("nothing matched"))?),
        Value::Element(element) => Value::Text(element.get(*name).ok_or_else(|| missing("an element has no"))?.clone()),
        _ => return Err(missing("there is no")),
    };
    field(next, rest)
}

impl Value<'_> {
    /// Go's truth: what is empty or zero is false.
    fn is_true(&self) -> bool {
        match self {
            Self::Root(root) => !root.is_empty(),
            Self::Domain(domain) => !domain.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Element(element) => !element.is_empty(),
            Self::Texts(texts) => !texts.is_empty(),
            Self::Text(text) => !text.is_empty(),
            Self::Int(number) => *number != 0,
            Self::Bool(value) => *value,
            Self::Nothing => false,
        }
    }

    /// The bytes of its texts; what it only refers to takes none.
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Texts(texts) => texts.iter().map(String::len).sum(),
            _ => 0,
        }
    }

    fn printed(&self) -> Result<String, TemplateError> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Int(number) => Ok(number.to_string()),
            Self::Bool(value) => Ok(value.to_string()),
            Self::Nothing => Ok("<no value>".to_owned()),
            _ => Err(TemplateError::Unsupported("printing a list".to_owned())),
        }
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
