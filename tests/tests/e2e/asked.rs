//! `bestfit` is asked, on the node and with its own default paths, about what the shim did there.

use std::time::Duration;

use bestfit_tests::artifact::{self, fits, fits_nowhere};
use bestfit_tests::command::eventually;
use bestfit_tests::ctr::OURS;
use bestfit_tests::image::{Image, Index};
use bestfit_tests::registry::{Kind, Registry};
use bestfit_tests::scenario::{Scenario, World, skip};
use serde_json::{Value, json};

use crate::prepared::{Prepared, build, last_record, pair, prepare, run};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "a record is replayed where its registry is gone", run: replayed },
    Scenario { name: "explain and check say what the shim does", run: explained },
    Scenario { name: "ps names what was chosen", run: listed },
];

/// The index comes from containerd, artifacts from the registry, facts and policy from this host: all of it has to be kept.
fn replayed(world: &mut World) {
    for kind in [Kind::Docker, Kind::Ferro] {
        let mut registry = Registry::start(kind).unwrap_or_else(|why| skip(&why));
        let index = Index::of(&[Image::new("plain"), Image::new("better"), Image::new("too much")]);
        let reference = registry.push("own/replayed", "1", &index);
        for (position, document) in [(1, fits()), (2, fits_nowhere())] {
            let subject = &index.entries[position].descriptor;
            artifact::attach(&registry, "own/replayed", subject, &artifact::compatibilities(&document));
        }
        let image = Prepared { repository: "own/replayed".to_owned(), reference, index };
        world.node.ctr().pull(&image.reference);
        world.node.configure(&bestfit_tests::node::Settings::default());
        assert_eq!(build(&run(world, &image, &[], &[])), "better");
        let record = last_record(world, "swapped", Some(image.index.entry(1)));
        registry.stop();
        let log = world.node.decisions().display().to_string();
        let out = world.node.bestfit(&["explain", "--record", &log]).ok();
        assert_eq!(
            out.stdout,
            format!("the same decision: {}\n", record["decision"]["why"].as_str().unwrap()),
            "{out}"
        );
        // From what was kept, and from nowhere else.
        std::fs::remove_dir_all(world.node.cache().join("registry/blobs")).unwrap();
        let out = world.node.bestfit(&["explain", "--record", &log]);
        assert_eq!((out.code, out.stdout.as_str()), (Some(69), ""), "{out}");
        assert!(out.stderr.starts_with("error: an artifact of the record, sha256:"), "{out}");
    }
}

fn explained(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    assert_eq!(build(&run(world, &image, &[], &[])), "better");
    let record = last_record(world, "swapped", Some(image.index.entry(1)));
    let out = world.node.bestfit(&["explain", &image.reference, "--json"]).ok();
    let said: Value = serde_json::from_str(&out.stdout).unwrap();
    for field in ["schema", "chosen"] {
        assert_eq!(said[field], record[field], "{field}: {out}");
    }
    for field in ["outcome", "why", "default", "preferred", "entries"] {
        assert_eq!(said["decision"][field], record["decision"][field], "{field}: {out}");
    }
    let out = world.node.bestfit(&["check", &image.reference]).ok();
    assert!(out.stdout.starts_with("fits: "), "{out}");
}

fn listed(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better").with("Cmd", json!(["hold"]))));
    let ctr = world.node.ctr();
    ctr.start(OURS, &[], &image.reference, "one", &[]).ok();
    eventually("the container runs", Duration::from_secs(5), || (ctr.status("one")? == "RUNNING").then_some(()));
    // As dockerd's: no snapshot of containerd's.
    ctr.call(&["containers", "create", "--rootfs", "/", "bare"]).ok();
    let out = world.node.bestfit(&["ps"]).ok();
    let line = out.stdout.lines().find(|line| line.contains(&image.reference)).unwrap_or_default();
    let chosen = &image.index.entry(1)["sha256:".len()..];
    assert!(line.contains("one") && line.contains(&chosen[..12]), "{out}");
    ctr.call(&["containers", "rm", "bare"]).ok();
    ctr.remove("one");
    let out = world.node.bestfit(&["ps"]).ok();
    assert!(!out.stdout.contains(&image.reference), "{out}");
}
