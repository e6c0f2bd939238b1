//! Owns the part of Go's text/template that rules use to make vars (`varsTemplate`): text, `{{ range .domain.feature }}`,
//! fields, `len`, comments and trim markers. Everything else is reported as not supported, never skipped.

use std::collections::BTreeMap;

/// The longest template that NFD reads, in bytes.
const MAX_TEMPLATE: usize = 64 << 10;
/// The longest text that a template may expand to, in bytes.
const MAX_EXPANDED: usize = 256 << 10;

/// What matched: domain, feature, then the elements.
pub(super) type Matched = BTreeMap<String, BTreeMap<String, Vec<BTreeMap<String, String>>>>;

/// Why a template gives nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TemplateError {
    /// NFD fails on it, too.
    Fails(String),
    /// NFD may expand it; bestfit does not.
    Unsupported(String),
}

#[derive(Debug)]
enum Part<'t> {
    Text(&'t str),
    Field(Vec<&'t str>),
    Length(Vec<&'t str>),
    Range(Vec<&'t str>, Vec<Part<'t>>),
}

/// Expands `template` and reads the lines `key=value`.
pub(super) fn expand(template: &str, matched: &Matched) -> Result<BTreeMap<String, String>, TemplateError> {
    if template.len() > MAX_TEMPLATE {
        return Err(TemplateError::Fails(format!("the template has more than {MAX_TEMPLATE} bytes")));
    }
    let mut tokens = tokens(template)?.into_iter();
    let parts = parts(&mut tokens, false)?;
    let mut text = String::new();
    for part in &parts {
        write(part, matched, None, &mut text)?;
    }
    let mut vars = BTreeMap::new();
    for line in text.split('\n').map(str::trim).filter(|line| !line.is_empty()) {
        let (key, value) =
            line.split_once('=').ok_or_else(|| TemplateError::Fails(format!("{line:?} is not <key>=<value>")))?;
        vars.insert(key.to_owned(), value.to_owned());
    }
    Ok(vars)
}

enum Token<'t> {
    Text(&'t str),
    Action(&'t str),
}

fn tokens(template: &str) -> Result<Vec<Token<'_>>, TemplateError> {
    const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];
    let (mut tokens, mut rest, mut trim) = (Vec::new(), template, false);
    loop {
        let (text, action) = rest.split_once("{{").map_or((rest, None), |(text, action)| (text, Some(action)));
        let text = if trim { text.trim_start_matches(SPACE) } else { text };
        let trims = action.is_some_and(|action| action.starts_with('-') && action[1..].starts_with(SPACE));
        tokens.push(Token::Text(if trims { text.trim_end_matches(SPACE) } else { text }));
        let Some(action) = action else { return Ok(tokens) };
        let (inner, after) =
            action.split_once("}}").ok_or_else(|| TemplateError::Fails("an action is not closed".to_owned()))?;
        trim = inner.ends_with('-') && inner[..inner.len() - 1].ends_with(SPACE);
        let inner = if trims { &inner[1..] } else { inner };
        let inner = if trim { &inner[..inner.len() - 1] } else { inner };
        tokens.push(Token::Action(inner.trim_matches(SPACE)));
        rest = after;
    }
}

fn parts<'t>(tokens: &mut impl Iterator<Item = Token<'t>>, inside: bool) -> Result<Vec<Part<'t>>, TemplateError> {
    let mut parts = Vec::new();
    while let Some(token) = tokens.next() {
        let action = match token {
            Token::Text(text) => {
                parts.push(Part::Text(text));
                continue;
            }
            Token::Action(action) => action,
        };
        let unsupported = || TemplateError::Unsupported(format!("{{{{ {action} }}}}"));
        let words: Vec<&str> = action.split_ascii_whitespace().collect();
        match words[..] {
            _ if action.starts_with("/*") && action.ends_with("*/") => {}
            ["end"] if inside => return Ok(parts),
            // A range in a range is never needed: there is no list in an element.
            ["range", over] if !inside => {
                let path = path(over).ok_or_else(unsupported)?;
                let body = self::parts(tokens, true)?;
                parts.push(Part::Range(path, body));
            }
            [field] => parts.push(Part::Field(path(field).ok_or_else(unsupported)?)),
            ["len", list] | [list, "|", "len"] => parts.push(Part::Length(path(list).ok_or_else(unsupported)?)),
            _ => return Err(unsupported()),
        }
    }
    if inside { Err(TemplateError::Fails("a range has no end".to_owned())) } else { Ok(parts) }
}

