//! A worker that dies exactly between removing the container's snapshot and preparing the new one: the one moment in which
//! the container has none.

use std::process::Child;
use std::time::Duration;

use bestfit_tests::command::eventually;
use bestfit_tests::ctr::TOLD;
use bestfit_tests::gate::Gate;
use bestfit_tests::image::Image;
use bestfit_tests::leftovers::processes_with;
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::prepared::{Prepared, build, pair, prepare};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "the worker dies between remove and prepare: the default runs at once", run: worker },
    Scenario { name: "containerd is slow between remove and prepare: the default runs within the deadline", run: slow },
    Scenario { name: "worker and relay die between remove and prepare: delete puts the snapshot back", run: both },
    Scenario { name: "all die between remove and prepare: the next create puts the snapshot back", run: all },
];

const RELAY: &str = " serve ";
const WORKER: &str = "bestfit-worker";

/// An image, and a gate at which its swap stands still.
fn stand(world: &mut World) -> (Prepared, Gate) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    let gate = Gate::before(&world.node, "Snapshots/Remove", "one");
    world.node.tell_shim_of(&gate.socket);
    (image, gate)
}

/// The container has no snapshot now.
#[track_caller]
fn stands(world: &World, gate: &Gate) {
    gate.wait();
    assert!(!has_snapshot(world), "the snapshot is still there");
    gate.open();
}

#[track_caller]
fn kill_the(who: &str) {
    let found = processes_with(who);
    assert_eq!(found.len(), 1, "{who}: {found:?}");
    kill(Pid::from_raw(found[0]), Signal::SIGKILL).expect("kill");
}

fn has_snapshot(world: &World) -> bool {
    world.node.ctr().call(&["snapshots", "info", "one"]).is_ok()
}

#[track_caller]
fn nothing_begun(world: &World) {
    let journals = world.node.journals();
    assert!(journals.is_empty(), "{journals:?}");
}

fn worker(world: &mut World) {
    let (image, gate) = stand(world);
    let mut client = world.node.ctr().spawn(&["run", "--rm", "--runtime", TOLD, &image.reference, "one"]);
    stands(world, &gate);
    kill_the(WORKER);
    eventually("ctr ends", Duration::from_secs(30), || client.try_wait().expect("wait"));
    let out = client.wait_with_output().expect("ctr's output");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && said.starts_with("build=plain\n"), "{out:?}");
    nothing_begun(world);
}

/// The worker is ended when the request's time is nearly over, and containerd answers it just then: what it would put back by
/// itself would lie in a directory that nobody tells the delegate.
fn slow(world: &mut World) {
    let (image, gate) = stand(world);
    let run = ["--timeout", "12s", "run", "--rm", "--runtime", TOLD, &image.reference, "one"];
    let mut client = world.node.ctr().spawn(&run);
    stands(world, &gate);
    let worker = processes_with(WORKER);
    // Without an end, it would go on as soon as it has its answer; two seconds are left then.
    std::thread::sleep(Duration::from_millis(10_300));
    gate.answer();
    eventually("ctr ends", Duration::from_secs(30), || client.try_wait().expect("wait"));
    let out = client.wait_with_output().expect("ctr's output");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && said.starts_with("build=plain\n"), "{out:?}");
    assert!(processes_with(WORKER).iter().all(|pid| !worker.contains(pid)), "the worker is still there");
    nothing_begun(world);
}

/// Starts a container, and leaves its swap in the middle.
fn begin(world: &mut World) -> (Prepared, Gate, Child) {
    let (image, gate) = stand(world);
    world.node.ctr().call(&["containers", "create", "--runtime", TOLD, &image.reference, "one"]).ok();
    let client = world.node.ctr().spawn(&["tasks", "start", "one"]);
    stands(world, &gate);
    (image, gate, client)
}

#[track_caller]
fn fails(client: &mut Child) {
    let status = eventually("ctr ends", Duration::from_secs(30), || client.try_wait().expect("wait"));
    assert!(!status.success(), "started without a relay");
}

fn both(world: &mut World) {
    let (_image, _gate, mut client) = begin(world);
    kill_the(RELAY);
    kill_the(WORKER);
    fails(&mut client);
    eventually("the snapshot is back", Duration::from_secs(10), || has_snapshot(world).then_some(()));
    nothing_begun(world);
    // As if nothing had been: the next start chooses again.
    let ctr = world.node.ctr();
    assert_eq!(build(&ctr.call(&["tasks", "start", "one"]).ok()), "better");
    ctr.remove("one");
}

fn all(world: &mut World) {
    let (image, gate, mut client) = begin(world);
    world.node.stop(Signal::SIGKILL);
    kill_the(RELAY);
    // It may have noticed, and have given up: what it leaves is the same.
    processes_with(WORKER).into_iter().for_each(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_default());
    fails(&mut client);
    world.node.resume();
    let ctr = world.node.ctr();
    assert_eq!(build(&ctr.run(TOLD, &[], &image.reference, "two", &[]).ok()), "better");
    assert!(has_snapshot(world), "the next create has not put it back");
    nothing_begun(world);
    // Its bundle is gone as well: the next start makes it anew.
    assert_eq!(build(&ctr.call(&["tasks", "start", "one"]).ok()), "better");
    ctr.remove("one");
    drop(gate);
}
