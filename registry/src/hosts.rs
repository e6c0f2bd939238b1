//! Parses containerd's `hosts.toml` (containerd, docs/hosts.md). Pure: paths stay as written, files are opened elsewhere.
//! Keys that containerd knows and we do not need are passed over, as it passes over those that it does not know.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Hosts that one file may name.
const HOSTS_LIMIT: usize = 32;

/// One server of the file; the file's own `server` comes last and has `is_origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostEntry {
    /// As written; `None` means the registry that the reference names.
    pub(crate) server: Option<String>,
    pub(crate) is_origin: bool,
    pub(crate) pull: bool,
    pub(crate) resolve: bool,
    pub(crate) referrers: bool,
    pub(crate) override_path: bool,
    pub(crate) skip_verify: bool,
    /// PEM files, relative to the file's folder.
    pub(crate) ca: Vec<String>,
    /// Certificate and, where it is a file of its own, key.
    pub(crate) client: Vec<(String, Option<String>)>,
    pub(crate) headers: Vec<(String, String)>,
    /// Line of the entry, counted from 1.
    pub(crate) line: usize,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostsError {
    pub(crate) line: Option<usize>,
    pub(crate) why: String,
}

type Value<'a> = Spanned<DeValue<'a>>;

/// The servers in the order in which they are to be asked.
pub(crate) fn parse(text: &str) -> Result<Vec<HostEntry>, HostsError> {
    let file = File { text };
    let root = DeTable::parse(text).map_err(|error| HostsError {
        line: error.span().map(|span| file.line(span.start)),
        why: error.message().to_owned(),
    })?;
    let root = root.get_ref();
    let mut tables: Vec<(usize, String, &DeTable<'_>)> = Vec::new();
    if let Some(hosts) = root.get("host") {
        for (name, value) in file.table(hosts, "host")?.iter() {
            tables.push((name.span().start, name.get_ref().to_string(), file.table(value, "host")?));
        }
    }
    if tables.len() > HOSTS_LIMIT {
        return Err(HostsError { line: None, why: format!("more than {HOSTS_LIMIT} hosts") });
    }
    // containerd asks in the file's order, a table of TOML has none.
    tables.sort_by_key(|(start, ..)| *start);
    let mut entries = Vec::new();
    for (start, name, table) in tables {
        entries.push(file.entry(Some(name), table, file.line(start), false)?);
    }
    let server = match root.get("server") {
        Some(value) => Some(file.string(value, "server")?.to_owned()).filter(|server| !server.is_empty()),
        None => None,
    };
    let line = root.get("server").map_or(1, |value| file.line(value.span().start));
    entries.push(file.entry(server, root, line, true)?);
    Ok(entries)
}

struct File<'t> {
    text: &'t str,
}

