//! Checkpoints by criu: taken of a swapped container as of any, and a restore is left as it is.

use std::path::Path;

use bestfit_tests::ctr::{OURS, STOCK};
use bestfit_tests::image::Image;
use bestfit_tests::node::Settings;
use bestfit_tests::peers;
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World, skip};

use serde_json::json;

use crate::prepared::{build, last_record, pair, prepare};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "a checkpoint with --image-path, of a swapped container as of a stock one", run: taken },
    Scenario { name: "a restore from a checkpoint: untouched", run: restored },
];

const STOCK_SHIM: &str = "containerd-shim-runc-v2";

/// Runs the image, and dumps it into files; Err is criu's own reason.
fn dump(world: &World, runtime: &str, image: &str) -> Result<(), String> {
    let ctr = world.node.ctr();
    ctr.start(runtime, &[], image, "one", &["/probe", "hold"]).ok();
    let dir = world.node.dir.join("dump");
    let [files, work] = ["files", "work"].map(|name| dir.join(name));
    for path in [&files, &work] {
        std::fs::create_dir_all(path).expect("a directory");
    }
    let paths = [&files, &work].map(|path| path.display().to_string());
    let taken = ctr.call(&["tasks", "checkpoint", "--image-path", &paths[0], "--work-path", &paths[1], "one"]);
    let done = match taken.is_ok() && files.join("inventory.img").exists() {
        true => Ok(()),
        false => Err(format!("{}{taken}", reason(&work.join("dump.log")))),
    };
    ctr.remove("one");
    std::fs::remove_dir_all(dir).expect("a directory");
    done
}

/// What criu's log gives as the cause: the last error but the one that ends it.
fn reason(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let cause = text.lines().rev().find(|line| line.contains("Error (") && !line.contains("Dumping FAILED"));
    cause.map(|line| format!("{line}; ")).unwrap_or_default()
}

/// Leaves the scenario where the stock shim cannot take a checkpoint either.
fn need_criu(world: &World, image: &str) {
    if peers::program("criu").is_none() {
        skip("criu is missing: run `make setup`");
    }
    if let Err(why) = dump(world, STOCK, image) {
        skip(&format!("no checkpoint here with the stock shim either: {why}"));
    }
}

fn taken(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    need_criu(world, &image.reference);
    // Under the stock type's name, as `runtime_path` configures it: ctr of 1.6 and 1.7 keeps `--image-path` to itself where the
    // runtime has another.
    let delegate = world.node.line.program(STOCK_SHIM).and_then(|path| path.canonicalize().ok());
    let delegate = delegate.expect("checked in Node::start()");
    let ours = peers::our_bin().join("containerd-shim-bestfit-v1");
    world.node.replace_program(STOCK_SHIM, &format!("#!/bin/sh\nexec {} \"$@\"\n", ours.display()));
    world.node.configure(&Settings { delegate: Some(delegate.display().to_string()), ..Settings::default() });
    let done = dump(world, STOCK, &image.reference);
    last_record(world, "swapped", Some(image.index.entry(1)));
    done.unwrap_or_else(|why| panic!("{why}"));
    if peers::SECOND.contains(&world.node.line) {
        dump(world, OURS, &image.reference).unwrap_or_else(|why| panic!("{why}"));
    }
}

fn restored(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    need_criu(world, &image.reference);
    world.node.configure(&Settings { mode: "off", ..Settings::default() });
    let ctr = world.node.ctr();
    ctr.start(OURS, &[], &image.reference, "one", &["/probe", "hold"]).ok();
    ctr.call(&["containers", "checkpoint", "--task", "--rw", "one", "checkpoint"]).ok();
    ctr.remove("one");

    world.node.configure(&Settings::default());
    let ctr = world.node.ctr();
    ctr.call(&["containers", "restore", "--rw", "--live", "one", "checkpoint"]).ok();
    assert_eq!(ctr.status("one").as_deref(), Some("RUNNING"));
    let out = ctr.call(&["tasks", "exec", "--exec-id", "e", "one", "/probe", "report"]).ok();
    assert_eq!(build(&out), "plain");
    for record in world.node.records() {
        assert!(record["applied"] == json!("default") && record["untouched"].is_string(), "{record:#}");
    }
    ctr.remove("one");
    ctr.call(&["images", "rm", "--sync", "checkpoint"]).ok();
}
