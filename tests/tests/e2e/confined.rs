//! The decider's place, taken by somebody else (docs/threats.md): what it tries is refused, what it says is not believed, and
//! the container starts as containerd made it.

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use bestfit_tests::command::{self, Output};
use bestfit_tests::image::Image;
use bestfit_tests::node::{Node, Options, Settings};
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World, skip};
use bestfit_tests::{isolate, peers};
use serde_json::json;

use crate::prepared::{build, last_record, pair, prepare, run};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "confined: what hostile code tries in the decider's place is refused", run: attempts },
    Scenario { name: "confined: a decider of garbage, silence, floods: the default runs", run: noise },
    Scenario { name: "confined: a decider that lies about entries or content: the default runs", run: lies },
    Scenario { name: "confined: doctor finds this node's programs, and what its kernel holds", run: doctor },
    Scenario { name: "confined: a link in the place of the cache is not given away", run: foreign_cache },
];

/// The decider's ids where nothing is configured (bestfit-config, `DECIDER_ID`).
const DECIDER: u32 = 61183;
const HOSTILE: &str = env!("CARGO_BIN_EXE_hostile");
const PATIENCE: Duration = Duration::from_secs(30);

/// What is attacked; all of it ends with the value.
struct Targets {
    dir: PathBuf,
    processes: [Child; 2],
    _listening: (UnixListener, [TcpListener; 2]),
}

