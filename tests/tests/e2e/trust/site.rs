//! Policies that are broken or loosened: never "off". Nothing is swapped, loudly; where a file still says `require`, the container
//! is refused.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bestfit_tests::ctr::OURS;
use bestfit_tests::record;
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World};

use super::{denied_by, enforce, require, signed, unsigned, vendor};
use crate::prepared::{Prepared, build, run};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "trust: a policy that is broken or unreadable", run: broken },
    Scenario { name: "trust: key files that are missing or that others can change", run: key_files },
    Scenario { name: "trust: a profile that loosens its base", run: loosened },
];

/// Where a broken configuration is told: the configured log is not known.
const DEFAULT_LOG: &str = "/var/log/bestfit/decisions.jsonl";

/// The default runs, and the log of broken configurations says what is wrong; nothing is remembered of it.
#[track_caller]
fn untouched_loudly(world: &World, image: &Prepared, words: &str) {
    let before = record::read(Path::new(DEFAULT_LOG)).len();
    assert_eq!(build(&run(world, image, &[], &[])), "plain", "{words}");
    let after = record::read(Path::new(DEFAULT_LOG));
    let last =
        after.get(before..).and_then(<[_]>::last).unwrap_or_else(|| panic!("{words}: not told in {DEFAULT_LOG}"));
    assert!(last["error"].to_string().contains(words), "{words}: {last:#}");
}

/// `[trust]` texts that are wrong, each with a word of what is said about it.
fn wrong_texts() -> Vec<(String, &'static str)> {
    let with = |more: &str| format!("{}{more}", enforce().trust);
    let mode = |word: &str| enforce().trust.replacen("enforce", word, 1);
    vec![
        (mode("enforced"), "trust.mode"),
        (mode("Off"), "trust.mode"),
        (with("[[trust.accept]]\nname = \"nobody\"\n"), "who is trusted"),
        (with("[[trust.accept]]\nkeyy = \"/x\"\n"), "keyy"),
        (with("surprise = 1\n"), "surprise"),
        (with("[[trust.accept\n"), "TOML"),
        (with("\u{0}"), "TOML"),
    ]
}

fn broken(world: &mut World) {
    // Nobody signed it: a policy that became "off" would follow it.
    let pair = unsigned(world, Kind::Docker);
    for (text, words) in wrong_texts() {
        let mut settings = enforce();
        settings.trust = text;
        world.node.configure(&settings);
        untouched_loudly(world, &pair.image, words);
    }
    // The same in a drop-in, over a file that requires.
    let drop_ins = world.node.dir.join("conf.d");
    std::fs::create_dir_all(&drop_ins).expect("drop-ins");
    world.node.configure(&require());
    for (text, words) in wrong_texts() {
        std::fs::write(drop_ins.join("trust.toml"), text).expect("a drop-in");
        let out = denied_by(world, OURS, &pair.image);
        assert!(out.stderr.contains("require"), "{words}: {out}");
    }
    std::fs::remove_dir_all(&drop_ins).expect("drop-ins");
    unreadable(world, &pair.image);
}

/// The file itself cannot be read: whether it requires is not known, but a drop-in that does is.
fn unreadable(world: &World, image: &Prepared) {
    let (file, drop_ins) = (world.node.bestfit_config(), world.node.dir.join("conf.d"));
    std::fs::remove_file(&file).expect("the configuration");
    std::os::unix::fs::symlink("/nowhere/at/all", &file).expect("a link to nothing");
    untouched_loudly(world, image, "cannot be read");
    std::fs::create_dir_all(&drop_ins).expect("drop-ins");
    std::fs::write(drop_ins.join("trust.toml"), require().trust).expect("a drop-in");
    denied_by(world, OURS, image);
    std::fs::remove_dir_all(&drop_ins).expect("drop-ins");
    std::fs::remove_file(&file).expect("the link");
}

fn key_files(world: &mut World) {
    let pair = signed(world, Kind::Docker);
    let key = world.node.dir.join("vendor-copy.pub");
    let entry = format!("[[trust.accept]]\nkey = {key:?}\n");
    let settings = |mode| bestfit_tests::node::Settings::default().trust(mode, std::slice::from_ref(&entry));
    let both = |world: &mut World, words: &str| {
        world.node.configure(&settings("enforce"));
        untouched_loudly(world, &pair.image, words);
        world.node.configure(&settings("require"));
        denied_by(world, OURS, &pair.image);
    };
    both(world, "cannot be read");
    std::fs::copy(&vendor().public, &key).expect("the key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o666)).expect("its mode");
    both(world, "others than root");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).expect("its mode");
    world.node.configure(&settings("require"));
    assert_eq!(build(&run(world, &pair.image, &[], &[])), "better");
    std::fs::write(&key, "no key\n").expect("the key");
    both(world, "no public key");
}

/// A profile may only tighten: what it would take back is a mistake, and no policy.
fn loosened(world: &mut World) {
    let pair = unsigned(world, Kind::Docker);
    let stranger = super::desk().key("stranger", bestfit_tests::signing::Algorithm::P256);
    for looser in
        ["[trust]\nmode = \"off\"\n".to_owned(), format!("[trust]\nmode = \"require\"\n{}", stranger.accepted())]
    {
        let runtime = world.node.profile("loose", &looser);
        world.node.configure(&enforce());
        let out = world.node.ctr().run(&runtime, &[], &pair.image.reference, "one", &[]);
        // The second one says `require` itself.
        match looser.contains("require") {
            true => {
                world.node.ctr().call(&["containers", "rm", "one"]);
                out.failed();
            }
            false => assert_eq!(build(&out.ok()), "plain"),
        }
        world.node.configure(&require());
        denied_by(world, &runtime, &pair.image);
    }
}
