//! Registries that are down or silent, artifacts that cannot be read: the default runs, and nobody waits twice.

use bestfit_tests::artifact::{self, fits};
use bestfit_tests::ctr::{OURS, TOLD};
use bestfit_tests::image::{Descriptor, Image, Index, digest};
use bestfit_tests::node::Settings;
use bestfit_tests::registry::{Kind, Registry};
use bestfit_tests::scenario::{Scenario, World, skip};
use serde_json::json;

use crate::prepared::{Prepared, build, last_record, pair, prepare, push_as, run};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "a registry that is down: the default runs", run: down },
    Scenario { name: "a silent registry: the default runs, the next create does not wait", run: silent },
    Scenario { name: "a registry that went away after a warm swap: still swapped", run: gone_when_warm },
    Scenario { name: "malformed artifacts never win; line and column are in the record", run: malformed },
    Scenario { name: "an artifact that is a gigabyte never wins", run: gigabyte },
    Scenario { name: "an artifact about another entry never wins", run: about_another },
    Scenario { name: "an index of 1,000 entries: untouched", run: many_entries },
    Scenario { name: "an image whose name is no reference: untouched", run: no_reference },
    Scenario { name: "no containerd for the worker, no place to write: untouched", run: without_rights },
    Scenario { name: "a malformed artifact of one entry does not stop another", run: malformed_beside_good },
];

/// An image in a registry of the scenario's own, which may be stopped.
fn own_registry(world: &World, builds: &[&str]) -> (Registry, Vec<Prepared>) {
    let registry = Registry::start(Kind::Docker).unwrap_or_else(|why| skip(&why));
    let images = builds.iter().map(|name| {
        let repository = format!("own/{name}");
        let index = bestfit_tests::image::Index::of(&[Image::new("plain"), Image::new(name)]);
        let reference = registry.push(&repository, "1", &index);
        let document = artifact::compatibilities(&fits());
        artifact::attach(&registry, &repository, &index.entries[1].descriptor, &document);
        world.node.ctr().pull(&reference);
        Prepared { repository, reference, index }
    });
    let images = images.collect();
    (registry, images)
}

fn down(world: &mut World) {
    let (mut registry, images) = own_registry(world, &["better"]);
    registry.stop();
    assert_eq!(build(&run(world, &images[0], &[], &[])), "plain");
    last_record(world, "default", Some(images[0].index.entry(0)));
}

fn silent(world: &mut World) {
    let (mut registry, images) = own_registry(world, &["first", "second"]);
    let silence = registry.fall_silent();
    // Long enough that the host is silent for half of it, however long the decider takes to start.
    world.node.configure(&Settings::default().select("decision_deadline", "2500ms"));
    assert_eq!(build(&run(world, &images[0], &[], &[])), "plain");
    last_record(world, "default", Some(images[0].index.entry(0)));
    let asked = silence.connections();
    assert!(asked > 0, "the registry was never asked");
    // Neither the same image nor another one of the same host is asked for again within the back-off period.
    for image in &images {
        assert_eq!(build(&run(world, image, &[], &[])), "plain");
    }
    assert_eq!(silence.connections(), asked, "a dead registry was asked again");
}

fn gone_when_warm(world: &mut World) {
    let (mut registry, images) = own_registry(world, &["better"]);
    assert_eq!(build(&run(world, &images[0], &[], &[])), "better");
    registry.stop();
    assert_eq!(build(&run(world, &images[0], &[], &[])), "better");
}

/// What runs where the better entry has one bad artifact, and the reasons in the record; `build` tells the case.
#[track_caller]
fn with_bad(world: &mut World, build: &str, attach: impl FnOnce(&Registry, &Prepared)) -> String {
    let image = push_as(
        world,
        Kind::Docker,
        &build.replace(' ', "-"),
        &[(Image::new(&format!("plain {build}")), None), (Image::new(&format!("better {build}")), None)],
    );
    attach(world.registry(Kind::Docker), &image);
    world.node.ctr().pull(&image.reference);
    let out = run(world, &image, &[], &[]);
    assert_eq!(crate::prepared::build(&out), format!("plain {build}"));
    let record = last_record(world, "default", Some(image.index.entry(0)));
    let entry = &record["decision"]["entries"][1];
    assert_eq!(entry["verdict"], json!("undetermined"), "{build}: {entry:#}");
    entry["reasons"].to_string()
}

