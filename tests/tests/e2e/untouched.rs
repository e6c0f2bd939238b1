//! Where there is any doubt, the container is left as containerd made it.

use std::time::Duration;

use bestfit_tests::artifact::fits;
use bestfit_tests::command::eventually;
use bestfit_tests::ctr::OURS;
use bestfit_tests::image::Image;
use bestfit_tests::node::Settings;
use bestfit_tests::record;
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World};
use serde_json::json;

use crate::between::with_mount_points;
use crate::prepared::{build, last_record, pair, prepare, push, push_as, run};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "mode off: untouched, nothing recorded", run: off },
    Scenario { name: "mode off for the namespace: untouched", run: off_for_namespace },
    Scenario { name: "mode observe: recorded, untouched", run: observe },
    Scenario { name: "mode observe: the plan's refusals are recorded", run: observe_plans },
    Scenario { name: "the digest of a platform manifest: untouched", run: platform_manifest },
    Scenario { name: "a platform that the user named: untouched", run: named_platform },
    Scenario { name: "the native snapshotter: untouched", run: native },
    Scenario { name: "a tag that moved after the container was made: untouched", run: moved_tag },
    Scenario { name: "two tags that share their default entry keep to their own index", run: two_tags },
    Scenario { name: "an image that was removed before the start: untouched", run: removed_image },
    Scenario { name: "an index that is gone between create and start: untouched", run: index_gone },
    Scenario { name: "a second start keeps the choice and what was written", run: second_start },
    Scenario { name: "a container that ran before is never re-based", run: never_rebased },
    Scenario { name: "a container that ran before and wrote nothing is never re-based", run: never_rebased_unwritten },
    Scenario { name: "a broken configuration: untouched", run: broken_configuration },
];

fn off(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    world.node.configure(&Settings { mode: "off", ..Settings::default() });
    assert_eq!(build(&run(world, &image, &[], &[])), "plain");
    assert!(world.node.records().iter().all(|record| record["decision"].is_null()), "decided although off");
    // Read anew for each create.
    world.node.configure(&Settings::default());
    assert_eq!(build(&run(world, &image, &[], &[])), "better");
}

fn off_for_namespace(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    let namespaces = vec![(world.node.namespace.clone(), "off")];
    world.node.configure(&Settings { namespaces, ..Settings::default() });
    assert_eq!(build(&run(world, &image, &[], &[])), "plain");
}

fn observe(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    world.node.configure(&Settings { mode: "observe", ..Settings::default() });
    assert_eq!(build(&run(world, &image, &[], &[])), "plain");
    let record = last_record(world, "observed", None);
    assert_eq!(record["decision"]["preferred"][0], json!(image.index.entry(1)), "{record:#}");
}

/// What select would have refused is not said to have run, where the entry's config lies on the node.
fn observe_plans(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better").with("StopSignal", json!("SIGINT"))));
    assert_eq!(build(&run(world, &image, &[], &[])), "plain");
    world.node.reconfigure(&Settings { mode: "observe", ..Settings::default() });
    assert_eq!(build(&run(world, &image, &[], &[])), "plain");
    let record = last_record(world, "observed", Some(image.index.entry(0)));
    assert_eq!(record["refused"][0]["digest"], json!(image.index.entry(1)), "{record:#}");
}

fn platform_manifest(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    let registry = world.registry(Kind::Docker).host.clone();
    let by_digest = format!("{registry}/{}@{}", image.repository, image.index.entry(0));
    let ctr = world.node.ctr();
    ctr.pull(&by_digest);
    assert_eq!(build(&ctr.run(OURS, &[], &by_digest, "one", &[]).ok()), "plain");
}

fn named_platform(world: &mut World) {
    let entries =
        [(Image::new("plain"), None), (Image::new("named").variant("v3"), None), (Image::new("better"), Some(fits()))];
    let image = push(world, Kind::Docker, &entries);
    let platform = ["--platform", "linux/amd64/v3"];
    world.node.ctr().pull_with(&platform, &image.reference);
    assert_eq!(build(&run(world, &image, &platform, &[])), "named");
    let record = last_record(world, "default", None);
    let why = record["untouched"].as_str().unwrap_or_default();
    assert!(why.contains("another platform was asked for"), "{record:#}");
}

fn native(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    world.node.ctr().pull_with(&["--snapshotter", "native"], &image.reference);
    assert_eq!(build(&run(world, &image, &["--snapshotter", "native"], &[])), "plain");
    last_record(world, "default", None);
}

fn moved_tag(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    let ctr = world.node.ctr();
    ctr.call(&["containers", "create", "--runtime", OURS, &image.reference, "one"]).ok();
    let moved = [(Image::new("moved"), None), (Image::new("better still"), Some(fits()))];
    let moved = push_as(world, Kind::Docker, "1", &moved);
    let ctr = world.node.ctr();
    ctr.pull(&moved.reference);
    let out = ctr.call(&["tasks", "start", "one"]).ok();
    assert_eq!(build(&out), "plain");
    ctr.remove("one");
}

fn two_tags(world: &mut World) {
    let first = push_as(world, Kind::Docker, "first", &pair(Image::new("better")));
    let second = push_as(world, Kind::Docker, "second", &pair(Image::new("other")));
    assert_eq!(first.index.entry(0), second.index.entry(0));
    for image in [&first, &second] {
        world.node.ctr().pull(&image.reference);
    }
    assert_eq!(build(&run(world, &first, &[], &[])), "better");
    assert_eq!(build(&run(world, &second, &[], &[])), "other");
}

fn removed_image(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    let ctr = world.node.ctr();
    ctr.call(&["containers", "create", "--runtime", OURS, &image.reference, "one"]).ok();
    ctr.call(&["images", "rm", "--sync", &image.reference]).ok();
    let out = ctr.call(&["tasks", "start", "one"]).ok();
    assert_eq!(build(&out), "plain");
    ctr.remove("one");
}

