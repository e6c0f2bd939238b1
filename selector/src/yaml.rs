//! Owns the reading of foreign YAML (and so of JSON) into nodes: bounded in bytes, depth and nodes after aliases, every
//! node with its line and column. Scalars stay text; what they mean is their reader's.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use crate::json::{self, JsonError, MAX_DEPTH};

/// The most nodes of one document, those that aliases repeat included.
pub const MAX_NODES: usize = 20_000;

/// A place in the text, both numbers from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// One node of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub mark: Mark,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One value.
    Scalar(Scalar),
    /// Several in an order.
    List(Vec<Node>),
    /// In the order of the text; keys may be repeated.
    Map(Vec<(Node, Node)>),
}

/// A scalar as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// What is written, escapes resolved.
    pub text: String,
    /// Neither quoted nor a block.
    pub plain: bool,
    /// Its type as the author wrote it: `!!str`.
    pub tag: Option<String>,
}

/// What a text holds.
pub struct Stream {
    /// The first document; `None` where there is none.
    pub first: Option<Node>,
    /// Where a second one begins; it is not read.
    pub second: Option<Mark>,
}

impl Mark {
    /// An error at this place.
    pub fn error(self, message: impl AsRef<str>) -> JsonError {
        JsonError::Malformed { line: self.line, column: self.column, message: json::plain(message.as_ref(), 300) }
    }
}

/// Reads the first document of `bytes`, at most `limit` of them.
pub fn read(bytes: &[u8], limit: usize) -> Result<Stream, JsonError> {
    if bytes.len() > limit {
        return Err(JsonError::TooBig { size: bytes.len(), limit });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| place(bytes, error.valid_up_to()).error("not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some((at, _)) = text.char_indices().find(|(_, c)| !printable(*c)) {
        return Err(place(text.as_bytes(), at).error("control characters are not allowed"));
    }
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    let mut stream = Stream { first: None, second: None };
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(scan_error)?;
        match event {
            Event::DocumentStart(_) if stream.first.is_some() => {
                stream.second = Some(mark(&span));
                break;
            }
            Event::StreamEnd => break,
            event => {
                if let Some(root) = builder.take(event, mark(&span))? {
                    stream.first = Some(root);
                }
            }
        }
    }
    Ok(stream)
}

fn printable(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..) && c != '\u{feff}'
}

fn place(bytes: &[u8], at: usize) -> Mark {
    let before = &bytes[..at.min(bytes.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    Mark { line, column }
}

fn mark(span: &Span) -> Mark {
    Mark { line: span.start.line(), column: span.start.col() + 1 }
}

fn scan_error(error: ScanError) -> JsonError {
    let at = error.marker();
    Mark { line: at.line(), column: at.col() + 1 }.error(error.info())
}

/// Puts the events of one document together.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

/// A list or mapping whose end has not been seen.
struct Open {
    mark: Mark,
    anchor: usize,
    children: Vec<Node>,
    map: bool,
}

impl Builder {
    /// Takes one event; gives the root when it is whole.
    fn take(&mut self, event: Event<'_>, mark: Mark) -> Result<Option<Node>, JsonError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, mark)?;
                let tag = tag.as_deref().map(full_tag);
                let plain = style == ScalarStyle::Plain;
                let node = Node { mark, kind: Kind::Scalar(Scalar { text: text.into_owned(), plain, tag }) };
                Ok(self.put(node, anchor))
            }
            Event::SequenceStart(anchor, _) => self.start(mark, anchor, false),
            Event::MappingStart(anchor, _) => self.start(mark, anchor, true),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Err(mark.error("an end without a start")) };
                let anchor = open.anchor;
                Ok(self.put(open.close(), anchor))
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(mark.error("an alias to something that is not complete or not there"));
                };
                let (size, depth) = measure(node);
                let node = node.clone();
                if self.open.len() + depth > MAX_DEPTH {
                    return Err(mark.error(format!("nested deeper than {MAX_DEPTH} levels")));
                }
                self.count(size, mark)?;
                Ok(self.put(node, 0))
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(None)
            }
        }
    }

    fn start(&mut self, mark: Mark, anchor: usize, map: bool) -> Result<Option<Node>, JsonError> {
        self.count(1, mark)?;
        if self.open.len() == MAX_DEPTH {
            return Err(mark.error(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.open.push(Open { mark, anchor, children: Vec::new(), map });
        Ok(None)
    }

    fn put(&mut self, node: Node, anchor: usize) -> Option<Node> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            Some(open) => {
                open.children.push(node);
                None
            }
            None => Some(node),
        }
    }

    fn count(&mut self, nodes: usize, mark: Mark) -> Result<(), JsonError> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(mark.error(format!("more than {MAX_NODES} nodes, aliases included")));
        }
        Ok(())
    }
}

impl Open {
    fn close(self) -> Node {
        let kind = if self.map {
            let mut children = self.children.into_iter();
            let mut entries = Vec::new();
            while let (Some(key), Some(value)) = (children.next(), children.next()) {
                entries.push((key, value));
            }
            Kind::Map(entries)
        } else {
            Kind::List(self.children)
        };
        Node { mark: self.mark, kind }
    }
}

