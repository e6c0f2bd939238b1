//! containerd's image verifiers: what containerd asks before a pull is asked before a swap, by the same programs, in the same
//! words. The program that decides is cosign.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bestfit_tests::command::Output;
use bestfit_tests::ctr::OURS;
use bestfit_tests::image::{Image, media};
use bestfit_tests::node::Settings;
use bestfit_tests::peers;
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World, skip};
use bestfit_tests::signing::Way;
use serde_json::{Value, json};

use super::{denied_by, desk, vendor};
use crate::prepared::{Prepared, build, last_record, pair, prepare, run};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "trust: image verifiers decide about the swap as about the pull", run: decide },
    Scenario { name: "trust: image verifiers that hang, flood, die, or that others can change", run: misbehave },
];

/// Puts a program into containerd's directory of verifiers.
fn verifier(world: &World, name: &str, script: &str) {
    let dir = world.node.verifiers();
    std::fs::create_dir_all(&dir).expect("the verifiers' directory");
    let file = dir.join(name);
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("a verifier");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).expect("its mode");
}

/// Trust in the verifiers alone.
fn ask_them(world: &mut World, mode: &str) {
    let mut settings = Settings::default().trust(mode, &[vendor().accepted()]);
    let key = format!("[trust]\nimage_verifiers = {:?}\n", world.node.verifiers());
    settings.trust = settings.trust.replacen("[trust]\n", &key, 1);
    world.node.configure(&settings);
}

/// A pull by containerd itself, which asks its verifiers; [`bestfit_tests::ctr::Ctr::pull`] does the work in the client.
fn pull_by_containerd(world: &World, image: &Prepared) -> Output {
    let (host, _) = image.reference.split_once('/').expect("a reference with a host");
    let hosts = world.node.dir.join("hosts");
    std::fs::create_dir_all(hosts.join(host)).expect("a directory of hosts");
    let toml =
        format!("server = \"http://{host}\"\n[host.\"http://{host}\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
    std::fs::write(hosts.join(host).join("hosts.toml"), toml).expect("hosts.toml");
    let hosts = hosts.display().to_string();
    world.node.ctr().call(&["images", "pull", "--hosts-dir", &hosts, &image.reference])
}

/// The arguments and the input that a verifier was called with, call by call, as the program below writes them.
fn calls(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    std::fs::remove_file(file).ok();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// Runs it, and gives why nothing was swapped.
#[track_caller]
fn not_swapped(world: &World, image: &Prepared) -> String {
    assert_eq!(build(&run(world, image, &[], &[])), "plain");
    last_record(world, "default", Some(image.index.entry(0)))["untouched"].to_string()
}

fn decide(world: &mut World) {
    let cosign = peers::program("cosign").unwrap_or_else(|| skip("cosign is missing: run `make setup`"));
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    ask_them(world, "off");
    let (said, home) = (world.node.dir.join("said"), world.node.dir.display().to_string());
    verifier(
        world,
        "10-says-what-it-is-asked",
        &format!("echo \"[\\\"$*\\\", $(cat)]\" >> {}; echo noted", said.display()),
    );
    verifier(
        world,
        "20-cosign",
        &format!(
            "export HOME={home}; exec {} verify --key {} --insecure-ignore-tlog --allow-http-registry \
             \"${{2%:*}}@$4\" 2>&1",
            cosign.display(),
            vendor().public.display(),
        ),
    );
    let refused = pull_by_containerd(world, &image).failed();
    let by_containerd = calls(&said);
    assert!(refused.stderr.contains("20-cosign rejected"), "containerd asks them otherwise than it was: {refused}");
    let why = not_swapped(world, &image);
    assert!(why.contains("20-cosign says no to sha256:") && why.contains("no signatures found"), "{why}");
    assert_eq!(calls(&said), by_containerd, "not what containerd says");
    let index = &image.index.descriptor;
    let words = format!(
        "-name {} -digest {} -stdin-media-type application/vnd.oci.descriptor.v1+json",
        image.reference, index.digest
    );
    assert_eq!(
        by_containerd,
        [json!([words, { "mediaType": media::INDEX, "digest": index.digest, "size": index.size }])]
    );
    desk().sign(
        &format!("{}/{}@{}", world.registry(Kind::Docker).host, image.repository, index.digest),
        Way::Bundle(&vendor()),
    );
    pull_by_containerd(world, &image).ok();
    assert_eq!(build(&run(world, &image, &[], &[])), "better");
    // Where trust is required, what they refuse does not run either.
    verifier(world, "30-no", "echo today not; exit 3");
    ask_them(world, "require");
    let out = denied_by(world, OURS, &image);
    assert!(out.stderr.contains("require"), "{out}");
    std::fs::remove_dir_all(world.node.verifiers()).expect("the verifiers");
}

fn misbehave(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    ask_them(world, "off");
    assert!(not_swapped(world, &image).contains("No such file"), "none at all is no yes");
    for (script, words) in [
        ("sleep 100000", "gave no answer within"),
        ("cat /dev/zero", "gave no answer within"),
        ("kill -9 $$", "says no"),
        ("echo 'why not'; exit 1", "(exit status: 1): why not"),
    ] {
        verifier(world, "10-bad", script);
        let why = not_swapped(world, &image);
        assert!(why.contains(words), "{script}: {why}");
    }
    verifier(world, "10-bad", "head -c 1000000 /dev/zero; cat > /dev/null");
    assert_eq!(build(&run(world, &image, &[], &[])), "better", "one that says much, and yes");
    let open = PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(world.node.verifiers().join("10-bad"), open).expect("its mode");
    assert!(not_swapped(world, &image).contains("others than root could change it"));
    std::fs::remove_dir_all(world.node.verifiers()).expect("the verifiers");
}
