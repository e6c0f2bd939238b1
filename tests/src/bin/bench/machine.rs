//! Owns naming the machine that the numbers belong to.

use std::fs;
use std::process::Command;

use bestfit_tests::node::Node;
use serde_json::{Map, Value};

/// cpu, kernel, containerd, date, load: what a number needs beside it.
pub(crate) fn describe(node: &Node) -> Map<String, Value> {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models = || cpus.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, m)| m);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let version = node.ctr().call(&["version"]).ok().stdout;
    let server = version.split("Server:").nth(1).unwrap_or_default();
    let containerd = server.lines().find_map(|line| line.trim().strip_prefix("Version:"));
    let facts = [
        ("cpu", models().next().unwrap_or("unknown").to_owned()),
        ("cpus", models().count().to_string()),
        (
            "memory",
            memory.lines().next().and_then(|line| line.split_once(':')).map_or("", |(_, v)| v.trim()).to_owned(),
        ),
        ("kernel", fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()),
        ("containerd", containerd.unwrap_or("unknown").trim().to_owned()),
        ("date", said_by("date", &["-u", "+%Y-%m-%dT%H:%MZ"])),
        ("load_before", load()),
    ];
    facts.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect()
}

/// The mean load of the last 1, 5 and 15 minutes.
pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn said_by(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("a program of the base system");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
