//! `bestfit policy test`: what another configuration would decide, beside what the one in force decides.

use std::fmt::Write as _;

use bestfit_config::Loaded;
use bestfit_selector::decision::{Decision, Outcome};
use bestfit_selector::digest::Digest;
use serde::Serialize;

use crate::arguments::{Policy, PolicyTest};
use crate::failure::{Exit, Failure};
use crate::output::{plain, print, print_json};
use crate::stages::image::{self, Image};
use crate::stages::{block_on, configuration, decision, host};

/// Both decisions about one image.
#[derive(Serialize)]
struct Compared {
    image: String,
    same: bool,
    /// Under the configuration in force.
    now: Decided,
    /// Under the other one.
    then: Decided,
}

#[derive(Serialize, PartialEq)]
struct Decided {
    outcome: Outcome,
    /// The entry that would run.
    runs: Option<Digest>,
    why: String,
    notes: Vec<String>,
    /// The digest of the policy, as records name it.
    policy: Digest,
}

pub(crate) fn run(command: &Policy) -> Result<Exit, Failure> {
    let Policy::Test(arguments) = command;
    let location = configuration::named(&arguments.file, arguments.host.profile.as_deref())?;
    let mut then = configuration::read(&location)?;
    then.config.selection.policy.check.extend(arguments.host.check.iter().cloned());
    let now = host::configuration(&arguments.host)?;
    let (mut compared, mut failed) = (Vec::new(), None);
    for text in &arguments.references {
        match compare(arguments, text, &now, &then) {
            Ok(image) => compared.push(image),
            Err(failure) => failed = Some(failure.after(failed)),
        }
    }
    match (arguments.json, compared.is_empty()) {
        (_, true) => {}
        (true, _) => print_json(&compared)?,
        (false, _) => print(&compared.iter().map(text).collect::<String>())?,
    }
    match failed {
        Some(failure) => Err(failure),
        None => Ok(if compared.iter().all(|image| image.same) { Exit::Done } else { Exit::No }),
    }
}

fn compare(arguments: &PolicyTest, text: &str, now: &Loaded, then: &Loaded) -> Result<Compared, Failure> {
    let decide = |loaded: &Loaded| -> Result<Decided, Failure> {
        let reference = image::reference(text)?;
        let host = host::asked(&arguments.host, &loaded.config)?;
        let repository = image::client(loaded)?.repository(&reference);
        let decided = block_on(format!("reading {reference}"), async {
            let index = match image::resolve(&repository, &reference).await? {
                Image::Index(index) => index,
                Image::Single(single) => single.as_index(&repository, &reference).await?,
            };
            decision::decide_on(&repository, &reference, index, host, &loaded.config).await
        })?;
        Ok(Decided::of(decided.decision))
    };
    let (now, then) = (decide(now)?, decide(then)?);
    let same = (now.outcome, now.runs) == (then.outcome, then.runs);
    Ok(Compared { image: text.to_owned(), same, now, then })
}

impl Decided {
    fn of(decision: Decision) -> Self {
        let runs = match decision.outcome {
            Outcome::Swap => decision.preferred.first().copied(),
            Outcome::Default => decision.default,
            Outcome::Deny => None,
        };
        let Decision { outcome, why, notes, inputs, .. } = decision;
        Self { outcome, runs, why, notes, policy: inputs.policy }
    }
}

fn text(compared: &Compared) -> String {
    let mut text = format!("{}: {}\n", plain(&compared.image), if compared.same { "the same" } else { "changes" });
    for (when, decided) in [("now", &compared.now), ("then", &compared.then)] {
        let runs = decided.runs.map_or_else(|| "nothing runs".to_owned(), |digest| format!("{} runs", digest.short()));
        let _ = writeln!(text, "  {when:<5}{runs}: {}", plain(&decided.why));
        for note in &decided.notes {
            let _ = writeln!(text, "       note: {}", plain(note));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_decisions_stand_beside_each_other() {
        let decided = |outcome, runs, why: &str, notes: &[&str]| Decided {
            outcome,
            runs,
            why: why.to_owned(),
            notes: notes.iter().map(|&note| note.to_owned()).collect(),
            policy: Digest::of(b"policy"),
        };
        let compared = Compared {
            image: "localhost/a:1".to_owned(),
            same: false,
            now: decided(Outcome::Swap, Some(Digest::of(b"a")), "it fits", &[]),
            then: decided(Outcome::Deny, None, "nobody signed it", &["ignored"]),
        };
        assert_eq!(
            text(&compared),
            "localhost/a:1: changes\n  now  sha256:ca978112ca1b runs: it fits\n  then nothing runs: nobody signed it\n       \
             note: ignored\n"
        );
    }
}
