//! A Create whose mounts are gone by the time that it comes: the container runs in the snapshot that it has then. Its client asks for
//! the mounts before any shim is called, and the delegate's start is held up meanwhile.

use std::path::PathBuf;
use std::time::Duration;

use bestfit_tests::command::eventually;
use bestfit_tests::ctr::{OURS, TOLD};
use bestfit_tests::image::Image;
use bestfit_tests::leftovers::processes_with;
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World};
use serde_json::{Value, json};

use crate::between::{abandon, age, nothing_begun, off, the_default_ran};
use crate::prepared::{build, pair, prepare};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "moved mounts: the worker that would put them back is gone before Create", run: late },
    Scenario { name: "moved mounts: another container's worker put them back", run: by_another },
    Scenario { name: "moved mounts: a choice was made meanwhile", run: chosen },
];

/// Holds up the delegate's start for the container `one` until there is this file.
fn hold_up(world: &World) -> PathBuf {
    let (go, stock) = (world.node.dir.join("go"), world.node.line.program("containerd-shim-runc-v2"));
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *\"-id one \"*start*) while [ ! -e {} ]; do sleep 0.02; done;; esac\nexec {} \"$@\"\n",
        go.display(),
        stock.expect("the stock shim").display()
    );
    world.node.replace_program("containerd-shim-runc-v2", &script);
    go
}

fn go_on(world: &World, go: PathBuf) {
    std::fs::write(&go, "").expect("a file");
    world.node.link_programs();
}

/// Makes the snapshot anew, as a swap to the entry of this chain would.
fn swapped(world: &World, chain: &Value) {
    let (ctr, chain) = (world.node.ctr(), chain.as_str().expect("a chain id"));
    ctr.call(&["snapshots", "rm", "one"]);
    ctr.call(&["snapshots", "prepare", "one", chain]).ok();
    ctr.call(&["snapshots", "label", "one", "io.bestfit/chosen=one-that-fits"]).ok();
}

/// As if the worker had died one step later than it did: the new snapshot is there.
fn one_step_more(world: &World) {
    let journal = world.node.journals().pop().expect("a journal");
    let text = std::fs::read(&journal).expect("the journal");
    swapped(world, &serde_json::from_slice::<Value>(&text).expect("JSON")["new_parent"]);
}

fn is_looked_at() {
    let looks = || (!processes_with("bestfit-worker create ").is_empty()).then_some(());
    eventually("a worker looks at the container", Duration::from_secs(10), looks);
}

fn late(world: &mut World) {
    let (_image, gate) = abandon(world);
    one_step_more(world);
    off(world);
    let go = hold_up(world);
    let client = world.node.ctr().spawn(&["tasks", "start", "one"]);
    is_looked_at();
    let gone = || processes_with("bestfit-worker create ").is_empty().then_some(());
    eventually("that worker gives up", Duration::from_secs(10), gone);
    go_on(world, go);
    the_default_ran(client);
    nothing_begun(world);
    world.node.ctr().remove("one");
    drop(gate);
}

fn by_another(world: &mut World) {
    let (image, gate) = abandon(world);
    one_step_more(world);
    let go = hold_up(world);
    let client = world.node.ctr().spawn(&["tasks", "start", "one"]);
    is_looked_at();
    world.node.journals().iter().for_each(|journal| age(journal));
    assert_eq!(build(&world.node.ctr().run(TOLD, &[], &image.reference, "two", &[]).ok()), "better");
    nothing_begun(world);
    go_on(world, go);
    the_default_ran(client);
    world.node.ctr().remove("one");
    drop(gate);
}

fn chosen(world: &mut World) {
    let hold = |build: &str| Image::new(build).with("Cmd", json!(["hold"]));
    let [_, (better, fits)] = pair(hold("better"));
    let image = prepare(world, Kind::Docker, &[(hold("plain"), None), (better, fits)]);
    let ctr = world.node.ctr();
    ctr.start(OURS, &[], &image.reference, "two", &[]).ok();
    let info: Value = serde_json::from_str(&ctr.call(&["snapshots", "info", "two"]).ok().stdout).expect("JSON");
    ctr.remove("two");
    ctr.call(&["containers", "create", "--runtime", OURS, &image.reference, "one"]).ok();
    let go = hold_up(world);
    let mut client = ctr.spawn(&["tasks", "start", "-d", "one"]);
    is_looked_at();
    // It has looked, and has nothing to do but to wait for the request.
    std::thread::sleep(Duration::from_secs(1));
    swapped(world, &info["Parent"]);
    go_on(world, go);
    eventually("ctr ends", Duration::from_secs(30), || client.try_wait().expect("wait"));
    let out = ctr.call(&["tasks", "exec", "--exec-id", "e", "one", "/probe", "report"]).ok();
    assert_eq!(build(&out), "better");
    ctr.remove("one");
}
