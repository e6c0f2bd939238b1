//! The entry that fits best runs, from every kind of registry; what the image contributed follows it, what the user set
//! stays, and a candidate that would change more is refused.

use std::time::Duration;

use bestfit_tests::artifact::{self, fits, fits_nowhere};
use bestfit_tests::command::eventually;
use bestfit_tests::ctr::OURS;
use bestfit_tests::image::{Image, Index};
use bestfit_tests::node::Settings;
use bestfit_tests::registry::{Kind, Registry};
use bestfit_tests::scenario::{Scenario, World, skip};
use serde_json::{Value, json};

use crate::prepared::{Prepared, build, last_record, pair, prepare, push, run};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "a better entry is swapped in, cold and warm (tag fallback)", run: cold_and_warm },
    Scenario { name: "artifacts by the Referrers API", run: referrers_api },
    Scenario { name: "artifacts in crane's registry", run: crane },
    Scenario { name: "artifacts attached by oras, with and without the API", run: by_oras },
    Scenario { name: "artifacts that the index carries: no registry is asked", run: carried },
    Scenario { name: "entries that share no layer", run: no_shared_layer },
    Scenario { name: "the most specific of several entries that fit", run: most_specific },
    Scenario { name: "entrypoint, env and workdir follow the entry", run: process_follows },
    Scenario { name: "what the user set stays", run: overrides_stay },
    Scenario { name: "exec sees the entry's env and workdir", run: exec_follows },
    Scenario { name: "another user: refused", run: |world| refused(world, "User", &json!("daemon")) },
    Scenario { name: "volumes: refused", run: |world| refused(world, "Volumes", &json!({"/data": {}})) },
    Scenario { name: "another stop signal: refused", run: |world| refused(world, "StopSignal", &json!("SIGINT")) },
    Scenario { name: "encrypted layers: refused", run: encrypted },
    Scenario { name: "NVIDIA_VISIBLE_DEVICES: refused", run: refused_variable },
    Scenario { name: "NVIDIA_REQUIRE_CUDA of the image counts where GPUs are given", run: requires_driver },
    Scenario { name: "no entry fits: the default runs", run: none_fits },
    Scenario { name: "no entry fits and deny: a clear error", run: none_fits_deny },
    Scenario { name: "the default may not run, and the swap fails: a clear error", run: neither },
];

fn cold_and_warm(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    assert_eq!(build(&run(world, &image, &[], &[])), "better");
    last_record(world, "swapped", Some(image.index.entry(1)));
    let layers = world.node.ctr().lines(&["snapshots", "ls"]).len();
    assert_eq!(build(&run(world, &image, &[], &[])), "better");
    last_record(world, "swapped", Some(image.index.entry(1)));
    assert_eq!(world.node.records().len(), 2, "one record per create");
    assert_eq!(world.node.ctr().lines(&["snapshots", "ls"]).len(), layers, "the warm swap unpacked something");
}

fn swaps_from(world: &mut World, kind: Kind) {
    let image = prepare(world, kind, &pair(Image::new("better")));
    assert_eq!(build(&run(world, &image, &[], &[])), "better");
    last_record(world, "swapped", Some(image.index.entry(1)));
}

fn referrers_api(world: &mut World) {
    swaps_from(world, Kind::Ferro);
}

fn crane(world: &mut World) {
    swaps_from(world, Kind::Crane);
}

fn by_oras(world: &mut World) {
    for kind in [Kind::Docker, Kind::Ferro] {
        let image = push(world, kind, &[(Image::new("plain"), None), (Image::new("better"), None)]);
        let document = artifact::compatibilities(&fits());
        let subject = image.index.entries[1].descriptor.clone();
        let attached = artifact::attach_with_oras(world.registry(kind), &image.repository, &subject, &document);
        attached.unwrap_or_else(|why| skip(&why));
        world.node.ctr().pull(&image.reference);
        assert_eq!(build(&run(world, &image, &[], &[])), "better", "{kind:?}");
    }
}

/// The registry is there only while the content is brought in; the decision needs none.
fn carried(world: &mut World) {
    let mut registry = Registry::start(Kind::Docker).unwrap_or_else(|why| skip(&why));
    let document = artifact::compatibilities(&fits());
    let index = Index::carrying(&[Image::new("plain"), Image::new("better")], |entries, content| {
        vec![artifact::carried(content, &entries[1].descriptor, &document)]
    });
    let reference = registry.push("own/carried", "1", &index);
    let image = Prepared { repository: "own/carried".to_owned(), reference, index };
    world.node.ctr().pull(&image.reference);
    assert_eq!(build(&run(world, &image, &[], &[])), "better");
    last_record(world, "swapped", Some(image.index.entry(1)));
    registry.stop();
    // Nothing is remembered and nothing is cached.
    world.node.configure(&Settings::default());
    assert_eq!(build(&run(world, &image, &[], &[])), "better");
    let record = last_record(world, "swapped", Some(image.index.entry(1)));
    assert_eq!((&record["requests"], &record["remembered"]), (&json!(0), &Value::Null), "{record:#}");
    assert_eq!(record["decision"]["entries"][2]["verdict"], json!("skipped"), "{record:#}");
}