/// `.a.b` as its names.
fn path(text: &str) -> Option<Vec<&str>> {
    let names: Vec<&str> = text.strip_prefix('.')?.split('.').collect();
    let name = |name: &&str| {
        !name.is_empty()
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    names.iter().all(name).then_some(names)
}

fn write(
    part: &Part<'_>,
    matched: &Matched,
    element: Option<&BTreeMap<String, String>>,
    into: &mut String,
) -> Result<(), TemplateError> {
    let list = |path: &[&str]| match (path, element) {
        (&[domain, feature], None) => {
            let list = matched.get(domain).and_then(|features| features.get(feature));
            list.ok_or_else(|| TemplateError::Fails(format!("nothing matched .{domain}.{feature}")))
        }
        _ => Err(TemplateError::Unsupported(format!(".{}", path.join(".")))),
    };
    match part {
        Part::Text(text) => into.push_str(text),
        Part::Length(path) => into.push_str(&list(path)?.len().to_string()),
        Part::Field(path) => match (&path[..], element) {
            (&[name], Some(element)) => {
                let value = element.get(name);
                into.push_str(value.ok_or_else(|| TemplateError::Fails(format!("an element has no .{name}")))?);
            }
            _ => return Err(TemplateError::Unsupported(format!(".{}", path.join(".")))),
        },
        Part::Range(path, body) => {
            for element in list(path)? {
                body.iter().try_for_each(|part| write(part, matched, Some(element), into))?;
            }
        }
    }
    if into.len() > MAX_EXPANDED {
        return Err(TemplateError::Unsupported(format!("it expands to more than {MAX_EXPANDED} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(template: &str) -> Result<BTreeMap<String, String>, TemplateError> {
        let element = |name: &str, value: &str| {
            [("Name".to_owned(), name.to_owned()), ("Value".to_owned(), value.to_owned())].into()
        };
        let list = vec![element("ID", "rocky"), element("V", "9")];
        expand(template, &[("system".to_owned(), [("osrelease".to_owned(), list)].into())].into())
    }

    #[test]
    fn expands_what_nfd_documents() {
        let vars = run("{{ range .system.osrelease }}os-{{ .Name }}={{ .Value }}\n{{ end }}").unwrap();
        assert_eq!(vars, [("os-ID".to_owned(), "rocky".to_owned()), ("os-V".to_owned(), "9".to_owned())].into());
        let vars = run("{{/* c */}}n={{ .system.osrelease | len }}\n\n{{- /* d */ -}} \n").unwrap();
        assert_eq!(vars["n"], "2");
    }

    #[test]
    fn tells_failing_from_unsupported() {
        for fails in ["x", "{{", "{{ range .system.osrelease }}", "{{ range .a.b }}{{ end }}"] {
            assert!(matches!(run(fails), Err(TemplateError::Fails(_))), "{fails}");
        }
        assert!(matches!(run("{{ range .system.osrelease }}{{ .no }}{{ end }}"), Err(TemplateError::Fails(_))));
        for other in ["{{ if true }}a=1{{ end }}", "{{ (.pci.device | first).class }}", "{{ $x := 1 }}", "{{ .a.b.c }}"]
        {
            assert!(matches!(run(other), Err(TemplateError::Unsupported(_))), "{other}");
        }
    }
}