fn better_of(image: &Prepared) -> &Descriptor {
    &image.index.entries[1].descriptor
}

fn malformed(world: &mut World) {
    let deep = format!("{{\"compatibilities\": {}", "[".repeat(200_000));
    let comma = "{\"compatibilities\": {\n  \"host\": {\"kernel.version\": \">=3.10\",}\n}}";
    for (build, document, said) in [
        ("comma", comma, "line 2 column"),
        ("no json", "nonsense", "line 1 column"),
        ("shape", "{\"compatibilities\": [1]}", "line 1 column"),
        ("deep", &deep, "line 1 column"),
    ] {
        let why = with_bad(world, build, |registry, image| {
            artifact::attach(registry, &image.repository, better_of(image), document.as_bytes());
        });
        assert!(why.contains(said), "{build}: {why}");
    }
}

fn gigabyte(world: &mut World) {
    let why = with_bad(world, "gigabyte", |registry, image| {
        // Not the document of other scenarios: they share the registry.
        let document = [artifact::compatibilities(&fits()), b"\n".to_vec()].concat();
        artifact::attach(registry, &image.repository, better_of(image), &document);
        registry.grow(&digest(&document), 1 << 30);
    });
    assert!(why.contains("is larger than"), "{why}");
}

fn about_another(world: &mut World) {
    let why = with_bad(world, "subject", |registry, image| {
        let (repository, document) = (&image.repository, artifact::compatibilities(&fits()));
        let about_default = artifact::attach(registry, repository, &image.index.entries[0].descriptor, &document);
        artifact::list_under(registry, repository, better_of(image), &about_default);
    });
    assert!(why.contains("but was listed for"), "{why}");
}

/// More entries than are looked at: nothing is decided about such an index. It is containerd 2.1 that takes long with more.
fn many_entries(world: &mut World) {
    let repository = world.repository();
    let index = Index::of(&[Image::new("plain"), Image::new("better")]).padded(1_000);
    let registry = world.registry(Kind::Docker);
    let reference = registry.push(&repository, "1", &index);
    artifact::attach(registry, &repository, &index.entries[1].descriptor, &artifact::compatibilities(&fits()));
    world.node.ctr().pull(&reference);
    let out = run(world, &Prepared { repository, reference, index }, &[], &[]);
    assert_eq!(build(&out), "plain");
    let record = last_record(world, "default", None);
    assert!(record.to_string().contains("1002 entries, more than the 64"), "{record:#}");
}

/// containerd takes any name.
fn no_reference(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    let name = "No reference: at all";
    let ctr = world.node.ctr();
    let plain = ctr.call(&["images", "tag", &image.reference, name]);
    if !plain.is_ok() {
        ctr.call(&["images", "tag", "--skip-reference-check", &image.reference, name]).ok();
    }
    let out = ctr.run(OURS, &[], name, "one", &[]).ok();
    assert_eq!(build(&out), "plain");
    let record = last_record(world, "default", None);
    assert_eq!(record["reference"], json!(name), "{record:#}");
    assert!(record["error"].as_str().is_some_and(|why| why.contains("is no image reference")), "{record:#}");
    ctr.call(&["images", "rm", "--sync", name]).ok();
}

/// The worker is told of a containerd that is not there; then it may not write down what it is about to do.
fn without_rights(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    let missing = world.node.dir.join("missing.sock");
    world.node.tell_shim_of(&missing);
    let out = world.node.ctr().run(TOLD, &[], &image.reference, "one", &[]).ok();
    assert_eq!(build(&out), "plain");
    let record = last_record(world, "default", None);
    assert!(record.to_string().contains("missing.sock"), "{record:#}");

    let text = std::fs::read_to_string(world.node.bestfit_config()).expect("bestfit's configuration");
    let state = text.lines().find(|line| line.starts_with("state = ")).expect("the state's folder");
    world.node.write_bestfit(&text.replace(state, "state = \"/dev/null/state\""));
    assert_eq!(build(&run(world, &image, &[], &[])), "plain");
    let record = last_record(world, "default", None);
    assert!(record.to_string().contains("/dev/null/state"), "{record:#}");
}

fn malformed_beside_good(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    let subject = image.index.entries[0].descriptor.clone();
    artifact::attach(world.registry(Kind::Docker), &image.repository, &subject, b"not JSON");
    assert_eq!(build(&run(world, &image, &[], &[])), "better");
}
