//! Owns the decision record: what `bestfit explain --json` prints and the node's log keeps, one schema for both, and its
//! rendering as text for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::decision::{Answer, Decision, EntryReport, Outcome, Verdict};
use crate::digest::Digest;
use crate::json;
use crate::trust::Standing;

/// The name and version of the record's schema.
pub const SCHEMA: &str = "io.bestfit.decision.v1";

/// One decision and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: String,
    /// When it was decided, RFC 3339.
    pub time: String,
    /// The image as it was named.
    pub reference: String,
    /// containerd's or Kubernetes' namespace, where there is a container.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub namespace: Option<String>,
    /// The container, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub container: Option<String>,
    /// The mode of the configuration: `off`, `observe`, `select`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mode: Option<String>,
    /// What was done, where there is a container.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub applied: Option<Applied>,
    /// The digest of the entry that runs, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chosen: Option<Digest>,
    /// The decision; none where an error came before it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decision: Option<Decision>,
    /// The preferred entries that could not be applied.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub refused: Vec<Refused>,
    /// The rule that left the container as containerd made it, where no decision was asked for or needed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub untouched: Option<String>,
    /// Whether the decision was made for an earlier container, and still holds: its inputs are the same, and the lists that
    /// were read for it have not expired.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub remembered: bool,
    /// Whether the decision was kept for the pod: it was made for an earlier container of it, its inputs are the same, and the
    /// lists that were read for it have expired.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub sticky: bool,
    /// How many requests went out to registries.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requests: Option<u64>,
    /// What this node's kernel could not hold the process back from that read what comes from outside, and a cache that could not
    /// be used; empty where it has all that is asked of it, and where no such process ran.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub unenforced: Vec<String>,
    /// How long each stage took, in microseconds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub timings: BTreeMap<String, u64>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// What was done with a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Applied {
    /// Another entry runs.
    Swapped,
    /// The entry that containerd chose runs.
    Default,
    /// The container was refused.
    Denied,
    /// The decision was recorded only.
    Observed,
}

/// A preferred entry that could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The entry.
    pub digest: Digest,
    /// Why.
    pub reason: String,
}

impl Record {
    /// A record with nothing in it but when and about what; the caller fills in the rest.
    pub fn new(time: impl Into<String>, reference: impl Into<String>) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            time: time.into(),
            reference: reference.into(),
            namespace: None,
            container: None,
            mode: None,
            applied: None,
            chosen: None,
            decision: None,
            refused: Vec::new(),
            untouched: None,
            remembered: false,
            sticky: false,
            requests: None,
            unenforced: Vec::new(),
            timings: BTreeMap::new(),
            error: None,
        }
    }
}

/// A decision for people: the candidates as a table, then each one's reasons. Plain text; ends with a newline.
pub fn render_table(decision: &Decision) -> String {
    let mut text = table(decision);
    for entry in decision.entries.iter().filter(|entry| !entry.reasons.is_empty()) {
        let _ = write!(text, "\n{} {} {}\n", entry.position, entry.digest.short(), verdict(entry.verdict));
        for (digest, forms) in entry.artifacts.iter().filter_map(|digest| Some((digest, decision.forms.get(digest)?))) {
            let _ = writeln!(text, "  {:<7} {}: {}", "asked", digest.short(), json::plain(&forms.join(", "), 200));
        }
        for reason in &entry.reasons {
            let _ = writeln!(text, "  {:<7} {}", answer(reason.answer), json::plain(&reason.text, 1000));
        }
        for artifact in &entry.artifacts {
            text.push_str(&signed(decision, &format!("artifact {}", artifact.short()), artifact));
        }
    }
    text.push_str(&signed(decision, &format!("\nindex {}", decision.inputs.index.short()), &decision.inputs.index));
    let outcome = match decision.outcome {
        Outcome::Swap => "swap",
        Outcome::Default => "default",
        Outcome::Deny => "deny",
    };
    let _ = write!(text, "\n{outcome}: {}\n", json::plain(&decision.why, 1000));
    if let Some(why) = winner(decision) {
        let _ = writeln!(text, "  {why}");
    }
    if let Some(why) = &decision.otherwise {
        let _ = writeln!(text, "  without it the container is refused: {}", json::plain(why, 1000));
    }
    for (about, why) in &decision.inputs.stale {
        let (about, why) = (about.short(), json::plain(why, 300));
        let _ =
            writeln!(text, "outdated: an earlier list of what refers to {about} counts, as the registry failed: {why}");
    }
    for note in &decision.notes {
        let _ = writeln!(text, "note: {}", json::plain(note, 1000));
    }
    text
}