fn hold(build: &str) -> Image {
    Image::new(build).with("Cmd", json!(["hold"]))
}

/// Starts the container's task, writes or reads a file in it, and ends the task.
#[track_caller]
fn visit(world: &World, args: &[&str]) -> (String, String) {
    let ctr = world.node.ctr();
    ctr.call(&["tasks", "start", "-d", "one"]).ok();
    let exec = |args: &[&str]| {
        let line = [&["tasks", "exec", "--exec-id", "e", "one", "/probe"], args].concat();
        ctr.call(&line).ok()
    };
    let found = build(&exec(&["report"])).to_owned();
    let said = exec(args).stdout;
    ctr.call(&["tasks", "kill", "-s", "SIGKILL", "one"]).ok();
    bestfit_tests::command::eventually("the task is gone", std::time::Duration::from_secs(10), || {
        ctr.call(&["tasks", "rm", "one"]);
        ctr.status("one").is_none().then_some(())
    });
    (found, said)
}

fn second_start(world: &mut World) {
    let image = prepare(world, Kind::Docker, &[(hold("plain"), None), (hold("better"), Some(fits()))]);
    world.node.ctr().call(&["containers", "create", "--runtime", OURS, &image.reference, "one"]).ok();
    assert_eq!(visit(world, &["write", "/tmp/kept", "hello"]).0, "better");
    assert_eq!(visit(world, &["read", "/tmp/kept"]), ("better".to_owned(), "hello".to_owned()));
    world.node.ctr().call(&["containers", "rm", "one"]).ok();
}

fn never_rebased(world: &mut World) {
    let image = prepare(world, Kind::Docker, &[(hold("plain"), None), (hold("better"), Some(fits()))]);
    world.node.configure(&Settings { mode: "off", ..Settings::default() });
    world.node.ctr().call(&["containers", "create", "--runtime", OURS, &image.reference, "one"]).ok();
    assert_eq!(visit(world, &["write", "/tmp/kept", "hello"]).0, "plain");
    world.node.configure(&Settings::default());
    assert_eq!(visit(world, &["read", "/tmp/kept"]), ("plain".to_owned(), "hello".to_owned()));
    world.node.ctr().call(&["containers", "rm", "one"]).ok();
}

fn never_rebased_unwritten(world: &mut World) {
    let hold = |build: &str| with_mount_points(hold(build));
    let image = prepare(world, Kind::Docker, &[(hold("plain"), None), (hold("better"), Some(fits()))]);
    world.node.configure(&Settings { mode: "off", ..Settings::default() });
    world.node.ctr().call(&["containers", "create", "--runtime", OURS, &image.reference, "one"]).ok();
    assert_eq!(visit(world, &["report"]).0, "plain");
    world.node.configure(&Settings::default());
    assert_eq!(visit(world, &["report"]).0, "plain");
    let record = last_record(world, "default", None);
    assert!(record.to_string().contains("written to, or mounted, since"), "{record:#}");
    world.node.ctr().call(&["containers", "rm", "one"]).ok();
}

fn broken_configuration(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    for text in ["mode = ", "mode = \"sometimes\"\n", "surprise = 1\n", "\u{0}\u{1}"] {
        world.node.write_bestfit(text);
        assert_eq!(build(&run(world, &image, &[], &[])), "plain", "{text:?}");
        said_broken(world);
    }
    // One that cannot be read: a file would be, by root.
    std::fs::remove_file(world.node.bestfit_config()).expect("bestfit's configuration");
    std::fs::create_dir(world.node.bestfit_config()).expect("a directory in its place");
    assert_eq!(build(&run(world, &image, &[], &[])), "plain");
    said_broken(world);
    std::fs::remove_dir(world.node.bestfit_config()).expect("the directory");
}

/// The default log says which file is broken; nobody knows the configured one. Takes the log away.
#[track_caller]
fn said_broken(world: &World) {
    let log = std::path::Path::new("/var/log/bestfit/decisions.jsonl");
    let last = eventually("a record in the default log", Duration::from_secs(10), || record::read(log).pop());
    let why = last["error"].as_str().unwrap_or_default();
    let file = world.node.bestfit_config().display().to_string();
    assert!(why.starts_with("the configuration is broken, nothing is swapped: ") && why.contains(&file), "{last:#}");
    assert_eq!(record::applied(&last), "default", "{last:#}");
    std::fs::remove_file(log).expect("the default log");
}

/// Without the index containerd makes no container; one that was made starts, while all that the index kept is collected.
fn index_gone(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    let (ctr, digest) = (world.node.ctr(), &image.index.descriptor.digest);
    for known in [false, true] {
        if known {
            // The node remembers the decision and all documents that it rests on.
            assert_eq!(build(&run(world, &image, &[], &[])), "better");
        }
        ctr.call(&["containers", "create", "--runtime", OURS, &image.reference, "one"]).ok();
        ctr.call(&["content", "rm", digest]).ok();
        assert_eq!(build(&ctr.call(&["tasks", "start", "one"]).ok()), "plain");
        let record = last_record(world, "default", Some(image.index.entry(0)).filter(|_| known));
        let why = if known { &record["error"] } else { &record["untouched"] };
        assert!(why.as_str().is_some_and(|why| why.contains(digest) && why.contains("not found")), "{record:#}");
        ctr.remove("one");
        let refused = ctr.call(&["containers", "create", "--runtime", OURS, &image.reference, "two"]).failed();
        assert!(refused.stderr.contains(digest), "{refused}");
        ctr.call(&["images", "rm", "--sync", &image.reference]).ok();
        ctr.pull(&image.reference);
    }
}
