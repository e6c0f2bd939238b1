//! Owns the functions of templates: Go's own (`len`, `eq`, `index`, …) and sprig's, as far as NFD's documentation and rules in
//! use call them. Each answers as the original does, or not at all.

use super::{MAX_EXPANDED, TemplateError, Value, too_long};

/// Calls a function with all its arguments; the last one is what a pipeline hands on.
pub(super) fn call<'m>(name: &str, arguments: Vec<Value<'m>>) -> Result<Value<'m>, TemplateError> {
    let unsupported = || TemplateError::Unsupported(format!("{name} of such arguments"));
    Ok(match (name, arguments.as_slice()) {
        ("len", [value]) => Value::Int(length(value).ok_or_else(unsupported)?),
        ("not", [value]) => Value::Bool(!value.is_true()),
        ("and", [_, ..]) => first_or_last(arguments, |value| !value.is_true()),
        ("or", [_, ..]) => first_or_last(arguments, Value::is_true),
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            let same = others.iter().map(|other| same(first, other)).collect::<Result<Vec<_>, _>>()?;
            Value::Bool(same.contains(&true))
        }
        ("ne", [first, other]) => Value::Bool(!same(first, other)?),
        ("lt" | "le" | "gt" | "ge", [first, other]) => {
            Value::Bool(ordered(name, first, other).ok_or_else(unsupported)?)
        }
        ("index", [list, at]) => index(list, at)?,
        ("first", [Value::List(list)]) => list.first().map_or(Value::Nothing, Value::Element),
        ("last", [Value::List(list)]) => list.last().map_or(Value::Nothing, Value::Element),
        ("first" | "last", [Value::Texts(texts)]) => {
            let text = if name == "first" { texts.first() } else { texts.last() };
            text.cloned().map_or(Value::Nothing, Value::Text)
        }
        ("default", [_, value]) if value.is_true() => value.clone(),
        ("default", [default, _]) => default.clone(),
        ("list", _) => texts(&arguments).map(Value::Texts).ok_or_else(unsupported)?,
        ("join", [Value::Text(separator), Value::Texts(texts)]) => {
            let given: usize = texts.iter().map(String::len).sum();
            bounded(given.checked_add(separator.len().saturating_mul(texts.len())))?;
            Value::Text(texts.join(separator))
        }
        ("replace", [Value::Text(from), Value::Text(to), Value::Text(text)]) if !from.is_empty() => {
            let found = text.matches(from.as_str()).count();
            bounded(to.len().checked_mul(found).and_then(|new| new.checked_add(text.len() - from.len() * found)))?;
            Value::Text(text.replace(from.as_str(), to))
        }
        ("substr", [Value::Int(start), Value::Int(end), Value::Text(text)]) => {
            Value::Text(substring(*start, *end, text)?)
        }
        _ => Value::Text(text(name, &texts(&arguments).ok_or_else(unsupported)?).ok_or_else(unsupported)?).parted(name),
    })
}

/// Refuses what is longer than a template may expand to, before it is made.
fn bounded(length: Option<usize>) -> Result<(), TemplateError> {
    if length.is_some_and(|length| length <= MAX_EXPANDED) { Ok(()) } else { Err(too_long()) }
}

/// Functions of texts alone, sprig's with the subject last.
fn text(name: &str, arguments: &[String]) -> Option<String> {
    let boolean = |value: bool| Some(value.to_string());
    match (name, arguments) {
        ("trim", [text]) => Some(text.trim().to_owned()),
        // Go turns one character into one.
        ("lower", [text]) if text.is_ascii() => Some(text.to_ascii_lowercase()),
        ("upper", [text]) if text.is_ascii() => Some(text.to_ascii_uppercase()),
        ("trimPrefix", [prefix, text]) => Some(text.strip_prefix(prefix.as_str()).unwrap_or(text).to_owned()),
        ("trimSuffix", [suffix, text]) => Some(text.strip_suffix(suffix.as_str()).unwrap_or(text).to_owned()),
        ("contains", [part, text]) => boolean(text.contains(part.as_str())),
        ("hasPrefix", [prefix, text]) => boolean(text.starts_with(prefix.as_str())),
        ("hasSuffix", [suffix, text]) => boolean(text.ends_with(suffix.as_str())),
        _ => None,
    }
}

