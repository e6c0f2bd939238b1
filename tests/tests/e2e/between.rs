//! A worker that dies exactly between removing the container's snapshot and preparing the new one, the one moment in which
//! the container has none; and journals that stay although their container runs.

use std::fs::File;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, SystemTime};

use bestfit_tests::command::eventually;
use bestfit_tests::ctr::{OURS, TOLD};
use bestfit_tests::gate::Gate;
use bestfit_tests::image::{Image, base_layer};
use bestfit_tests::leftovers::processes_with;
use bestfit_tests::node::Settings;
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World};
use bestfit_tests::tar::Tar;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::prepared::{Prepared, build, pair, prepare};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "the worker dies between remove and prepare: the default runs at once", run: worker },
    Scenario { name: "containerd is slow between remove and prepare: the default runs within the deadline", run: slow },
    Scenario { name: "worker and relay die between remove and prepare: delete puts the snapshot back", run: both },
    Scenario { name: "all die between remove and prepare: a later create puts the snapshot back", run: all },
    Scenario {
        name: "all die between remove and prepare: mode off puts the snapshot back",
        run: |world| all_then(world, off),
    },
    Scenario {
        name: "all die between remove and prepare: a broken configuration puts the snapshot back",
        run: |world| all_then(world, broken),
    },
    Scenario { name: "who puts back dies before the relay has the mounts: the default runs", run: told_again },
    Scenario { name: "another worker undoes the journal at the same time: the default runs", run: at_the_same_time },
    Scenario { name: "a journal that was left undoes nothing under a running container", run: left_while_running },
    Scenario { name: "a journal that cannot be read: the container is refused", run: unreadable },
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
pub(crate) fn nothing_begun(world: &World) {
    // Nobody waits until it is closed.
    eventually("no journal is left", Duration::from_secs(5), || world.node.journals().is_empty().then_some(()));
}

/// Waits for ctr, which must have run what containerd chose.
pub(crate) fn the_default_ran(mut client: Child) {
    eventually("ctr ends", Duration::from_secs(30), || client.try_wait().expect("wait"));
    let out = client.wait_with_output().expect("ctr's output");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && said.starts_with("build=plain\n"), "{out:?}");
}

fn worker(world: &mut World) {
    let (image, gate) = stand(world);
    let client = world.node.ctr().spawn(&["run", "--rm", "--runtime", TOLD, &image.reference, "one"]);
    stands(world, &gate);
    kill_the(WORKER);
    the_default_ran(client);
    nothing_begun(world);
}

