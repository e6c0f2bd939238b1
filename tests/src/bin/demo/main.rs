//! The demo: one image name, run by the stock runtime and by bestfit on a private containerd, and why the builds differ.
//!
//! [`builds`] compiles the entries, [`older`] makes up an older host to ask for, [`signed`] is the second part: who may steer
//! the choice. [`stop`] leaves nothing behind.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a demo that cannot go on panics and cleans up"
)]

mod builds;
mod older;
mod signed;
mod stop;

use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;
use std::time::Instant;

use bestfit_tests::command::Output;
use bestfit_tests::ctr::{OURS, STOCK};
use bestfit_tests::image::{Descriptor, Image, Index};
use bestfit_tests::node::{Node, Options};
use bestfit_tests::peers::{self, Containerd};
use bestfit_tests::registry::{Kind, Registry};
use bestfit_tests::{artifact, isolate, record};
use builds::BUILDS;
use serde_json::{Value, json};

fn main() -> ExitCode {
    if std::env::consts::ARCH != "x86_64" {
        println!("SKIP: the demo compares builds for x86-64 levels, and this machine is {}", std::env::consts::ARCH);
        return ExitCode::SUCCESS;
    }
    // isolate starts this program twice more, inside of what it sets up; only the outermost one stays to clean up.
    if std::env::var_os("BESTFIT_TESTS_STAGE").is_some() {
        return isolate::isolated(demo).unwrap_or(ExitCode::FAILURE);
    }
    let stop = stop::on_signal();
    let ended = isolate::isolated(demo);
    stop::clean_up();
    match ended {
        _ if stop.was_asked() => {
            println!("\nstopped; everything is removed");
            ExitCode::from(130)
        }
        Ok(code) => code,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What is set up for the demo; all of it ends with the value.
struct Stage {
    node: Node,
    registry: Registry,
    reference: String,
    /// The digests of the entries, in the order of [`BUILDS`].
    entries: Vec<String>,
}

fn demo() -> ExitCode {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref().copied());
        let text = text.unwrap_or("no text");
        eprintln!("\nerror: {text}");
    }));
    match set_up() {
        Ok(mut stage) => {
            let code = both_parts(&mut stage);
            step("remove containerd, registry, containers and directories", || drop(stage));
            code
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The second part needs cosign; what cannot be shown is no failure, and is said.
fn both_parts(stage: &mut Stage) -> ExitCode {
    let first = show(stage);
    match signed::show(stage) {
        Ok(true) => first,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            println!("  SKIP: the second part, signed artifacts, is NOT shown: {why}");
            first
        }
    }
}

fn set_up() -> Result<Stage, String> {
    // The decider has a user id of its own and works in the cache below.
    let dir = isolate::dir();
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).map_err(|error| error.to_string())?;
    heading("Setting up: a private containerd and a registry on 127.0.0.1");
    let line = peers::any_containerd().ok_or("no containerd is here: run `tests/setup/setup.sh demo`")?;
    let node = step("start containerd", || Node::start(line, Options::default()))?;
    println!("    {}", version(&node));
    let registry = step("start docker-registry", || Registry::start(Kind::Docker))?;
    let (images, notes) = step("compile tests/demo/matmul.rs for baseline, v3, v4 and arm64", compile);
    notes.iter().for_each(|note| println!("    note: {note}"));
    let index = Index::of(&images);
    let reference =
        step("push them as one index of entries 0 to 3, in this order", || registry.push("demo/matmul", "v1", &index));
    let by = if peers::program("oras").is_some() { "oras" } else { "this demo's own client (no oras here)" };
    step(&format!("attach a compatibility artifact to each, by {by}"), || attach(&registry, &index));
    step("pull the image for this machine, as kubelet or ctr would", || pull(&node, &reference));
    let entries = index.entries.iter().map(|entry| entry.descriptor.digest.clone()).collect();
    Ok(Stage { node, registry, reference, entries })
}

fn compile() -> (Vec<Image>, Vec<String>) {
    let (images, notes): (Vec<_>, Vec<_>) = BUILDS.iter().map(builds::Build::image).unzip();
    (images, notes.into_iter().flatten().collect())
}

fn attach(registry: &Registry, index: &Index) {
    for (build, entry) in BUILDS.iter().zip(&index.entries) {
        let document = artifact::compatibilities(&json!({"io.archspec": {"cpu.target": build.target}}));
        let subject: &Descriptor = &entry.descriptor;
        if artifact::attach_with_oras(registry, "demo/matmul", subject, &document).is_err() {
            artifact::attach(registry, "demo/matmul", subject, &document);
        }
    }
}

/// The client of containerd 2 takes plain http only with `--local`, which older ones do not all know.
fn pull(node: &Node, reference: &str) {
    let ctr = node.ctr();
    let local = node.line == Containerd::System && ctr.call(&["images", "pull", "--help"]).stdout.contains("--local");
    ctr.pull_with(if local { &["--local"] } else { &[] }, reference);
}

/// What one run of the image said.
struct Run {
    build: String,
    speed: f64,
    sum: String,
}