impl Targets {
    /// In a directory that everybody may change, so that it is not its mode that holds.
    fn new(world: &World) -> Self {
        let dir = isolate::dir().join("hostile");
        fs::create_dir_all(dir.join("cache")).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        chown(dir.join("cache"), Some(DECIDER), Some(DECIDER)).unwrap();
        for (name, mode) in [("secret", 0o600), ("public", 0o666)] {
            fs::write(dir.join(name), name).unwrap();
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let name = format!("bestfit-hostile-{}", std::process::id());
        let unix = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let tcp = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let sleep = |uid| Command::new("sleep").arg("600").uid(uid).gid(uid).spawn().unwrap();
        let processes = [sleep(0), sleep(DECIDER)];
        let targets = json!({
            "socket": world.node.address(), "name": name,
            "root": processes[0].id(), "twin": processes[1].id(),
            "secret": dir.join("secret"), "public": dir.join("public"), "everybodys": dir,
            "port": tcp[0].local_addr().unwrap().port(), "other_port": tcp[1].local_addr().unwrap().port(),
        });
        fs::write(dir.join("targets.json"), targets.to_string()).unwrap();
        Self { dir, processes, _listening: (unix, tcp) }
    }

    /// One attempt in a process of its own, with root's file open as descriptor 9; as the decider, or with all rights.
    fn attempt(&self, name: &str, as_decider: bool) -> Output {
        let mut command = Command::new("sh");
        command.args(["-c", "exec 9<\"$0\"; exec \"$@\""]).arg(self.dir.join("secret"));
        command.args([HOSTILE, "try", name]).arg(self.dir.join("targets.json")).current_dir(self.dir.join("cache"));
        if as_decider {
            command.args([DECIDER.to_string(), DECIDER.to_string()]);
        }
        command::run(&mut command, PATIENCE)
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        for process in &mut self.processes {
            process.kill().ok();
            process.wait().ok();
        }
        fs::remove_dir_all(&self.dir).ok();
    }
}

/// Each attempt is made twice: in the decider's place it must be refused, and with all rights it must go through, or it shows
/// nothing on this machine.
fn attempts(world: &mut World) {
    let targets = Targets::new(world);
    let list = command::run(Command::new(HOSTILE).arg("list"), PATIENCE).ok();
    let mut wrong = Vec::new();
    for name in list.stdout.lines() {
        let free = targets.attempt(name, false);
        if !free.is_ok() {
            println!("    SKIP: {name}: refused to root as well: {}", free.stdout.trim());
            continue;
        }
        let confined = targets.attempt(name, true);
        let went_through = confined.is_ok();
        match name.starts_with("may ") {
            expected if expected == went_through => assert!(confined.code.is_some(), "{confined}"),
            false if confined.stderr.contains("unenforced: ") => {
                println!("    SKIP: {name}: {}", confined.stderr.trim())
            }
            _ => wrong.push(format!("{name}: {confined}")),
        }
    }
    assert!(list.stdout.lines().count() > 50, "{list}");
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

/// A node whose decider is hostile: our other programs lie beside it, so that they find this one.
fn with_hostile_decider(world: &mut World, scenario: impl FnOnce(&mut World)) {
    let mut other = Node::start(world.node.line, Options::default()).unwrap_or_else(|why| skip(&why));
    for program in ["containerd-shim-bestfit-v1", "bestfit-worker"] {
        fs::copy(peers::our_bin().join(program), other.dir.join("bin").join(program)).expect("our programs");
    }
    std::mem::swap(&mut world.node, &mut other);
    scenario(world);
    let left = world.node.leftovers();
    assert!(left.is_empty(), "left behind:\n    {}", left.join("\n    "));
    std::mem::swap(&mut world.node, &mut other);
}

fn play(node: &Node, part: &str) {
    node.replace_program("bestfit-decider", &format!("#!/bin/sh\nexec {HOSTILE} play {part} \"$@\"\n"));
}

fn noise(world: &mut World) {
    with_hostile_decider(world, |world| {
        let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
        for part in ["garbage", "silence", "flood", "gone"] {
            play(&world.node, part);
            world.node.configure(&Settings::default().select("decision_deadline", "500ms"));
            assert_eq!(build(&run(world, &image, &[], &[])), "plain", "{part}");
            let record = last_record(world, "default", Some(image.index.entry(0)));
            assert!(
                record["error"].as_str().is_some_and(|why| why.contains("decision") || why.contains("decider")),
                "{record:#}"
            );
        }
    });
}

fn lies(world: &mut World) {
    with_hostile_decider(world, |world| {
        let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
        // ctr pulled both entries: what is missing has to come from the decider.
        world.node.ctr().call(&["content", "rm", image.index.entry(1)]).ok();
        for (part, words) in [("stranger", "which is no other entry of index"), ("liar", image.index.entry(1))] {
            play(&world.node, part);
            world.node.configure(&Settings::default());
            assert_eq!(build(&run(world, &image, &[], &[])), "plain", "{part}");
            let record = last_record(world, "default", Some(image.index.entry(0)));
            assert!(record.to_string().contains(words), "{record:#}");
        }
    });
}

fn doctor(world: &mut World) {
    let out = world.node.bestfit(&["doctor", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&out.stdout).unwrap_or_else(|_| panic!("{out}"));
    let state = |name: &str| {
        let checks = found["checks"].as_array().unwrap().iter();
        checks.filter(|check| check["name"] == name).map(|check| check["state"].as_str().unwrap().to_owned()).next()
    };
    for name in ["configuration", "containerd", "shim", "worker", "decider", "delegate", "decider's ids"] {
        assert_eq!(state(name).as_deref(), Some("ok"), "{name}: {out}");
    }
    // What a kernel cannot hold is a warning, and never an error.
    assert!(matches!(state("confinement").as_deref(), Some("ok" | "warning")), "{out}");
}

fn foreign_cache(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    let dir = world.node.decisions().parent().map(Path::to_owned).unwrap();
    let (target, cache) = (dir.join("target"), dir.join("cache"));
    fs::create_dir_all(&target).unwrap();
    fs::create_dir_all(&cache).unwrap();
    symlink(&target, cache.join("registry")).unwrap();
    assert_eq!(build(&run(world, &image, &[], &[])), "plain");
    let record = last_record(world, "default", Some(image.index.entry(0)));
    assert!(record["error"].as_str().is_some_and(|why| why.starts_with("cache ")), "{record:#}");
    assert_eq!(fs::metadata(&target).unwrap().uid(), 0, "the link's target was given away");
}
