//! A registry that hides, lies or fails: what cannot be seen is never "none", and a hidden requirement makes nobody win.

use std::time::Duration;

use bestfit_tests::artifact::{self, fits_nowhere};
use bestfit_tests::command::eventually;
use bestfit_tests::hostile::{Answer, Hostile};
use bestfit_tests::image::{Image, Index, media};
use bestfit_tests::registry::{Kind, Registry};
use bestfit_tests::scenario::{Scenario, World};
use bestfit_tests::signing::Way;
use serde_json::{Value, json};

use super::{Pair, denied, enforce, followed, ignored, require, sign, signed, vendor};
use crate::prepared::{Prepared, build, last_record, run};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "trust: hidden signed artifacts: the default runs, require denies", run: hidden },
    Scenario { name: "trust: a hidden requirement does not make its entry win", run: hidden_requirement },
    Scenario { name: "trust: hidden signatures: as unsigned", run: hidden_signatures },
    Scenario { name: "trust: errors about artifacts are not absence", run: errors_about_artifacts },
    Scenario { name: "trust: errors about signatures are not absence", run: errors_about_signatures },
    Scenario { name: "trust: an error is not kept as absence", run: errors_are_not_kept },
    Scenario { name: "trust: an outdated list counts while the registry fails, and everybody is told", run: outdated },
    Scenario { name: "trust: a poisoned fallback tag is a hint only", run: poisoned_tag },
];

/// The pair as a hostile registry shows it, honest while it is pulled.
pub(super) fn behind(world: &mut World, kind: Kind, pair: &Pair) -> (Hostile, Pair) {
    let hostile = Hostile::before(world.registry(kind));
    let reference = format!("{}/{}:1", hostile.host, pair.image.repository);
    world.node.ctr().pull(&reference);
    let (repository, index) = (pair.image.repository.clone(), pair.image.index.clone());
    (hostile, Pair { image: Prepared { repository, reference, index }, artifact: pair.artifact.clone() })
}

/// From now on nothing refers to the digest, as the registry tells it.
fn hide(hostile: &Hostile, digest: &str) {
    let digest = digest.to_owned();
    hostile.answer(move |request| match request.is_list(&digest) {
        true => request.list_with(Vec::clear),
        false => Answer::Honest,
    });
}

fn hidden(world: &mut World) {
    let pair = signed(world, Kind::Ferro);
    let (hostile, pair) = behind(world, Kind::Ferro, &pair);
    world.node.configure(&require());
    followed(world, &pair);
    hide(&hostile, pair.better());
    world.node.configure(&enforce());
    ignored(world, &pair);
    world.node.configure(&require());
    denied(world, &pair);
}

/// The default does not fit, by a signed artifact; neither does the other entry, but that artifact is hidden.
fn hidden_requirement(world: &mut World) {
    let index = Index::of(&[Image::new("plain"), Image::new("other")]);
    let repository = world.repository();
    let registry = world.registry(Kind::Ferro);
    registry.push(&repository, "1", &index);
    let document = artifact::compatibilities(&fits_nowhere());
    let artifacts = [0, 1].map(|at| artifact::attach(registry, &repository, &index.entries[at].descriptor, &document));
    let reference = registry.reference(&repository, "1");
    let pair = Pair { image: Prepared { repository, reference, index }, artifact: artifacts[1].clone() };
    for artifact in &artifacts {
        sign(world, Kind::Ferro, &pair, artifact, Way::Bundle(&vendor()));
    }
    let (hostile, pair) = behind(world, Kind::Ferro, &pair);
    hide(&hostile, pair.better());
    world.node.configure(&enforce());
    ignored(world, &pair);
    // What it would have won without a policy: an entry about which nothing is said, beside a default that does not fit.
    world.node.configure(&bestfit_tests::node::Settings::default());
    assert_eq!(build(&run(world, &pair.image, &[], &[])), "other");
}

fn hidden_signatures(world: &mut World) {
    let pair = signed(world, Kind::Ferro);
    let (hostile, pair) = behind(world, Kind::Ferro, &pair);
    hide(&hostile, &pair.artifact);
    world.node.configure(&enforce());
    ignored(world, &pair);
    world.node.configure(&require());
    denied(world, &pair);
}

/// What a registry may say instead of an answer.
fn failures() -> Vec<Answer> {
    [401, 403, 429, 500, 503].map(Answer::status).into_iter().chain([Answer::Silence]).collect()
}

/// Lets every list of referrers of a digest fail in each way: nothing may be taken as "there is none".
fn each_failure(world: &mut World, pair: &Pair, hostile: &Hostile, digest: &str) {
    for failure in failures() {
        let (subject, answer) = (digest.to_owned(), failure.clone());
        hostile.answer(move |request| if request.is_list(&subject) { answer.clone() } else { Answer::Honest });
        world.node.configure(&enforce().select("decision_deadline", "700ms"));
        let record = ignored(world, pair);
        assert!(is_unknown(&record, digest), "{failure:?} was taken as an answer: {record:#}");
        world.node.configure(&require().select("decision_deadline", "700ms"));
        denied(world, pair);
    }
}