fn run(stage: &Stage, runtime: &str, id: &str) -> Run {
    println!("  $ ctr run --rm --runtime {runtime} {} {id}", stage.reference);
    let out = stage.node.ctr().run(runtime, &[], &stage.reference, id, &[]).ok();
    let field = |name: &str| word(&out, name).unwrap_or_else(|| panic!("no {name} in {out}"));
    let speed = field("gflops").parse().expect("a number");
    let run = Run { build: field("build"), speed, sum: field("sum") };
    println!(
        "    the {} build ran: {:.1} GFLOP/s ({:.1} s with start and end)",
        run.build,
        speed,
        out.took.as_secs_f64()
    );
    run
}

fn word(out: &Output, name: &str) -> Option<String> {
    out.stdout.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
}

fn show(stage: &Stage) -> ExitCode {
    heading("The same image name, twice");
    let stock = run(stage, STOCK, "stock");
    let ours = run(stage, OURS, "bestfit");

    heading("Why");
    explain(stage, &["explain", &stage.reference]);

    heading("Speed, measured in the two runs above");
    bars(&[(STOCK, &stock), (OURS, &ours)]);
    println!("  {:.2} times as fast; the same result: {}", ours.speed / stock.speed, same(&stock, &ours));

    let host = stage.node.bestfit(&["host", "--json"]).ok();
    let host: Value = serde_json::from_str(&host.stdout).expect("facts as JSON");
    let level = host["facts"]["host"]["cpu.level"]["value"].as_str().unwrap_or("unknown").to_owned();
    let older = on_older(stage, &host, &level);
    let code = verdict(stage, &stock, &ours, &level);
    if older { code } else { ExitCode::FAILURE }
}

/// Asks for older hosts: the explanation for the nearest one, and what each of them would run. Whether that is right.
fn on_older(stage: &Stage, host: &Value, level: &str) -> bool {
    heading("On an older CPU: this host's facts, edited");
    let levels: &[u8] = if level == "v4" { &[3, 2] } else { &[2] };
    let mut right = true;
    for (number, older) in levels.iter().enumerate() {
        let file = isolate::dir().join(format!("v{older}.json"));
        std::fs::write(&file, older::facts(host.clone(), *older).to_string()).expect("a file");
        let args = ["explain", &stage.reference, "--facts", &file.display().to_string()];
        if number == 0 {
            explain(stage, &args);
        }
        let record = stage.node.bestfit(&[args.as_slice(), &["--json"]].concat()).ok();
        let record: Value = serde_json::from_str(&record.stdout).expect("a record as JSON");
        let picked = stage.entries.iter().position(|digest| record["chosen"] == json!(digest));
        let picked = picked.map_or("none", |at| BUILDS[at].name);
        println!("  an x86-64-v{older} host runs the {picked} build");
        right &= picked == if *older == 3 { "x86-64-v3" } else { "baseline" };
    }
    right
}

fn verdict(stage: &Stage, stock: &Run, ours: &Run, level: &str) -> ExitCode {
    heading("Result");
    let records = stage.node.records();
    let applied = records.last().map_or("nothing", record::applied);
    if applied == "swapped" && ours.build != stock.build && ours.sum == stock.sum {
        println!("  swapped: {} ran in the place of {}", ours.build, stock.build);
        return ExitCode::SUCCESS;
    }
    if matches!(level, "v1" | "v2") && applied == "default" && ours.build == stock.build {
        println!("  no swap, rightly: this host is x86-64-{level}, and only the baseline build fits it");
        return ExitCode::SUCCESS;
    }
    println!("  FAILED: bestfit was to swap on this x86-64-{level} host, and its record says \"{applied}\"");
    records.iter().for_each(|record| println!("{record:#}"));
    println!("{}", std::fs::read_to_string(stage.node.log()).unwrap_or_default());
    println!("registry: {}", stage.registry.host);
    ExitCode::FAILURE
}

fn same(one: &Run, other: &Run) -> String {
    if one.sum == other.sum { format!("yes (sum {})", one.sum) } else { format!("NO: {} and {}", one.sum, other.sum) }
}

fn bars(runs: &[(&str, &Run)]) {
    let most = runs.iter().map(|(_, run)| run.speed).fold(0.0, f64::max);
    for (runtime, run) in runs {
        let bar = "#".repeat(bar_length(run.speed / most));
        println!("  {runtime:<24} {:<10} {:>7.1} GFLOP/s  {bar}", run.build, run.speed);
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share between 0 and 1")]
fn bar_length(share: f64) -> usize {
    (share * 30.0).round() as usize
}

fn explain(stage: &Stage, args: &[&str]) {
    println!("  $ bestfit {}", args.join(" "));
    let out = stage.node.bestfit(args).ok();
    out.stdout.lines().filter(|line| !line.trim().is_empty()).for_each(|line| println!("    {line}"));
}

fn version(node: &Node) -> String {
    let out = node.ctr().call(&["version"]).ok();
    let version = out.stdout.lines().rev().find_map(|line| line.trim().strip_prefix("Version:")).map(str::trim);
    format!("version {}, root and socket below {}", version.unwrap_or("?"), node.dir.display())
}

fn heading(text: &str) {
    println!("\n{text}");
}

/// Does one step, and says what and how long.
fn step<T>(what: &str, work: impl FnOnce() -> T) -> T {
    use std::io::Write;
    print!("  {what} ... ");
    std::io::stdout().flush().ok();
    let started = Instant::now();
    let done = work();
    println!("{:.1} s", started.elapsed().as_secs_f64());
    done
}