/// Who signed it, where that was looked for and somebody trusted did; notes tell of the others.
fn signed(decision: &Decision, what: &str, digest: &Digest) -> String {
    let signer = decision.inputs.standings.get(digest).and_then(Standing::signer);
    signer.map_or_else(String::new, |signer| {
        let (start, what) = what.strip_prefix('\n').map_or(("  ", what), |what| ("\n", what));
        format!("{start}signed  {what} by {:?}, rank {}\n", json::plain(&signer.name, 200), signer.rank)
    })
}

fn table(decision: &Decision) -> String {
    let header = ["", "#", "platform", "digest", "verdict"].map(str::to_owned);
    let rows: Vec<[String; 5]> = decision
        .entries
        .iter()
        .map(|entry| {
            let mark = mark(decision, entry).to_owned();
            let platform = json::plain(&entry.platform, 60);
            [mark, entry.position.to_string(), platform, entry.digest.short(), verdict(entry.verdict).to_owned()]
        })
        .collect();
    let width =
        |column: usize| rows.iter().chain([&header]).map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2), width(3), width(4)];
    let mut text = String::new();
    for row in [&header].into_iter().chain(&rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

/// `->` is what runs, `*` what containerd chose.
fn mark(decision: &Decision, entry: &EntryReport) -> &'static str {
    let runs = match decision.outcome {
        Outcome::Swap => decision.preferred.first().copied(),
        Outcome::Default => decision.default,
        Outcome::Deny => None,
    };
    match (runs == Some(entry.digest), decision.default == Some(entry.digest)) {
        (true, true) => "->*",
        (true, false) => "->",
        (false, true) => "  *",
        (false, false) => "",
    }
}

/// Where the winner beat the next Compatible entry.
fn winner(decision: &Decision) -> Option<String> {
    let mut ranked: Vec<_> = decision.entries.iter().filter_map(|entry| Some((entry.rank.as_ref()?, entry))).collect();
    ranked.sort_by(|a, b| b.0.cmp(a.0));
    let [(best_rank, best), (next_rank, next), ..] = ranked.as_slice() else { return None };
    let (name, more, less) = best_rank.difference(next_rank)?;
    let (best, next) = (best.position, next.position);
    Some(format!("entry {best} goes before entry {next} by {name}: {more} against {less}"))
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Compatible => "compatible",
        Verdict::Incompatible => "incompatible",
        Verdict::Undetermined => "undetermined",
        Verdict::Undeclared => "undeclared",
        Verdict::Skipped => "skipped",
    }
}