/// The worker is ended when the request's time is nearly over, and containerd answers it just then: what it would put back by
/// itself would lie in a directory that nobody tells the delegate.
fn slow(world: &mut World) {
    let (image, gate) = stand(world);
    let run = ["--timeout", "12s", "run", "--rm", "--runtime", TOLD, &image.reference, "one"];
    let client = world.node.ctr().spawn(&run);
    stands(world, &gate);
    let worker = processes_with(WORKER);
    // Without an end, it would go on as soon as it has its answer; two seconds are left then.
    eventually("the worker is ended", Duration::from_secs(15), || {
        processes_with(WORKER).iter().all(|pid| !worker.contains(pid)).then_some(())
    });
    gate.answer();
    the_default_ran(client);
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

/// Makes a journal look as if it had been left long ago.
pub(crate) fn age(journal: &Path) {
    let file = File::options().append(true).open(journal).expect("the journal");
    file.set_modified(SystemTime::now() - Duration::from_secs(600)).expect("its time");
}

/// Leaves a swap in the middle with nobody there to undo it.
pub(crate) fn abandon(world: &mut World) -> (Prepared, Gate) {
    let (image, gate, client) = begin(world);
    all_die(world, client);
    (image, gate)
}

fn all_die(world: &mut World, mut client: Child) {
    world.node.stop(Signal::SIGKILL);
    kill_the(RELAY);
    // It may have noticed, and have given up: what it leaves is the same.
    processes_with(WORKER).into_iter().for_each(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_default());
    fails(&mut client);
    // As after a loss of power, which takes the bundle: its mark has `delete` put things back.
    std::fs::remove_file(world.node.bundles().join("one/bestfit-rebase")).expect("the mark");
    world.node.resume();
}

fn told_again(world: &mut World) {
    let [plain, (better, fits)] = pair(Image::new("better").with("Env", json!(["PATH=/usr/bin:/bin", "WHICH=better"])));
    let image = prepare(world, Kind::Docker, &[plain, (better, fits)]);
    // The chosen snapshot is there: a start names its mounts.
    let gate = Gate::before(&world.node, "Containers/Update", "spec");
    world.node.tell_shim_of(&gate.socket);
    world.node.ctr().call(&["containers", "create", "--runtime", TOLD, &image.reference, "one"]).ok();
    let client = world.node.ctr().spawn(&["tasks", "start", "one"]);
    gate.wait();
    gate.open();
    all_die(world, client);
    let gate = Gate::before(&world.node, "Snapshots/Remove", "one");
    let client = world.node.ctr().spawn(&["tasks", "start", "one"]);
    stands(world, &gate);
    let relay = Pid::from_raw(processes_with(RELAY)[0]);
    kill(relay, Signal::SIGSTOP).expect("kill");
    gate.answer();
    eventually("the snapshot is back", Duration::from_secs(10), || has_snapshot(world).then_some(()));
    // It has said so as well, to a relay that does not hear.
    std::thread::sleep(Duration::from_millis(500));
    kill_the(WORKER);
    // While it is dying, its end of the socket still takes the relay's word.
    std::thread::sleep(Duration::from_millis(500));
    kill(relay, Signal::SIGCONT).expect("kill");
    the_default_ran(client);
    nothing_begun(world);
    world.node.ctr().remove("one");
}

fn all(world: &mut World) {
    let (image, gate) = abandon(world);
    let two = || build(&world.node.ctr().run(TOLD, &[], &image.reference, "two", &[]).ok()).to_owned();
    assert_eq!(two(), "better");
    // Its own relay, if it still had one, would have to name the new mounts.
    let journals = world.node.journals();
    assert_eq!(journals.len(), 1, "a young journal is left to the container's own relay: {journals:?}");
    age(&journals[0]);
    assert_eq!(two(), "better");
    put_back(world, gate, "better");
}

fn all_then(world: &mut World, change: fn(&World)) {
    let (image, gate) = abandon(world);
    world.node.journals().iter().for_each(|journal| age(journal));
    change(world);
    assert_eq!(build(&world.node.ctr().run(TOLD, &[], &image.reference, "two", &[]).ok()), "plain");
    put_back(world, gate, "plain");
}

pub(crate) fn off(world: &World) {
    world.node.reconfigure(&Settings { mode: "off", ..Settings::default() });
}

fn broken(world: &World) {
    let text = std::fs::read_to_string(world.node.bestfit_config()).expect("bestfit's configuration");
    world.node.write_bestfit(&format!("{text}\nsurprise = 1\n"));
}

#[track_caller]
fn put_back(world: &World, gate: Gate, runs: &str) {
    assert!(has_snapshot(world), "the next create has not put it back");
    nothing_begun(world);
    // Its bundle is gone as well: the next start makes it anew.
    let ctr = world.node.ctr();
    assert_eq!(build(&ctr.call(&["tasks", "start", "one"]).ok()), runs);
    ctr.remove("one");
    drop(gate);
}

fn at_the_same_time(world: &mut World) {
    let (image, gate) = stand(world);
    let mut client = world.node.ctr().spawn(&["run", "--rm", "--runtime", TOLD, &image.reference, "one"]);
    stands(world, &gate);
    let journals = world.node.journals();
    let other = File::open(&journals[0]).expect("the journal");
    other.lock().expect("its lock");
    kill_the(WORKER);
    eventually("the relay asks for an undo", Duration::from_secs(5), || processes_with(WORKER).pop());
    std::thread::sleep(Duration::from_millis(300));
    assert!(client.try_wait().expect("wait").is_none(), "nobody waits for the one who undoes it");
    drop(other);
    the_default_ran(client);
    nothing_begun(world);
}

/// A root filesystem in which the runtime has nothing to make: a container that runs in it leaves nothing in its snapshot.
pub(crate) fn with_mount_points(image: Image) -> Image {
    let places = ["dev", "proc", "run", "sys"].iter().fold(Tar::default(), |tar, place| tar.dir(place, 0o755));
    image.on(vec![base_layer("shared"), places.finish()])
}

fn left_while_running(world: &mut World) {
    let hold = |build: &str| with_mount_points(Image::new(build).with("Cmd", json!(["hold"])));
    let [_, (better, fits)] = pair(hold("better"));
    let image = prepare(world, Kind::Docker, &[(hold("plain"), None), (better, fits)]);
    let gate = Gate::before(&world.node, "Snapshots/Remove", "one");
    world.node.tell_shim_of(&gate.socket);
    let mut client = world.node.ctr().spawn(&["run", "-d", "--runtime", TOLD, &image.reference, "one"]);
    gate.wait();
    let journal = world.node.journals().pop().expect("a journal");
    let text = std::fs::read(&journal).expect("the journal");
    gate.open();
    gate.answer();
    eventually("ctr ends", Duration::from_secs(30), || client.try_wait().expect("wait"));
    let ctr = world.node.ctr();
    eventually("the worker ends", Duration::from_secs(5), || processes_with(WORKER).is_empty().then_some(()));
    let before = ctr.call(&["snapshots", "info", "one"]).ok().stdout;
    assert!(before.contains("io.bestfit/chosen"), "{before}");
    // As if the worker had been killed before it removed its journal.
    std::fs::write(&journal, text).expect("the journal");
    age(&journal);
    assert_eq!(build(&ctr.run(TOLD, &[], &image.reference, "two", &["/probe", "report"]).ok()), "better");
    nothing_begun(world);
    assert_eq!(ctr.call(&["snapshots", "info", "one"]).ok().stdout, before, "the snapshot of a running container");
    let out = ctr.call(&["tasks", "exec", "--exec-id", "e", "one", "/probe", "report"]).ok();
    assert_eq!(build(&out), "better");
    ctr.remove("one");
}

fn unreadable(world: &mut World) {
    let image = prepare(world, Kind::Docker, &pair(Image::new("better")));
    let namespace = &world.node.namespace;
    let journal = world.node.state().join(format!("rebase/{namespace}+one.json"));
    std::fs::create_dir_all(journal.parent().expect("a directory")).expect("the journals' directory");
    std::fs::write(&journal, "{\"address\":").expect("a journal");
    let ctr = world.node.ctr();
    let out = ctr.run(OURS, &[], &image.reference, "one", &[]).failed();
    assert!(out.stderr.contains("cannot be put back"), "{out}");
    ctr.call(&["containers", "rm", "one"]);
    std::fs::remove_file(&journal).expect("the journal");
    assert_eq!(build(&ctr.run(OURS, &[], &image.reference, "one", &[]).ok()), "better");
}