/// How many nodes there are, and how deep they lie; both are bounded for every node that is kept.
fn measure(node: &Node) -> (usize, usize) {
    let inner = |nodes: &mut dyn Iterator<Item = &Node>| {
        nodes.map(measure).fold((1, 0), |(size, depth), (more, deeper)| (size + more, depth.max(deeper)))
    };
    match &node.kind {
        Kind::Scalar(_) => (1, 0),
        Kind::List(items) => {
            let (size, depth) = inner(&mut items.iter());
            (size, depth + 1)
        }
        Kind::Map(entries) => {
            let (size, depth) = inner(&mut entries.iter().flat_map(|(key, value)| [key, value]));
            (size, depth + 1)
        }
    }
}

/// `tag:yaml.org,2002:str` as `!!str`; others as they are.
fn full_tag(tag: &Tag) -> String {
    match tag.is_yaml_core_schema() {
        true => format!("!!{}", tag.suffix),
        false => {
            let full = format!("{}{}", tag.handle, tag.suffix);
            full.strip_prefix("tag:yaml.org,2002:").map_or(full.clone(), |suffix| format!("!!{suffix}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        read(text.as_bytes(), 1 << 18).err().unwrap().to_string()
    }

    /// The node without its places, as JSON-like text: plain scalars bare, others quoted.
    fn shown(node: &Node) -> String {
        match &node.kind {
            Kind::Scalar(scalar) if scalar.plain => scalar.text.clone(),
            Kind::Scalar(scalar) => format!("{:?}", scalar.text),
            Kind::List(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(",")),
            Kind::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| format!("{}:{}", shown(key), shown(value)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
            }
        }
    }

    fn tree(text: &str) -> String {
        read(text.as_bytes(), 1 << 18).unwrap().first.as_ref().map_or_else(|| "-".to_owned(), shown)
    }

    #[test]
    fn reads_block_flow_json_and_aliases() {
        assert_eq!(tree("a: [1, 'x']\nb:\n- c: |\n    t\n"), r#"{a:[1,"x"],b:[{c:"t\n"}]}"#);
        assert_eq!(tree("{\"a\":[1,null,{\"b\":\"\\u0041\"}]}"), r#"{"a":[1,null,{"b":"A"}]}"#);
        assert_eq!(tree("{\n\t\"a\": 1\n}"), r#"{"a":1}"#);
        assert_eq!(tree("a: &x [1]\nb: *x\n"), "{a:[1],b:[1]}");
        assert_eq!(tree(""), "-");
        assert_eq!(tree("# nothing\n"), "-");
        assert_eq!(tree("\u{feff}a: 1"), "{a:1}");
        let two = read(b"a: 1\n---\nb: 2\n", 100).unwrap();
        assert_eq!(two.second.map(|mark| mark.line), Some(2));
    }

    #[test]
    fn errors_name_line_and_column() {
        assert!(error("a: [1,\nb: }").starts_with("line 2 column "), "{}", error("a: [1,\nb: }"));
        assert_eq!(error("a: \u{1}"), "line 1 column 4: control characters are not allowed");
        assert_eq!(read(b"a: 1\n\xff", 100).err().unwrap().to_string(), "line 2 column 1: not UTF-8");
        assert!(error("a: *x").contains("line 1 column 4"), "{}", error("a: *x"));
        assert!(error("a: &x [*x]").contains("line 1 column 8"), "{}", error("a: &x [*x]"));
    }

    #[test]
    fn size_depth_and_aliases_are_bounded() {
        let deep = error(&"[".repeat(100_000));
        // The parser has a limit of its own for flow style.
        assert!(deep.contains("nested deeper") || deep.contains("recursion limit"), "{deep}");
        let deep = error(&"{a: ".repeat(60_000));
        // The parser has a limit of its own for flow style.
        assert!(deep.contains("nested deeper") || deep.contains("recursion limit"), "{deep}");
        assert!(error(&" ".repeat((1 << 18) + 1)).contains("are more than"));
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        (1..10).for_each(|at| {
            let inner = vec![format!("*a{}", at - 1); 10].join(",");
            bomb.push_str(&format!("a{at}: &a{at} [{inner}]\n"));
        });
        assert!(error(&bomb).contains("more than 20000 nodes"));
        assert!(error(&"- 1\n".repeat(20_001)).contains("more than 20000 nodes"));
        let mut deep = "a0: &a0 [x]\n".to_owned();
        (1..40).for_each(|at| deep.push_str(&format!("a{at}: &a{at} [*a{}]\n", at - 1)));
        assert!(error(&deep).contains("nested deeper"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[-a-c:{}\\[\\],&*!|>'\"#%@?\\n\\t 0-9.~<\\\\]{0,80}") {
            let _ = read(text.as_bytes(), 1 << 18);
        }

        #[test]
        fn never_panics_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&bytes, 1 << 18);
        }
    }
}
