//! Owns preparing an image for a scenario: pushed, its artifacts attached, pulled; and the questions that all ask.

use bestfit_tests::artifact;
use bestfit_tests::command::Output;
use bestfit_tests::ctr::OURS;
use bestfit_tests::image::{Image, Index};
use bestfit_tests::record;
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::World;
use serde_json::{Value, json};

/// An image that lies in a registry and on the node.
pub(crate) struct Prepared {
    pub(crate) repository: String,
    pub(crate) reference: String,
    pub(crate) index: Index,
}

/// Pushes an index, attaches a document to each entry that has one, and pulls the default entry.
pub(crate) fn prepare(world: &mut World, kind: Kind, entries: &[(Image, Option<Value>)]) -> Prepared {
    let prepared = push(world, kind, entries);
    world.node.ctr().pull(&prepared.reference);
    prepared
}

/// The same without the pull.
pub(crate) fn push(world: &mut World, kind: Kind, entries: &[(Image, Option<Value>)]) -> Prepared {
    push_as(world, kind, "1", entries)
}

/// The same under another tag of the scenario's repository.
pub(crate) fn push_as(world: &mut World, kind: Kind, tag: &str, entries: &[(Image, Option<Value>)]) -> Prepared {
    let repository = world.repository();
    let images: Vec<Image> = entries.iter().map(|(image, _)| image.clone()).collect();
    let index = Index::of(&images);
    let registry = world.registry(kind);
    let reference = registry.push(&repository, tag, &index);
    for (entry, (_, document)) in index.entries.iter().zip(entries) {
        if let Some(groups) = document {
            artifact::attach(registry, &repository, &entry.descriptor, &artifact::compatibilities(groups));
        }
    }
    Prepared { repository, reference, index }
}

/// The usual pair: a default without artifact, and a better entry with one that fits everywhere.
pub(crate) fn pair(better: Image) -> [(Image, Option<Value>); 2] {
    [(Image::new("plain"), None), (better, Some(artifact::fits()))]
}

/// Runs it once with our runtime, and gives what it printed.
#[track_caller]
pub(crate) fn run(world: &World, image: &Prepared, flags: &[&str], args: &[&str]) -> Output {
    world.node.ctr().run(OURS, flags, &image.reference, "one", args).ok()
}

/// The build that ran, as the probe says.
#[track_caller]
pub(crate) fn build(output: &Output) -> &str {
    let first = output.stdout.lines().next().and_then(|line| line.strip_prefix("build="));
    first.unwrap_or_else(|| panic!("no build in {output}"))
}

/// The last decision, which must have been applied that way, and run that entry.
#[track_caller]
pub(crate) fn last_record(world: &World, applied: &str, chosen: Option<&str>) -> Value {
    let last = world.node.last_record();
    assert_eq!(last["schema"], json!("io.bestfit.decision.v1"), "{last:#}");
    assert_eq!(record::applied(&last), applied, "{last:#}");
    if let Some(digest) = chosen {
        assert_eq!(last["chosen"], json!(digest), "{last:#}");
    }
    last
}
