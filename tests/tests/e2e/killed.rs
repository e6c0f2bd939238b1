//! Whoever is killed when: nothing stays behind.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bestfit_tests::command::eventually;
use bestfit_tests::ctr::OURS;
use bestfit_tests::image::Image;
use bestfit_tests::leftovers::{self, processes_with};
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::prepared::{Prepared, build, pair, prepare};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "containerd restarted: exec, kill and rm work", run: |world| restarted(world, Signal::SIGTERM) },
    Scenario { name: "containerd killed: exec, kill and rm work", run: |world| restarted(world, Signal::SIGKILL) },
    Scenario { name: "the relay killed: the container ends, nothing stays", run: |world| killed(world, RELAY) },
    Scenario { name: "the delegate killed: the container ends, nothing stays", run: |world| killed(world, DELEGATE) },
    Scenario { name: "ctr killed during run, at many points", run: client_killed },
    Scenario { name: "relay, delegate or worker killed during create, at many points", run: killed_during_create },
    Scenario { name: "containerd killed during create, at many points", run: containerd_killed_during_create },
];

const RELAY: &str = "containerd-shim-bestfit-v1";
const DELEGATE: &str = "containerd-shim-runc-v2";
/// What a containerd leaves that dies before it has written down where a shim listens: it forgets it, as it does the stock one.
const FORGOTTEN: [&str; 4] = ["socket /run/containerd/s/", "bundle ", "mount ", DELEGATE];

fn holding(world: &mut World) -> Prepared {
    let hold = |build: &str| Image::new(build).with("Cmd", json!(["hold"]));
    let [(_, none), (_, fits)] = pair(hold("better"));
    let image = prepare(world, Kind::Docker, &[(hold("plain"), none), (hold("better"), fits)]);
    world.node.ctr().start(OURS, &[], &image.reference, "one", &[]).ok();
    image
}

fn restarted(world: &mut World, signal: Signal) {
    holding(world);
    world.node.stop(signal);
    world.node.resume();
    let ctr = world.node.ctr();
    assert_eq!(ctr.status("one").as_deref(), Some("RUNNING"));
    let out = ctr.call(&["tasks", "exec", "--exec-id", "e", "one", "/probe", "report"]).ok();
    assert_eq!(build(&out), "better");
    ctr.remove("one");
}

fn killed(world: &mut World, who: &str) {
    holding(world);
    let found = processes_with(who);
    assert_eq!(found.len(), 1, "{who}: {found:?}");
    kill(Pid::from_raw(found[0]), Signal::SIGKILL).expect("kill");
    let ctr = world.node.ctr();
    eventually("the task is no longer running", Duration::from_secs(15), || {
        (ctr.status("one").as_deref() != Some("RUNNING")).then_some(())
    });
    ctr.remove("one");
}

/// Removes whatever a run that was cut off left in containerd's store: that part is ctr's to do.
fn clear(world: &World) {
    let ctr = world.node.ctr();
    if ctr.lines(&["containers", "ls", "-q"]).iter().any(|id| id == "one") {
        ctr.remove("one");
    }
}

/// What is left, without what the stock shim leaves in our place: a `runc` that is killed in the middle of its create,
/// which is what containerd does to it when the client or the shim goes away, leaves `runc init`, its state and cgroups behind.
/// That much is said, swept away, and not counted; `also` names more such kinds of one scenario.
fn left_by_us(world: &World, also: &[&str]) -> Vec<String> {
    let (by_others, ours) = leftovers::apart(&world.node, |line| {
        let by_runc = line.starts_with("cgroup ") || line.starts_with("runc state ");
        let by_runc = by_runc || line.strip_prefix("bundle ").is_some_and(|bundle| written_late(Path::new(bundle)));
        by_runc || line.trim_end().ends_with(": runc init") || also.iter().any(|kind| line.contains(kind))
    });
    if !by_others.is_empty() {
        println!("    note: left, as with the stock shim in our place:\n      {}", by_others.join("\n      "));
        world.node.sweep();
        for socket in by_others.iter().filter_map(|line| line.strip_prefix("socket ")) {
            std::fs::remove_file(socket).ok();
        }
        for bundle in by_others.iter().filter_map(|line| line.strip_prefix("bundle ")).map(Path::new) {
            leftovers::unmount_below(bundle);
            std::fs::remove_dir_all(bundle).ok();
        }
    }
    ours
}

