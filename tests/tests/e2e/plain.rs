//! A container through bestfit behaves as through the stock shim: each scenario runs with both, and compares.

use std::time::Duration;

use bestfit_tests::command::{Output, eventually};
use bestfit_tests::ctr::{OURS, STOCK};
use bestfit_tests::image::{Image, Index};
use bestfit_tests::node::Settings;
use bestfit_tests::peers;
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World, skip};
use serde_json::json;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "the stock runtime runs the test image", run: stock_runs },
    Scenario { name: "an index without artifacts: same output, status 0", run: same_output },
    Scenario { name: "exit statuses come through", run: exit_statuses },
    Scenario { name: "piped stdin and its end come through", run: piped_stdin },
    Scenario { name: "run -t gives a terminal", run: terminal },
    Scenario { name: "run -d, exec, exec -t, kill, wait, rm", run: detached },
    Scenario { name: "pause and resume", run: pause_and_resume },
    Scenario { name: "metrics, and a limit read back", run: metrics },
    Scenario { name: "a delegate of another line: versions are bridged", run: other_delegates },
];

/// Pushes an index of two builds without artifacts and pulls it.
fn plain_image(world: &mut World) -> String {
    let repository = world.repository();
    let index = Index::of(&[Image::new("plain"), Image::new("other").variant("v3")]);
    let reference = world.registry(Kind::Docker).push(&repository, "1", &index);
    world.node.ctr().pull(&reference);
    reference
}

/// What both runtimes must agree on.
#[track_caller]
fn same(stock: &Output, ours: &Output) {
    assert_eq!((stock.code, &stock.stdout), (ours.code, &ours.stdout), "stock and ours differ:\n{stock}\n{ours}");
}

fn stock_runs(world: &mut World) {
    let image = plain_image(world);
    let out = world.node.ctr().run(STOCK, &[], &image, "one", &[]).ok();
    assert!(out.stdout.starts_with("build=plain\ncwd=/\nuid=0\narg=/probe\narg=report\n"), "{out}");
}

fn same_output(world: &mut World) {
    let image = plain_image(world);
    let ctr = world.node.ctr();
    let flags = ["--env", "A=b c", "--cwd", "/work"];
    let [stock, ours] =
        [STOCK, OURS].map(|runtime| ctr.run(runtime, &flags, &image, "one", &["/probe", "report", "x"]));
    same(&stock.ok(), &ours.ok());
}

fn exit_statuses(world: &mut World) {
    let image = plain_image(world);
    let ctr = world.node.ctr();
    for status in ["0", "1", "7", "255"] {
        let [stock, ours] =
            [STOCK, OURS].map(|runtime| ctr.run(runtime, &[], &image, "one", &["/probe", "exit", status]));
        same(&stock, &ours);
        assert_eq!(ours.code, status.parse().ok(), "{ours}");
    }
    let [stock, ours] = [STOCK, OURS].map(|runtime| ctr.run(runtime, &[], &image, "one", &["/missing"]));
    same(&stock.failed(), &ours.failed());
}

fn piped_stdin(world: &mut World) {
    let image = plain_image(world);
    let input = "line\n".repeat(40_000);
    let [stock, ours] = [STOCK, OURS].map(|runtime| {
        let args = ["run", "--rm", "--runtime", runtime, &image, "one", "/probe", "cat"];
        world.node.ctr().call_with(&args, input.as_bytes()).ok()
    });
    assert_eq!(ours.stdout.len(), input.len() + "end of input\n".len());
    same(&stock, &ours);
}

fn terminal(world: &mut World) {
    let image = plain_image(world);
    let [stock, ours] = [STOCK, OURS].map(|runtime| {
        let args = ["run", "--rm", "-t", "--runtime", runtime, &image, "one", "/probe", "tty"];
        // The probe waits for Enter: ctr of 1.6 and 2.1 may lose what a task wrote that ends at once, with the stock shim too
        // (in 600 runs each, 3 with the stock shim and 4 with ours).
        world.node.ctr().call_on_terminal(&args).ok()
    });
    assert!(ours.stdout.contains("a terminal"), "{ours}");
    same(&stock, &ours);
}