fn answer(answer: Answer) -> &'static str {
    match answer {
        Answer::True => "yes",
        Answer::False => "no",
        Answer::Unknown => "unknown",
        Answer::Note => "note",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::decide;
    use crate::facts::Fact;
    use crate::testing::{Attach, attach, bare_inputs, facts, image, index, set, wrap};

    /// A default that says nothing, a level, a product, another architecture, and a document with a slip of the pen.
    fn decision() -> Decision {
        let mut host = facts(&[
            ("io.archspec", "cpu.target", "x86_64_v4".into()),
            ("io.archspec", "cpu.candidates", set("x86_64 x86_64_v2 x86_64_v3 x86_64_v4")),
            ("host", "kernel.version", "5.14.0".into()),
        ]);
        host.set("nfd", "pci-*", Fact::absent("/sys/bus/pci/devices"));
        let names = ["plain", "v3", "v4", "gpu", "typo"];
        let mut images: Vec<(&str, &str)> = names.iter().map(|name| (*name, "linux/amd64")).collect();
        images.push(("arm", "linux/arm64"));
        let mut inputs = bare_inputs(index(&images), host);
        let mut say = |name: &str, document: &str| {
            attach(&mut inputs, name, &[Attach::to(image(name)).document(document)]);
        };
        say("v3", &wrap(r#""io.archspec":{"cpu.target":"x86_64_v3"},"host":{"kernel.version":">=5.10"}"#));
        say("v4", &wrap(r#""io.archspec":{"cpu.target":"x86_64_v4"},"org.blast":{"db":"nt"}"#));
        say("gpu", &wrap(r#""nfd":{"pci-0302_10de.present":true}"#));
        say("typo", "{\n  \"compatibilities\": {\n    \"nfd\": {\n      \"memory-numa\": true,\n    }\n  }\n}");
        attach(&mut inputs, "plain", &[]);
        decide(&inputs).unwrap()
    }

    #[test]
    fn a_decision_for_people() {
        insta::assert_snapshot!(render_table(&decision()), @r#"
             #  platform     digest               verdict
          *  0  linux/amd64  sha256:be329575236f  undeclared
             1  linux/amd64  sha256:9c6047f0bd38  compatible
        ->   2  linux/amd64  sha256:a0b24a5f4f29  compatible
             3  linux/amd64  sha256:4664bebb8c15  incompatible
             4  linux/amd64  sha256:2bbc3479bade  undetermined
             5  linux/arm64  sha256:b8c753899bbd  skipped

        0 sha256:be329575236f undeclared
          note    no artifact says anything about it

        1 sha256:9c6047f0bd38 compatible
          asked   sha256:718beccebf3b: Proposal F
          yes     host/kernel.version = >=5.10: this host has 5.14.0 (/test/kernel.version)
          yes     io.archspec/cpu.target = x86_64_v3: this host is x86_64_v4 (/test/cpu.target)

        2 sha256:a0b24a5f4f29 compatible
          asked   sha256:8e49b0b2e4d1: Proposal F
          yes     io.archspec/cpu.target = x86_64_v4: this host is x86_64_v4 (/test/cpu.target)
          note    group "org.blast" is not known here: ignored

        3 sha256:4664bebb8c15 incompatible
          asked   sha256:ff0ac6486621: Proposal F
          no      nfd/pci-0302_10de.present = true: absent on this host (/sys/bus/pci/devices)

        4 sha256:2bbc3479bade undetermined
          unknown artifact sha256:0d7c00681546: layer 0: line 5 column 5: trailing comma

        5 sha256:b8c753899bbd skipped
          note    cannot run on linux/amd64

        swap: sha256:a0b24a5f4f29 fits this host best
          entry 2 goes before entry 1 by cpu: 50:3 against 50:2
        note: group "org.blast" is not known here: ignored
        "#);
    }

    #[test]
    fn outdated_lists_are_told() {
        let mut inputs = bare_inputs(index(&[("plain", "linux/amd64")]), facts(&[]));
        attach(&mut inputs, "plain", &[]);
        let before = render_table(&decide(&inputs).unwrap());
        inputs.stale.insert(image("plain"), "referrers: HTTP 500".to_owned());
        let decision = decide(&inputs).unwrap();
        let text = render_table(&decision);
        insta::assert_snapshot!(text.strip_prefix(&before).unwrap(), @"outdated: an earlier list of what refers to sha256:be329575236f counts, as the registry failed: referrers: HTTP 500");
        let json = serde_json::to_value(&decision).unwrap();
        let key = image("plain").to_string();
        assert_eq!(json["inputs"]["stale"], serde_json::json!({ key: "referrers: HTTP 500" }));
    }

    #[test]
    fn the_record_survives_json() {
        let mut record = Record::new("2026-01-01T00:00:00Z", "localhost/demo:1");
        record.decision = Some(decision());
        record.applied = Some(Applied::Swapped);
        record.refused = vec![Refused { digest: image("v3"), reason: "another user".into() }];
        let json = serde_json::to_string(&record).unwrap();
        assert!(json.starts_with(r#"{"schema":"io.bestfit.decision.v1","time":"2026-01-01T00:00:00Z","#));
        assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
    }
}
