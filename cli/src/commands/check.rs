//! `bestfit check`: one line and an exit code.

use bestfit_selector::decision::{Decision, EntryReport, Outcome, Verdict};
use serde_json::json;

use crate::arguments::Check;
use crate::failure::{Exit, Failure};
use crate::output::{GREEN, Paint, RED, YELLOW, plain, print, print_json};
use crate::stages::image::{self, Image};
use crate::stages::{block_on, decision, host};

pub(crate) fn run(arguments: &Check) -> Result<Exit, Failure> {
    let reference = image::reference(&arguments.reference)?;
    let loaded = host::configuration(&arguments.host)?;
    let host = host::asked(&arguments.host, &loaded.config)?;
    let repository = image::client(&loaded)?.repository(&reference);
    let decision = block_on(format!("reading {reference}"), async {
        let index = match image::resolve(&repository, &reference).await? {
            Image::Index(index) => index,
            Image::Single(single) => single.as_index(&repository, &reference).await?,
        };
        decision::decide_on(&repository, &reference, index, host, &loaded.config).await
    })?
    .decision;
    let answer = answer(&decision);
    let runs = runs(&decision);
    if arguments.json {
        print_json(&json!({
            "image": reference.to_string(),
            "answer": answer.word(),
            "runs": runs.map(|entry| entry.digest),
            "platform": runs.map(|entry| &entry.platform),
            "why": decision.why,
        }))?;
    } else {
        print(&line(answer, runs, &decision.why))?;
    }
    Ok(answer.exit())
}

/// Whether the image fits the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Fits,
    DoesNotFit,
    Undetermined,
}

impl Answer {
    fn exit(self) -> Exit {
        match self {
            Self::Fits => Exit::Done,
            Self::DoesNotFit => Exit::No,
            Self::Undetermined => Exit::Undetermined,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::DoesNotFit => "does not fit",
            Self::Undetermined => "undetermined",
        }
    }

    fn colour(self) -> u8 {
        match self {
            Self::Fits => GREEN,
            Self::DoesNotFit => RED,
            Self::Undetermined => YELLOW,
        }
    }
}

/// The entry that would run.
fn runs(decision: &Decision) -> Option<&EntryReport> {
    let digest = match decision.outcome {
        Outcome::Swap => decision.preferred.first().copied(),
        Outcome::Default => decision.default,
        Outcome::Deny => None,
    }?;
    decision.entries.iter().find(|entry| entry.digest == digest)
}

/// An image fits where the entry that would run is Compatible: what says nothing about hosts leaves it open.
fn answer(decision: &Decision) -> Answer {
    let of = |verdict: Verdict| match verdict {
        Verdict::Compatible => Answer::Fits,
        Verdict::Incompatible | Verdict::Skipped => Answer::DoesNotFit,
        Verdict::Undetermined | Verdict::Undeclared => Answer::Undetermined,
    };
    match runs(decision) {
        Some(entry) => of(entry.verdict),
        None if decision.outcome == Outcome::Deny => Answer::DoesNotFit,
        // Nothing that containerd would run: open only where some entry may still turn out to.
        None if decision.entries.iter().any(|entry| of(entry.verdict) == Answer::Undetermined) => Answer::Undetermined,
        None => Answer::DoesNotFit,
    }
}

fn line(answer: Answer, runs: Option<&EntryReport>, why: &str) -> String {
    let word = Paint::stdout().with(answer.colour(), answer.word());
    let entry = runs.map(|entry| format!("{} ({}): ", entry.digest.short(), entry.platform)).unwrap_or_default();
    format!("{word}: {}\n", plain(&format!("{entry}{why}")))
}