fn no_shared_layer(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better").with_own_base()));
    assert_eq!(build(&run(world, &image, &[], &[])), "better");
}

fn most_specific(world: &mut World) {
    let newer = json!({"host": {"kernel.version": ">=3.20"}});
    let entries = [
        (Image::new("plain"), None),
        (Image::new("good"), Some(fits())),
        (Image::new("best"), Some(newer)),
        (Image::new("too much"), Some(fits_nowhere())),
    ];
    let image = prepare(world, Kind::Docker, &entries);
    assert_eq!(build(&run(world, &image, &[], &[])), "best");
    let record = last_record(world, "swapped", Some(image.index.entry(2)));
    let verdicts: Vec<&Value> =
        record["decision"]["entries"].as_array().unwrap().iter().map(|e| &e["verdict"]).collect();
    assert_eq!(verdicts, ["undeclared", "compatible", "compatible", "incompatible"]);
}

fn different() -> [(Image, Option<Value>); 2] {
    let default = Image::new("plain").with("Env", json!(["PATH=/bin", "WHICH=plain", "OLD=1"]));
    let better = Image::new("better")
        .with("Env", json!(["PATH=/bin", "WHICH=better", "NEW=1"]))
        .with("Cmd", json!(["report", "from better"]))
        .with("WorkingDir", json!("/work"));
    [(default, None), (better, Some(fits()))]
}

fn process_follows(world: &mut World) {
    let image = prepare(world, Kind::Docker, &different());
    let out = run(world, &image, &[], &[]);
    assert_eq!(build(&out), "better");
    for line in ["cwd=/work", "arg=from better", "env=WHICH=better", "env=NEW=1"] {
        assert!(out.stdout.lines().any(|found| found == line), "{line} is missing: {out}");
    }
    assert!(!out.stdout.contains("env=OLD"), "{out}");
}

fn overrides_stay(world: &mut World) {
    let image = prepare(world, Kind::Docker, &different());
    let out = run(world, &image, &["--env", "WHICH=mine", "--cwd", "/tmp"], &["/probe", "report", "mine"]);
    assert_eq!(build(&out), "better");
    for line in ["cwd=/tmp", "arg=mine", "env=WHICH=mine", "env=NEW=1"] {
        assert!(out.stdout.lines().any(|found| found == line), "{line} is missing: {out}");
    }
    assert!(!out.stdout.contains("from better"), "{out}");
}

fn exec_follows(world: &mut World) {
    let [default, (better, document)] = different();
    let image = prepare(world, Kind::Docker, &[default, (better.with("Cmd", json!(["hold"])), document)]);
    let ctr = world.node.ctr();
    ctr.start(OURS, &[], &image.reference, "one", &[]).ok();
    eventually("the container runs", Duration::from_secs(5), || (ctr.status("one")? == "RUNNING").then_some(()));
    let out = ctr.call(&["tasks", "exec", "--exec-id", "e", "one", "/probe", "report"]).ok();
    assert_eq!(build(&out), "better");
    for line in ["cwd=/work", "env=WHICH=better", "env=NEW=1"] {
        assert!(out.stdout.lines().any(|found| found == line), "{line} is missing: {out}");
    }
    ctr.remove("one");
}

/// The better entry differs in one field of its config that bestfit must not change.
fn refused(world: &mut World, field: &str, value: &Value) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better").with(field, value.clone())));
    assert_eq!(build(&run(world, &image, &[], &[])), "plain");
    let record = last_record(world, "default", Some(image.index.entry(0)));
    assert_eq!(record["refused"][0]["digest"], json!(image.index.entry(1)), "{record:#}");
    assert!(!record["refused"][0]["reason"].as_str().unwrap_or_default().is_empty(), "{record:#}");
}

fn encrypted(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better").encrypted()));
    assert_eq!(build(&run(world, &image, &[], &[])), "plain");
    let record = last_record(world, "default", Some(image.index.entry(0)));
    assert_eq!(record["refused"][0]["reason"], json!("its layers are encrypted"), "{record:#}");
}

fn refused_variable(world: &mut World) {
    refused(world, "Env", &json!(["PATH=/usr/bin:/bin", "NVIDIA_VISIBLE_DEVICES=all"]));
}

/// As NVIDIA's device plugin mounts it in the place of the variable; no machine here has such a driver.
const GPU: [&str; 2] = ["--mount", "type=bind,src=/dev/null,dst=/var/run/nvidia-container-devices/0,options=rbind:ro"];