/// Whether runc, which went on after its shim was killed, wrote into the bare directory below a root filesystem that containerd
/// had unmounted: containerd 1.6 then fails to remove the bundle ("directory not empty").
fn written_late(bundle: &Path) -> bool {
    let rootfs = bundle.join("rootfs");
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
    let bare = device(bundle).is_some() && device(bundle) == device(&rootfs);
    bare && fs::read_dir(rootfs).is_ok_and(|mut entries| entries.next().is_some())
}

/// Waits for the end of a create that may still be under way in containerd, which goes from one program to the next.
fn settled() {
    const PROGRAMS: [&str; 4] = [" start ", "bestfit-worker", "bestfit-decider", " create "];
    let mut quiet = Instant::now();
    eventually("the create is over", Duration::from_secs(30), || {
        if PROGRAMS.iter().any(|program| !processes_with(program).is_empty()) {
            quiet = Instant::now();
        }
        (quiet.elapsed() > Duration::from_millis(500)).then_some(())
    });
}

fn client_killed(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    for delay in (0..160).step_by(20) {
        let mut client = world.node.ctr().spawn(&["run", "--rm", "--runtime", OURS, &image.reference, "one"]);
        std::thread::sleep(Duration::from_millis(delay));
        client.kill().ok();
        client.wait().ok();
        settled();
        clear(world);
        // A ctr that was killed leaves its own lease for a day; with the stock shim as well.
        for lease in world.node.ctr().lines(&["leases", "ls", "-q"]) {
            world.node.ctr().call(&["leases", "rm", &lease]);
        }
        // containerd 1.6 and 1.7 forget the shim of a create whose client died: in 12 runs of this scenario on 1.7, the
        // stock shim or its socket was left in 4. A shim that is left has its bundle.
        let left = left_by_us(world, &[DELEGATE, RELAY, "socket /run/containerd/s/", "bundle "]);
        assert!(left.is_empty(), "ctr killed after {delay} ms left\n    {}", left.join("\n    "));
    }
}

fn killed_during_create(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    // A relay that is killed before containerd knows of it is told nothing more: the file of its socket, or of its
    // delegate's, stays until the next shim of that name binds it anew, and 1.6 may fail to remove the bundle that it
    // renamed. A process that still listens is listed by itself, and counts.
    let files = ["socket /run/containerd/s/", "/.one"].as_slice();
    // Nobody knows of the shim that a killed `start` has left behind already, and of the relay before it; of the stock shim
    // the same is left.
    let shim = ["socket /run/containerd/s/", "/.one", DELEGATE, " serve "].as_slice();
    for (who, known) in
        [(" serve ", files), (" start ", shim), (DELEGATE, files), ("bestfit-worker", &[]), ("bestfit-decider", &[])]
    {
        for delay in (10..130).step_by(20) {
            let mut client = world.node.ctr().spawn(&["run", "--rm", "--runtime", OURS, &image.reference, "one"]);
            std::thread::sleep(Duration::from_millis(delay));
            for pid in processes_with(who) {
                kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
            }
            eventually("ctr ends", Duration::from_secs(30), || client.try_wait().expect("wait"));
            clear(world);
            let left = left_by_us(world, known);
            assert!(left.is_empty(), "{who} killed after {delay} ms left\n    {}", left.join("\n    "));
        }
    }
    // After all that, the next one works.
    let out = world.node.ctr().run(OURS, &[], &image.reference, "one", &[]).ok();
    assert_eq!(build(&out), "better");
}

fn containerd_killed_during_create(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    for delay in (10..130).step_by(15) {
        let mut client = world.node.ctr().spawn(&["run", "--rm", "--runtime", OURS, &image.reference, "one"]);
        std::thread::sleep(Duration::from_millis(delay));
        world.node.stop(Signal::SIGKILL);
        eventually("ctr ends", Duration::from_secs(30), || client.try_wait().expect("wait"));
        world.node.resume();
        clear(world);
        // What ctr made and could not remove any more.
        world.node.ctr().call(&["snapshots", "rm", "one"]);
        for lease in world.node.ctr().lines(&["leases", "ls", "-q"]) {
            world.node.ctr().call(&["leases", "rm", &lease]);
        }
        // A relay that has its delegate is no more than a shim that was forgotten; one without, a worker or a decider would be
        // ours.
        let mut known = FORGOTTEN.to_vec();
        if !processes_with(DELEGATE).is_empty() {
            known.push(RELAY);
        }
        let left = left_by_us(world, &known);
        assert!(left.is_empty(), "containerd killed after {delay} ms left\n    {}", left.join("\n    "));
    }
    let out = world.node.ctr().run(OURS, &[], &image.reference, "one", &[]).ok();
    assert_eq!(build(&out), "better");
}
