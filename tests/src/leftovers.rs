//! Owns finding what should be gone after a container: in containerd's store, among processes, mounts, sockets, cgroups.
//!
//! The run has namespaces of its own ([`crate::isolate`]), so whatever is found there was left by the run.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::node::Node;

const PATIENCE: Duration = Duration::from_secs(8);
/// What does not change for so long is not ending any more.
const SETTLED: Duration = Duration::from_secs(1);
/// Where runc keeps a directory for each container, by containerd's namespace.
const RUNC: &str = "/run/containerd/runc";

/// What is left on a node, one line each. What is just ending gets some seconds.
pub fn of(node: &Node) -> Vec<String> {
    apart(node, |_| false).1
}

/// What is left on a node: what `known` names, which may stay as long as it likes and is waited for only until it no longer
/// changes; and the rest, which gets some seconds.
pub fn apart(node: &Node, known: impl Fn(&str) -> bool) -> (Vec<String>, Vec<String>) {
    let started = Instant::now();
    let (mut last, mut since) = (Vec::new(), Instant::now());
    loop {
        let (stays, rest): (Vec<_>, Vec<_>) = look(node).into_iter().partition(|line| known(line));
        if stays != last {
            (last, since) = (stays.clone(), Instant::now());
        }
        let settled = stays.is_empty() || since.elapsed() > SETTLED;
        if (rest.is_empty() && settled) || started.elapsed() > PATIENCE {
            return (stays, rest);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn look(node: &Node) -> Vec<String> {
    let mut found: Vec<String> = strangers().into_iter().map(|(pid, line)| format!("process {pid}: {line}")).collect();
    found.extend(mounts_below(&node.dir).into_iter().map(|mount| format!("mount {}", mount.display())));
    found.extend(listening(node).into_iter().map(|socket| format!("listening socket {socket}")));
    found.extend(socket_files(Path::new("/run")).into_iter().map(|file| format!("socket {}", file.display())));
    found.extend(entries(&node.bundles()).into_iter().map(|bundle| format!("bundle {}", bundle.display())));
    found.extend(cgroups(&node.namespace).into_iter().map(|group| format!("cgroup {}", group.display())));
    found.extend(runc_states().into_iter().map(|state| format!("runc state {}", state.display())));
    if found.is_empty() {
        found.extend(in_store(node));
    }
    found
}

/// What runc knows of: a container of that name cannot be created again.
fn runc_states() -> Vec<PathBuf> {
    entries(Path::new(RUNC)).iter().flat_map(|namespace| entries(namespace)).collect()
}

/// Containers, tasks and leases of the namespace, and every snapshot that is no layer.
fn in_store(node: &Node) -> Vec<String> {
    let mut found = Vec::new();
    for (what, args) in [
        ("container", ["containers", "ls", "-q"].as_slice()),
        ("task", ["tasks", "ls", "-q"].as_slice()),
        ("lease", ["leases", "ls", "-q"].as_slice()),
    ] {
        found.extend(node.ctr().lines(args).into_iter().map(|name| format!("{what} {name}")));
    }
    for snapshotter in ["overlayfs", "native"] {
        let rows = node.ctr().lines(&["snapshots", "--snapshotter", snapshotter, "ls"]);
        let rows = rows.iter().filter(|row| row.ends_with("Active") || row.trim_end().ends_with("View"));
        found.extend(
            rows.map(|row| format!("snapshot ({snapshotter}) {}", row.split_whitespace().next().unwrap_or(""))),
        );
    }
    found
}

/// All processes but this one, process 1, and what this one started itself (containerd, registries).
fn strangers() -> BTreeMap<i32, String> {
    let own = std::process::id().cast_signed();
    let numbers =
        entries(Path::new("/proc")).into_iter().filter_map(|path| path.file_name()?.to_str()?.parse::<i32>().ok());
    numbers
        .filter(|pid| *pid != 1 && *pid != own)
        .filter_map(|pid| {
            let (name, parent) = name_and_parent(pid)?;
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            (parent != own).then(|| (pid, if line.is_empty() { format!("({name})") } else { line }))
        })
        .collect()
}

/// Name and parent from `/proc/PID/stat`; the name stands in brackets and may hold anything.
fn name_and_parent(pid: i32) -> Option<(String, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = tail.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    // Process 1 is about to reap a zombie.
    (state != "Z").then_some((name, parent))
}

/// The processes whose command line contains a text.
pub fn processes_with(text: &str) -> Vec<i32> {
    strangers().into_iter().filter(|(_, line)| line.contains(text)).map(|(pid, _)| pid).collect()
}

/// Kills every stranger: the run's own processes only, as it sees no others.
pub(crate) fn end_strangers() {
    for _ in 0..50 {
        let strangers = strangers();
        if strangers.is_empty() {
            return;
        }
        for pid in strangers.into_keys() {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|point| point.starts_with(dir) && point != dir).collect()
}

/// Unmounts everything below a directory, the deepest first.
pub fn unmount_below(dir: &Path) {
    for mount in mounts_below(dir).into_iter().rev() {
        Command::new("umount").arg("-l").arg(mount).status().ok();
    }
}

/// Paths of listening unix sockets, without containerd's own. The table lists those of this network namespace.
fn listening(node: &Node) -> Vec<String> {
    let own = node.address().display().to_string();
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter_map(|row| match row.as_slice() {
        // Flag 0x10000 is __SO_ACCEPTCON: it listens.
        [_, _, _, "00010000", .., path] if path.starts_with(['/', '@']) => Some((*path).to_owned()),
        _ => None,
    })
    // A scenario may run a second node beside the world's.
    .filter(|path| !path.ends_with("/c.sock") && !path.ends_with("/c.sock.ttrpc"))
    .filter(|path| !path.starts_with(&own) && !path.ends_with("debug.sock"))
    .collect()
}

fn socket_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in entries(dir) {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() {
            found.extend(socket_files(&path));
        } else if meta.file_type().is_socket() && !path.ends_with("debug.sock") {
            found.push(path);
        }
    }
    found
}

/// Cgroups of the containers of a namespace, with cgroup v1 in every hierarchy.
fn cgroups(namespace: &str) -> Vec<PathBuf> {
    cgroup_dirs(namespace).iter().flat_map(|dir| entries(dir)).filter(|path| path.is_dir()).collect()
}

fn cgroup_dirs(namespace: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let places = [root.to_owned()].into_iter().chain(entries(root));
    places.map(|place| place.join(namespace)).filter(|dir| dir.is_dir()).collect()
}

/// Removes what runc keeps of containers whose processes were killed.
pub(crate) fn remove_runc_states() {
    fs::remove_dir_all(RUNC).ok();
}

/// Removes what killed containers left of the namespace's cgroups, and the namespace's own.
pub(crate) fn remove_cgroups(namespace: &str) {
    for dir in cgroup_dirs(namespace) {
        for group in entries(&dir).into_iter().filter(|path| path.is_dir()) {
            fs::remove_dir(group).ok();
        }
        fs::remove_dir(dir).ok();
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).map(|all| all.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}