/// Whether the record says that something about the digest could not be read.
fn is_unknown(record: &Value, digest: &str) -> bool {
    let inputs = &record["decision"]["inputs"];
    let whole = [&inputs["evidence"][digest]["unread"], &inputs["standings"][digest]["unknown"]];
    whole.iter().any(|said| !said.is_null()) || !record["error"].is_null() || unread_somewhere(record)
}

/// The deadline passed before the whole answer was there: the subject that waits for it is unread.
fn unread_somewhere(record: &Value) -> bool {
    let evidence = record["decision"]["inputs"]["evidence"].as_object();
    evidence.is_some_and(|all| all.values().any(|one| !one["unread"].is_null()))
}

fn errors_about_artifacts(world: &mut World) {
    let pair = signed(world, Kind::Ferro);
    let (hostile, pair) = behind(world, Kind::Ferro, &pair);
    let entry = pair.better().to_owned();
    each_failure(world, &pair, &hostile, &entry);
}

fn errors_about_signatures(world: &mut World) {
    let pair = signed(world, Kind::Ferro);
    let (hostile, pair) = behind(world, Kind::Ferro, &pair);
    let artifact = pair.artifact.clone();
    each_failure(world, &pair, &hostile, &artifact);
}

/// The same cache throughout: a refusal is over when the registry answers again.
fn errors_are_not_kept(world: &mut World) {
    let pair = signed(world, Kind::Ferro);
    let (hostile, pair) = behind(world, Kind::Ferro, &pair);
    let entry = pair.better().to_owned();
    world.node.configure(&enforce());
    hostile.answer(move |request| if request.is_list(&entry) { Answer::status(403) } else { Answer::Honest });
    ignored(world, &pair);
    hostile.be_honest();
    eventually("the artifact is seen again", Duration::from_secs(20), || {
        (build(&run(world, &pair.image, &[], &[])) == "better").then_some(())
    });
    last_record(world, "swapped", Some(pair.better()));
}

/// The lists were read once, and cannot be read again: what they named counts, and record and commands say so.
fn outdated(world: &mut World) {
    let pair = signed(world, Kind::Ferro);
    let (hostile, pair) = behind(world, Kind::Ferro, &pair);
    world.node.configure(&enforce().select("referrers_lifetime", "0s"));
    let record = followed(world, &pair);
    assert!(record["decision"]["inputs"]["stale"].is_null(), "{record:#}");
    let say = |command: &[&str]| world.node.bestfit(&[command, &[&pair.image.reference]].concat()).ok().stdout;
    let commands = [["explain"].as_slice(), &["verify"]];
    for text in commands.map(say) {
        assert!(!text.contains("outdated"), "{text}");
    }
    let subjects = [pair.better().to_owned(), pair.artifact.clone()];
    let lists = subjects.clone();
    hostile.answer(move |request| match lists.iter().any(|subject| request.is_list(subject)) {
        true => Answer::status(403),
        false => Answer::Honest,
    });
    let record = followed(world, &pair);
    for subject in &subjects {
        let why = record["decision"]["inputs"]["stale"][subject].to_string();
        assert!(why.contains("403"), "nobody is told of the list about {subject}: {record:#}");
    }
    for (text, subject) in commands.map(say).into_iter().zip(&subjects) {
        let line = text.lines().find(|line| line.contains("outdated") && line.contains(&subject[..19]));
        assert!(line.is_some_and(|line| line.contains("403")), "nobody is told of {subject}: {text}");
    }
}

/// Anybody who can push can write the tag that stands in for the list: a foreign artifact in it is unsigned, a wrong type and
/// wrong annotations change nothing, and what it leaves out is hidden.
fn poisoned_tag(world: &mut World) {
    let pair = signed(world, Kind::Docker);
    let registry = world.registry(Kind::Docker);
    let repository = &pair.image.repository;
    // It would keep the better entry from running.
    let document = artifact::compatibilities(&fits_nowhere());
    let foreign = artifact::attach(registry, repository, &pair.image.index.entries[1].descriptor, &document);
    for subject in [pair.better(), &pair.artifact] {
        change_fallback(registry, repository, subject, |list| {
            for entry in list.iter_mut() {
                entry["artifactType"] = json!("application/vnd.oci.empty.v1+json");
                entry["annotations"] = json!({"org.opencontainers.image.created": "2098-01-01T00:00:00Z"});
            }
        });
    }
    world.node.configure(&enforce());
    let record = followed(world, &pair);
    assert!(
        record["decision"].to_string().contains(&foreign[7..19]),
        "the foreign artifact is not reported: {record:#}"
    );
    change_fallback(world.registry(Kind::Docker), repository, pair.better(), Vec::clear);
    world.node.configure(&enforce());
    ignored(world, &pair);
}

fn change_fallback(registry: &Registry, repository: &str, subject: &str, change: impl FnOnce(&mut Vec<Value>)) {
    let tag = subject.replace(':', "-");
    let list = registry.get_manifest(repository, &tag).expect("the fallback list");
    let mut list: Value = serde_json::from_slice(&list).expect("JSON");
    change(list["manifests"].as_array_mut().expect("a list"));
    registry.put_manifest(repository, &tag, media::INDEX, &serde_json::to_vec(&list).expect("JSON"));
}
