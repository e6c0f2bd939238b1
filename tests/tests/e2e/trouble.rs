//! Registries that are down or silent, artifacts that cannot be read: the default runs, and nobody waits twice.

use bestfit_tests::artifact::{self, fits};
use bestfit_tests::image::Image;
use bestfit_tests::node::Settings;
use bestfit_tests::registry::{Kind, Registry};
use bestfit_tests::scenario::{Scenario, World, skip};
use serde_json::{Value, json};

use crate::prepared::{Prepared, build, last_record, pair, prepare, push, run};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "a registry that is down: the default runs", run: down },
    Scenario { name: "a silent registry: the default runs, the next create does not wait", run: silent },
    Scenario { name: "a registry that went away after a warm swap: still swapped", run: gone_when_warm },
    Scenario { name: "malformed artifacts never win; line and column are in the record", run: malformed },
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
    world.node.configure(&Settings::default().select("decision_deadline", "500ms"));
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

/// An entry with that document runs or not; gives the record as text.
fn with_document(world: &mut World, document: &[u8]) -> (String, Value) {
    let image = push(world, Kind::Docker, &[(Image::new("plain"), None), (Image::new("better"), None)]);
    let subject = image.index.entries[1].descriptor.clone();
    artifact::attach(world.registry(Kind::Docker), &image.repository, &subject, document);
    world.node.ctr().pull(&image.reference);
    let out = run(world, &image, &[], &[]);
    let record = last_record(world, "default", Some(image.index.entry(0)));
    (build(&out).to_owned(), record)
}

fn malformed(world: &mut World) {
    let (ran, record) =
        with_document(world, b"{\"compatibilities\": {\n  \"host\": {\"kernel.version\": \">=3.10\",}\n}}");
    assert_eq!(ran, "plain");
    let entry = &record["decision"]["entries"][1];
    assert_eq!(entry["verdict"], json!("undetermined"), "{entry:#}");
    let text = entry["reasons"].to_string();
    assert!(text.contains("line 2") && text.contains("column"), "no line and column: {text}");
}

fn malformed_beside_good(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    let subject = image.index.entries[0].descriptor.clone();
    artifact::attach(world.registry(Kind::Docker), &image.repository, &subject, b"not JSON");
    assert_eq!(build(&run(world, &image, &[], &[])), "better");
}
