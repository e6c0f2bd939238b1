//! `require` where no worker decides: none is installed, none can be started, it dies, or it is killed in the middle. Without
//! `require` the default runs, as containerd made it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bestfit_tests::command::eventually;
use bestfit_tests::ctr::{OURS, STOCK};
use bestfit_tests::image::{Image, Index};
use bestfit_tests::leftovers::processes_with;
use bestfit_tests::node::Settings;
use bestfit_tests::peers;
use bestfit_tests::registry::{Kind, Registry};
use bestfit_tests::scenario::{Scenario, World, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{denied_by, enforce, require, unsigned};
use crate::prepared::{Prepared, build};

pub(super) const EVERYWHERE: &[Scenario] = &[
    Scenario { name: "trust: require denies where no worker decides", run: no_worker },
    Scenario { name: "trust: require denies where the worker is killed", run: killed },
];

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "trust: require of a profile, and namespaces that are left alone, without a worker",
        run: by_profile,
    },
    Scenario { name: "trust: require denies where there can be no relay", run: no_relay },
];

/// Our shim in a place where no worker lies beside it, until the value ends.
struct Alone {
    runtime: &'static str,
    shim: PathBuf,
    worker: PathBuf,
}

impl Alone {
    /// Its name is that of the profile `alone`, which must have a file.
    fn new(world: &World, profile: &str) -> Self {
        world.node.profile("alone", profile);
        let bin = world.node.dir.join("bin");
        let (shim, worker) = (bin.join("containerd-shim-bestfit-alone-v1"), bin.join("bestfit-worker"));
        std::fs::remove_file(&shim).expect("the profile's link");
        std::fs::copy(peers::our_bin().join("containerd-shim-bestfit-v1"), &shim).expect("a copy of our shim");
        Self { runtime: "io.containerd.bestfit-alone.v1", shim, worker }
    }

    fn worker(&self, script: &str, mode: u32) {
        std::fs::write(&self.worker, script).expect("a worker");
        std::fs::set_permissions(&self.worker, PermissionsExt::from_mode(mode)).expect("its mode");
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        std::fs::remove_file(&self.shim).ok();
        std::fs::remove_file(&self.worker).ok();
    }
}

/// The default runs.
#[track_caller]
fn untouched(world: &World, runtime: &str, image: &Prepared) {
    let out = world.node.ctr().run(runtime, &[], &image.reference, "one", &[]).ok();
    assert_eq!(build(&out), "plain");
}

#[track_caller]
fn refused(world: &World, runtime: &str, image: &Prepared, words: &str) {
    let out = denied_by(world, runtime, image);
    assert!(out.stderr.contains(words), "{words:?} is not in {out}");
}

fn no_worker(world: &mut World) {
    if Path::new("/usr/libexec/bestfit").exists() || Path::new("/usr/lib/bestfit").exists() {
        skip("bestfit is installed on this machine");
    }
    let pair = unsigned(world, Kind::Docker);
    let alone = Alone::new(world, "");
    let answers_nothing = "#!/bin/sh\nexit 1\n";
    let cases: [(&str, Option<(&str, u32)>); 3] = [
        ("bestfit-worker is not installed (trust.mode = \"require\")", None),
        ("Permission denied", Some((answers_nothing, 0o644))),
        // Neither the worker nor the one that would put back what it left.
        ("a worker died", Some((answers_nothing, 0o755))),
    ];
    for (words, worker) in cases {
        if let Some((script, mode)) = worker {
            alone.worker(script, mode);
        }
        world.node.configure(&require());
        refused(world, alone.runtime, &pair.image, words);
        world.node.configure(&enforce());
        untouched(world, alone.runtime, &pair.image);
    }
    untouched(world, STOCK, &pair.image);
}

/// The registry is silent, so that the worker is surely in the middle when it is killed.
fn killed(world: &mut World) {
    let mut registry = Registry::start(Kind::Docker).unwrap_or_else(|why| skip(&why));
    let index = Index::of(&[Image::new("plain"), Image::new("better")]);
    let (repository, reference) = ("own/killed".to_owned(), registry.push("own/killed", "1", &index));
    let image = Prepared { repository, reference, index };
    world.node.ctr().pull(&image.reference);
    let _silence = registry.fall_silent();
    for (settings, runs) in [(require(), false), (enforce(), true)] {
        world.node.configure(&settings.select("decision_deadline", "20s"));
        let mut client = world.node.ctr().spawn(&["run", "--rm", "--runtime", OURS, &image.reference, "one"]);
        // One that dies before its Create is there has another in its place, until the Create is.
        eventually("ctr ends", Duration::from_secs(60), || {
            if !processes_with("bestfit-decider").is_empty() {
                let workers = processes_with("bestfit-worker create ");
                workers.into_iter().for_each(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_default());
            }
            client.try_wait().expect("wait")
        });
        let out = client.wait_with_output().expect("ctr");
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.success(), runs, "{stderr}");
        assert!(runs || stderr.contains("the worker of this container died"), "{stderr}");
        world.node.ctr().call(&["containers", "rm", "one"]);
    }
}

fn by_profile(world: &mut World) {
    let pair = unsigned(world, Kind::Docker);
    let alone = Alone::new(world, &require().trust);
    world.node.configure(&Settings::default());
    refused(world, alone.runtime, &pair.image, "not installed");
    let mut settings = require();
    settings.namespaces = vec![(world.node.namespace.clone(), "observe")];
    world.node.configure(&settings);
    untouched(world, alone.runtime, &pair.image);
    settings.namespaces.clear();
    settings.mode = "off";
    world.node.configure(&settings);
    untouched(world, alone.runtime, &pair.image);
}

/// The delegate speaks what cannot be relayed: containerd would talk to it directly. What it left running ends with the start:
/// the stock shim, and processes that do not know of SIGTERM, however its answer is wrong.
fn no_relay(world: &mut World) {
    let pair = unsigned(world, Kind::Docker);
    world.node.configure(&require());
    let stock = world.node.line.program("containerd-shim-runc-v2").expect("the stock shim");
    let answer = r#"{"version":3,"address":"unix:///run/nobody.sock","protocol":"grpc"}"#;
    let stubborn = "sh -c 'trap \"\" TERM; echo >started; while :; do sleep 1; done' </dev/null >/dev/null 2>&1 &\n\
                    while [ ! -e started ]; do sleep 0.01; done";
    for (script, words) in [
        (format!("{} \"$@\" | sed s/ttrpc/tgrpc/", stock.display()), "cannot be relayed"),
        (format!("setsid {stubborn}\necho '{answer}'"), "cannot be relayed"),
        (format!("{stubborn}\necho '{{'"), "is not understood"),
    ] {
        world.node.replace_program("containerd-shim-runc-v2", &format!("#!/bin/sh\n{script}\n"));
        refused(world, OURS, &pair.image, words);
        let left = world.node.leftovers();
        assert!(left.is_empty(), "left behind after {words:?}:\n    {}", left.join("\n    "));
    }
    world.node.link_programs();
}