fn detached(world: &mut World) {
    let image = plain_image(world);
    let ctr = world.node.ctr();
    for runtime in [STOCK, OURS] {
        ctr.start(runtime, &["--env", "A=1"], &image, "one", &["/probe", "hold"]).ok();
        assert_eq!(ctr.status("one").as_deref(), Some("RUNNING"), "{runtime}");
        let exec = ctr.call(&["tasks", "exec", "--exec-id", "e1", "one", "/probe", "report"]).ok();
        assert!(exec.stdout.starts_with("build=plain\n") && exec.stdout.contains("env=A=1\n"), "{exec}");
        let exec = ctr.call(&["tasks", "exec", "--exec-id", "e2", "one", "/probe", "exit", "9"]);
        assert_eq!(exec.code, Some(9), "{exec}");
        let exec = ctr.call_on_terminal(&["tasks", "exec", "-t", "--exec-id", "e3", "one", "/probe", "tty"]).ok();
        assert!(exec.stdout.contains("a terminal"), "{exec}");
        ctr.call(&["tasks", "kill", "-s", "SIGTERM", "one"]).ok();
        eventually("the task has stopped", Duration::from_secs(10), || (ctr.status("one")? == "STOPPED").then_some(()));
        let removed = ctr.call(&["tasks", "rm", "one"]);
        assert!(removed.clone().ok().stderr.contains("143"), "{runtime}: {removed}");
        ctr.call(&["containers", "rm", "one"]).ok();
    }
}

fn pause_and_resume(world: &mut World) {
    let image = plain_image(world);
    let ctr = world.node.ctr();
    ctr.start(OURS, &[], &image, "one", &["/probe", "hold"]).ok();
    ctr.call(&["tasks", "pause", "one"]).ok();
    assert_eq!(ctr.status("one").as_deref(), Some("PAUSED"));
    ctr.call(&["tasks", "resume", "one"]).ok();
    assert_eq!(ctr.status("one").as_deref(), Some("RUNNING"));
    ctr.remove("one");
}

fn metrics(world: &mut World) {
    let image = plain_image(world);
    let ctr = world.node.ctr();
    ctr.start(OURS, &["--memory-limit", "67108864"], &image, "one", &["/probe", "hold"]).ok();
    let metrics = ctr.call(&["tasks", "metrics", "--format", "json", "one"]).ok();
    let metrics: serde_json::Value = serde_json::from_str(&metrics.stdout).expect("metrics as JSON");
    assert_ne!(metrics, json!({}));
    let limit = || metrics_text(world).contains("67108864");
    assert!(limit(), "the limit is not in the metrics: {}", metrics_text(world));
    ctr.remove("one");
}

/// The shims of other lines speak another version of the task service, or answer `start` in another form.
fn other_delegates(world: &mut World) {
    let image = plain_image(world);
    let others = peers::lines().into_iter().filter(|line| *line != world.node.line);
    let shims: Vec<_> = others.filter_map(|line| line.program("containerd-shim-runc-v2")).collect();
    if shims.is_empty() {
        skip("no other line is here");
    }
    for shim in shims {
        let delegate = shim.canonicalize().expect("checked by program()").display().to_string();
        world.node.configure(&Settings { delegate: Some(delegate.clone()), ..Settings::default() });
        let ctr = world.node.ctr();
        ctr.start(OURS, &[], &image, "one", &["/probe", "hold"]).ok();
        assert_eq!(ctr.status("one").as_deref(), Some("RUNNING"), "{delegate}");
        let exec = ctr.call(&["tasks", "exec", "--exec-id", "e", "one", "/probe", "exit", "9"]);
        assert_eq!(exec.code, Some(9), "{delegate}: {exec}");
        ctr.remove("one");
    }
}

fn metrics_text(world: &World) -> String {
    world.node.ctr().call(&["tasks", "metrics", "--format", "json", "one"]).ok().stdout
}