impl Value<'_> {
    /// What a function of texts gives, as the kind that it is of.
    fn parted(self, name: &str) -> Self {
        match (name, &self) {
            ("contains" | "hasPrefix" | "hasSuffix", Value::Text(text)) => Value::Bool(text == "true"),
            _ => self,
        }
    }
}

fn texts(values: &[Value<'_>]) -> Option<Vec<String>> {
    let one = |value: &Value<'_>| if let Value::Text(text) = value { Some(text.clone()) } else { None };
    values.iter().map(one).collect()
}

fn length(value: &Value<'_>) -> Option<i64> {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(list) => list.len(),
        Value::Texts(texts) => texts.len(),
        Value::Element(element) => element.len(),
        Value::Domain(domain) => domain.len(),
        Value::Root(root) => root.len(),
        Value::Int(_) | Value::Bool(_) | Value::Nothing => return None,
    };
    i64::try_from(length).ok()
}

fn first_or_last<'m>(arguments: Vec<Value<'m>>, decides: impl Fn(&Value<'m>) -> bool) -> Value<'m> {
    let at = arguments.iter().position(decides).unwrap_or(arguments.len() - 1);
    arguments.into_iter().nth(at).unwrap_or(Value::Bool(false))
}

/// Go compares only values of one kind.
fn same(a: &Value<'_>, b: &Value<'_>) -> Result<bool, TemplateError> {
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => Ok(a == b),
        (Value::Int(a), Value::Int(b)) => Ok(a == b),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Text(_) | Value::Int(_) | Value::Bool(_), Value::Text(_) | Value::Int(_) | Value::Bool(_)) => {
            Err(TemplateError::Fails("values of different kinds are compared".to_owned()))
        }
        _ => Err(TemplateError::Unsupported("a comparison of lists".to_owned())),
    }
}

fn ordered(name: &str, a: &Value<'_>, b: &Value<'_>) -> Option<bool> {
    let order = match (a, b) {
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        _ => return None,
    };
    Some(match name {
        "lt" => order.is_lt(),
        "le" => order.is_le(),
        "gt" => order.is_gt(),
        _ => order.is_ge(),
    })
}

fn index<'m>(list: &Value<'m>, at: &Value<'m>) -> Result<Value<'m>, TemplateError> {
    let place = |at: i64| usize::try_from(at).ok();
    let outside = || TemplateError::Fails("an index is out of range".to_owned());
    match (list, at) {
        (Value::List(list), Value::Int(at)) => {
            place(*at).and_then(|at| list.get(at)).map(Value::Element).ok_or_else(outside)
        }
        (Value::Texts(list), Value::Int(at)) => {
            place(*at).and_then(|at| list.get(at)).cloned().map(Value::Text).ok_or_else(outside)
        }
        // The zero value of Go's map of strings.
        (Value::Element(element), Value::Text(name)) => Ok(Value::Text(element.get(name).cloned().unwrap_or_default())),
        _ => Err(TemplateError::Unsupported("index of such arguments".to_owned())),
    }
}

/// sprig's `substr`: bytes from `start` to before `end`; a negative end, or one behind the text, is its end.
fn substring(start: i64, end: i64, text: &str) -> Result<String, TemplateError> {
    let length = text.len() as i64;
    let range = match (start, end) {
        (start, end) if start < 0 => 0..end,
        (start, end) if end < 0 || end > length => start..length,
        (start, end) => start..end,
    };
    let outside = || TemplateError::Fails("substr: out of range".to_owned());
    let (Ok(start), Ok(end)) = (usize::try_from(range.start), usize::try_from(range.end)) else {
        return Err(outside());
    };
    if start > end || end > text.len() {
        return Err(outside());
    }
    let cut = text.get(start..end).map(str::to_owned);
    cut.ok_or_else(|| TemplateError::Unsupported("substr within a character".to_owned()))
}