fn requires_driver(world: &mut World) {
    let env = json!(["PATH=/usr/bin:/bin", "NVIDIA_REQUIRE_CUDA=cuda>=99.0"]);
    let better = Image::new("better").with("Env", env.clone());
    let image = prepare(world, Kind::Docker, &[(Image::new("plain").with("Env", env), None), (better, Some(fits()))]);
    assert_eq!(build(&run(world, &image, &[], &[])), "better");
    last_record(world, "swapped", Some(image.index.entry(1)));
    assert_eq!(build(&run(world, &image, &GPU, &[])), "plain");
    let record = last_record(world, "default", Some(image.index.entry(0)));
    let entry = &record["decision"]["entries"][1];
    assert_ne!(entry["verdict"], json!("compatible"), "{entry:#}");
    assert!(
        entry["reasons"].to_string().contains("image config: NVIDIA_REQUIRE_CUDA asks for cuda>=99.0"),
        "{entry:#}"
    );
    let config = &record["decision"]["inputs"]["images"]["of"][image.index.entry(1)]["digest"];
    assert_eq!(*config, json!(image.index.entries[1].config.digest), "{record:#}");
    let user = ["--env", "NVIDIA_DISABLE_REQUIRE=1"];
    assert_eq!(build(&run(world, &image, &[&GPU[..], &user].concat(), &[])), "better");
}

fn nothing_fits() -> [(Image, Option<Value>); 2] {
    [(Image::new("plain"), Some(fits_nowhere())), (Image::new("better"), Some(fits_nowhere()))]
}

fn none_fits(world: &mut World) {
    let image = prepare(world, Kind::Docker, &nothing_fits());
    assert_eq!(build(&run(world, &image, &[], &[])), "plain");
    last_record(world, "default", Some(image.index.entry(0)));
}

fn none_fits_deny(world: &mut World) {
    let image = prepare(world, Kind::Docker, &nothing_fits());
    let settings = Settings::default().select("on_no_fit", "deny");
    world.node.configure(&settings);
    let out = world.node.ctr().run(OURS, &[], &image.reference, "one", &[]).failed();
    assert!(out.stderr.contains("bestfit"), "the error does not say who refused: {out}");
    last_record(world, "denied", None);
    // ctr leaves the record of a container that could not be started.
    world.node.ctr().call(&["containers", "rm", "one"]);
}

/// What fits is refused by the plan, or cannot be brought in; the default does not fit, and the site denies it then.
fn neither(world: &mut World) {
    let entries = |better: Image| [(Image::new("plain"), Some(fits_nowhere())), (better, Some(fits()))];
    let settings = Settings::default().select("on_no_fit", "deny");
    let image = prepare(world, Kind::Docker, &entries(Image::new("better").with("User", json!("daemon"))));
    world.node.configure(&settings);
    let record = refused_after_all(world, &image);
    assert_eq!(record["refused"][0]["digest"], json!(image.index.entry(1)), "{record:#}");

    let mut registry = Registry::start(Kind::Docker).unwrap_or_else(|why| skip(&why));
    let index = Index::of(&entries(Image::new("better")).map(|(image, _)| image));
    let reference = registry.push("own/neither", "1", &index);
    for (entry, document) in index.entries.iter().zip([fits_nowhere(), fits()]) {
        artifact::attach(&registry, "own/neither", &entry.descriptor, &artifact::compatibilities(&document));
    }
    let image = Prepared { repository: "own/neither".to_owned(), reference, index };
    world.node.ctr().pull(&image.reference);
    // ctr pulled both entries; the decision is known, as it would be by an earlier container.
    world.node.ctr().call(&["content", "rm", image.index.entry(1)]).ok();
    world.node.configure(&Settings { mode: "observe", ..settings.clone() });
    assert_eq!(build(&run(world, &image, &[], &[])), "plain");
    last_record(world, "observed", None);
    registry.stop();
    world.node.reconfigure(&settings);
    let record = refused_after_all(world, &image);
    assert!(record["error"].is_string(), "{record:#}");
}

/// The container was to be swapped, and is refused instead: the error and the record say both.
#[track_caller]
fn refused_after_all(world: &World, image: &Prepared) -> Value {
    let out = world.node.ctr().run(OURS, &[], &image.reference, "one", &[]).failed();
    world.node.ctr().call(&["containers", "rm", "one"]);
    let why = "the entry that containerd chose does not fit this host";
    assert!(out.stderr.contains("bestfit") && out.stderr.contains(why), "the error does not say why: {out}");
    let record = last_record(world, "denied", None);
    let decision = &record["decision"];
    assert_eq!(decision["outcome"], json!("swap"), "{record:#}");
    assert!(decision["otherwise"].as_str().is_some_and(|said| said.starts_with(why)), "{record:#}");
    record
}
