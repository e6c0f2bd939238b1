//! Whoever is killed when: nothing stays behind.

use std::time::Duration;

use bestfit_tests::command::eventually;
use bestfit_tests::ctr::OURS;
use bestfit_tests::image::Image;
use bestfit_tests::leftovers::processes_with;
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
    Scenario { name: "relay or worker killed during create, at many points", run: killed_during_create },
];

const RELAY: &str = "containerd-shim-bestfit-v1";
const DELEGATE: &str = "containerd-shim-runc-v2";

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

/// What is left and can be laid at bestfit's door. A `runc` that is killed in the middle of its create, which is what
/// containerd does to it when the client or the shim goes away, leaves `runc init` and cgroups behind: with the stock
/// shim in our place the same scenarios leave the same. That much is said, swept away, and not counted.
fn left_by_us(world: &World) -> Vec<String> {
    let left = world.node.leftovers();
    let by_runc = |line: &String| line.starts_with("cgroup ") || line.trim_end().ends_with(": runc init");
    if !left.is_empty() && left.iter().all(by_runc) {
        println!("    note: a killed runc left {} things, as it does with the stock shim", left.len());
        world.node.sweep();
        return Vec::new();
    }
    left.into_iter().filter(|line| !by_runc(line)).collect()
}

fn client_killed(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    for delay in (0..160).step_by(20) {
        let mut client = world.node.ctr().spawn(&["run", "--rm", "--runtime", OURS, &image.reference, "one"]);
        std::thread::sleep(Duration::from_millis(delay));
        client.kill().ok();
        client.wait().ok();
        // The create may still be under way in containerd.
        std::thread::sleep(Duration::from_millis(300));
        clear(world);
        // A ctr that was killed leaves its own lease for a day; with the stock shim as well.
        for lease in world.node.ctr().lines(&["leases", "ls", "-q"]) {
            world.node.ctr().call(&["leases", "rm", &lease]);
        }
        let left = left_by_us(world);
        assert!(left.is_empty(), "ctr killed after {delay} ms left\n    {}", left.join("\n    "));
    }
}

fn killed_during_create(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    for who in [RELAY, "bestfit-worker", "bestfit-decider"] {
        for delay in (10..130).step_by(20) {
            let mut client = world.node.ctr().spawn(&["run", "--rm", "--runtime", OURS, &image.reference, "one"]);
            std::thread::sleep(Duration::from_millis(delay));
            for pid in processes_with(who) {
                kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
            }
            eventually("ctr ends", Duration::from_secs(30), || client.try_wait().expect("wait"));
            clear(world);
            let left = left_by_us(world);
            assert!(left.is_empty(), "{who} killed after {delay} ms left\n    {}", left.join("\n    "));
        }
    }
    // After all that, the next one works.
    let out = world.node.ctr().run(OURS, &[], &image.reference, "one", &[]).ok();
    assert_eq!(build(&out), "better");
}