impl File<'_> {
    fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
    }

    fn wrong<T>(&self, value: &Value<'_>, why: String) -> Result<T, HostsError> {
        Err(HostsError { line: Some(self.line(value.span().start)), why })
    }

    fn entry(
        &self,
        server: Option<String>,
        table: &DeTable<'_>,
        line: usize,
        is_origin: bool,
    ) -> Result<HostEntry, HostsError> {
        let (pull, resolve, referrers) = self.capabilities(table.get("capabilities"))?;
        Ok(HostEntry {
            server,
            is_origin,
            pull,
            resolve,
            referrers,
            override_path: self.flag(table, "override_path")?,
            skip_verify: self.flag(table, "skip_verify")?,
            ca: table.get("ca").map_or(Ok(Vec::new()), |value| self.strings(value, "ca"))?,
            client: table.get("client").map_or(Ok(Vec::new()), |value| self.client(value))?,
            headers: table.get("header").map_or(Ok(Vec::new()), |value| self.headers(value))?,
            line,
        })
    }

    /// (pull, resolve, referrers); all of them without the key, or with an empty list.
    fn capabilities(&self, value: Option<&Value<'_>>) -> Result<(bool, bool, bool), HostsError> {
        let names = value.map_or(Ok(Vec::new()), |value| self.strings(value, "capabilities"))?;
        if names.is_empty() {
            return Ok((true, true, true));
        }
        let known = ["pull", "resolve", "push", "referrers"];
        if let (Some(value), Some(name)) = (value, names.iter().find(|name| !known.contains(&name.as_str()))) {
            return self.wrong(value, format!("unknown capability {name:?}"));
        }
        let has = |name: &str| names.iter().any(|given| given == name);
        // A list of referrers is found by asking, like a tag: whoever may resolve may answer it.
        Ok((has("pull"), has("resolve"), has("referrers") || has("resolve")))
    }

    fn flag(&self, table: &DeTable<'_>, key: &str) -> Result<bool, HostsError> {
        match table.get(key) {
            None => Ok(false),
            Some(value) => match value.get_ref().as_bool() {
                Some(flag) => Ok(flag),
                None => self.wrong(value, format!("{key} is true or false")),
            },
        }
    }

    fn string<'v>(&self, value: &'v Value<'_>, key: &str) -> Result<&'v str, HostsError> {
        match value.get_ref().as_str() {
            Some(text) => Ok(text),
            None => self.wrong(value, format!("{key} is a string")),
        }
    }

    /// One string, or a list of them.
    fn strings(&self, value: &Value<'_>, key: &str) -> Result<Vec<String>, HostsError> {
        match value.get_ref() {
            DeValue::Array(items) => items.iter().map(|item| Ok(self.string(item, key)?.to_owned())).collect(),
            _ => Ok(vec![self.string(value, key)?.to_owned()]),
        }
    }

    fn table<'v, 'i>(&self, value: &'v Value<'i>, key: &str) -> Result<&'v DeTable<'i>, HostsError> {
        match value.get_ref().as_table() {
            Some(table) => Ok(table),
            None => self.wrong(value, format!("{key} is a table, such as [{key}.\"https://mirror.example\"]")),
        }
    }

    /// `"both.pem"`, `["one.pem", ["cert.pem", "key.pem"]]`.
    fn client(&self, value: &Value<'_>) -> Result<Vec<(String, Option<String>)>, HostsError> {
        let DeValue::Array(items) = value.get_ref() else {
            return Ok(vec![(self.string(value, "client")?.to_owned(), None)]);
        };
        items
            .iter()
            .map(|item| match self.strings(item, "client")?.as_slice() {
                [both] => Ok((both.clone(), None)),
                [certificate, key] => Ok((certificate.clone(), Some(key.clone()).filter(|key| !key.is_empty()))),
                _ => self.wrong(item, "client is a file, or pairs of certificate and key".to_owned()),
            })
            .collect()
    }

    fn headers(&self, value: &Value<'_>) -> Result<Vec<(String, String)>, HostsError> {
        let mut headers = Vec::new();
        for (name, values) in self.table(value, "header")?.iter() {
            for text in self.strings(values, "header")? {
                headers.push((name.get_ref().to_string(), text));
            }
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_capabilities_and_files() {
        let text = r#"
server = "https://registry-1.docker.io"
ca = "origin.pem"

[host."https://z.example"]
  capabilities = ["pull", "resolve"]
  ca = ["a.pem", "b.pem"]
  client = [["c.pem", "k.pem"], "both.pem"]
  [host."https://z.example".header]
    x-one = "1"
    x-two = ["2", "3"]

[host."http://a.example/v2/mirror"]
  capabilities = ["pull"]
  override_path = true
  skip_verify = true
"#;
        let entries = parse(text).unwrap();
        let names: Vec<_> = entries.iter().map(|entry| entry.server.as_deref()).collect();
        assert_eq!(
            names,
            [Some("https://z.example"), Some("http://a.example/v2/mirror"), Some("https://registry-1.docker.io")]
        );
        assert_eq!(entries[0].ca, ["a.pem", "b.pem"]);
        assert_eq!(entries[0].client, [("c.pem".into(), Some("k.pem".into())), ("both.pem".into(), None)]);
        assert_eq!(entries[0].headers.len(), 3);
        assert!(entries[0].referrers && !entries[1].referrers && !entries[1].resolve);
        assert!(entries[1].override_path && entries[1].skip_verify);
        assert_eq!((entries[2].ca.as_slice(), entries[2].is_origin), (["origin.pem".to_owned()].as_slice(), true));
        assert_eq!(entries[1].line, 13);
    }

    #[test]
    fn an_empty_file_means_the_registry_itself() {
        let [only] = parse("").unwrap().try_into().unwrap();
        assert!(only.server.is_none() && only.is_origin && only.pull && only.resolve);
    }

    #[test]
    fn errors_name_the_line() {
        let table = [
            ("server = 1", 1, "server is a string"),
            ("\nserver = \"x\"\nskip_verify = \"yes\"", 3, "skip_verify is true or false"),
            ("\n[host.\"a\"]\ncapabilities = [\"pul\"]", 3, "unknown capability \"pul\""),
            ("host = 3", 1, "host is a table"),
            ("\n\nca = [1]", 3, "ca is a string"),
            ("client = [[\"a\",\"b\",\"c\"]]", 1, "pairs of certificate"),
            ("\nserver = \"", 2, ""),
        ];
        for (text, line, why) in table {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line, Some(line), "{text}: {error:?}");
            assert!(error.why.contains(why), "{text}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in r#"(server = |\[host\."|"\]|ca = |client = |\[|\]|"|=|\n|true|1|header|capabilities|[a-z]{1,3}|\PC){0,30}"#) {
            let _ = parse(&text);
        }
    }
}
