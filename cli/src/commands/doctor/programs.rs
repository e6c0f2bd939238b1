//! Programs: whether containerd answers and finds the shim, whether the shim finds the others, and whether all are of one version.

use std::path::{Path, PathBuf};

use bestfit_config::Config;
use serde::Deserialize;

use super::{Check, State};
use crate::stages::program::{DECIDER, INSTALLED, WORKER, ask, beside, own_dir};

const SHIM: &str = "containerd-shim-bestfit-v1";
/// containerd's directory for add-ons, which it puts on its own `PATH` (containerd, `plugins/opt`).
const ADD_ONS: &str = "/opt/containerd/bin";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the worker says about containerd.
#[derive(Deserialize)]
struct Node {
    version: String,
    path: Option<String>,
    program: Option<PathBuf>,
}

/// Where containerd looks for shims.
struct Search {
    dirs: Vec<PathBuf>,
    /// Whether that is known, or taken to be as here.
    certain: bool,
}

pub(super) async fn checks(config: &Config, address: Option<&str>) -> Vec<Check> {
    let (containerd, node) = containerd(address).await;
    let search = Search::of(node.as_ref());
    let shim = search.find(SHIM);
    let dir = shim.as_deref().and_then(Path::parent).map(Path::to_owned).or_else(own_dir);
    let mut checks = vec![containerd, shim_check(shim.as_deref(), &search).await];
    for (name, program) in [("worker", WORKER), ("decider", DECIDER)] {
        checks.push(match beside(dir.as_deref(), program) {
            Some(file) => version(name, &file, "--version").await,
            None => {
                let place = dir.as_deref().unwrap_or(Path::new("")).display().to_string();
                Check::new(name, State::Wrong, format!("{program} is neither in {place} nor in {INSTALLED}"))
                    .hint("install it there: without it nothing is swapped")
            }
        });
    }
    checks.push(delegate(&config.delegate, &search));
    checks
}

async fn containerd(address: Option<&str>) -> (Check, Option<Node>) {
    const NAME: &str = "containerd";
    let Some(worker) = beside(own_dir().as_deref(), WORKER) else {
        let why = format!("not asked: {WORKER} is neither beside this program nor in {INSTALLED}");
        return (Check::new(NAME, State::Unknown, why), None);
    };
    let mut line = vec!["node"];
    line.extend(address.iter().flat_map(|socket| ["--address", socket]));
    let said = match ask(&worker, &line).await {
        Ok(said) => said,
        Err(error) => return (Check::new(NAME, State::Unknown, format!("{}: {error}", worker.display())), None),
    };
    if !said.status.success() {
        let why = said.complaint.lines().next().unwrap_or_default().trim_start_matches("bestfit-worker: ").to_owned();
        let check = match said.status.code() {
            Some(77) => Check::new(NAME, State::Unknown, why).hint("run it as root: containerd's socket is root's"),
            _ => Check::new(NAME, State::Wrong, why)
                .hint("is it running? --address names another socket than /run/containerd/containerd.sock"),
        };
        return (check, None);
    }
    match serde_json::from_slice::<Node>(&said.output) {
        Ok(node) => (Check::ok(NAME, &node.version), Some(node)),
        Err(error) => (Check::new(NAME, State::Unknown, format!("{}: {error}", worker.display())), None),
    }
}

impl Search {
    /// As containerd does: its own `PATH`, beside itself, its add-ons.
    fn of(node: Option<&Node>) -> Self {
        let of_containerd = node.and_then(|node| node.path.clone());
        let certain = of_containerd.is_some();
        let path = of_containerd.or_else(|| std::env::var("PATH").ok()).unwrap_or_default();
        let beside = node.and_then(|node| Some(node.program.as_ref()?.parent()?.to_owned()));
        let dirs = std::env::split_paths(&path).chain(beside).chain([ADD_ONS.into()]).collect();
        Self { dirs, certain }
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        self.dirs.iter().map(|dir| dir.join(program)).find(|file| file.is_file())
    }

    fn words(&self) -> &'static str {
        if self.certain { "where containerd looks" } else { "on this shell's PATH; containerd's own could not be seen" }
    }
}

async fn shim_check(shim: Option<&Path>, search: &Search) -> Check {
    if let Some(file) = shim {
        // Its other lines are the delegate's.
        return version("shim", file, "-v").await;
    }
    let why = format!("{SHIM} is not {}", search.words());
    match beside(own_dir().as_deref(), SHIM) {
        Some(file) => Check::new("shim", State::Warning, format!("{why}, but at {}", file.display()))
            .hint("name this path in containerd's configuration (runtime_path), or install it into /usr/local/bin"),
        None => Check::new("shim", State::Wrong, why).hint("install it into /usr/local/bin"),
    }
}

/// Whether a program is of this version.
async fn version(name: &'static str, file: &Path, flag: &str) -> Check {
    let place = file.display();
    let said = match ask(file, &[flag]).await {
        Ok(said) => said,
        Err(error) => return Check::new(name, State::Wrong, format!("{place}: {error}")),
    };
    let text = String::from_utf8_lossy(&said.output).into_owned();
    let found = text
        .lines()
        .take(8)
        .flat_map(str::split_whitespace)
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    match found {
        Some(VERSION) => Check::ok(name, format!("{place} {VERSION}")),
        Some(other) => Check::new(name, State::Wrong, format!("{place} is version {other}, this is {VERSION}"))
            .hint("install all programs from one package"),
        None => Check::new(name, State::Wrong, format!("{place} does not say its version ({})", said.status))
            .hint("install all programs from one package"),
    }
}

fn delegate(name: &str, search: &Search) -> Check {
    let found = match Path::new(name).is_absolute() {
        true => Some(PathBuf::from(name)).filter(|file| file.is_file()),
        false => search.find(name),
    };
    match found {
        Some(file) => Check::ok("delegate", file.display().to_string()),
        None => Check::new("delegate", State::Wrong, format!("{name} is not {}", search.words()))
            .hint("it is the shim that runs the containers: install it, or set `delegate`"),
    }
}
