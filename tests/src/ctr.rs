//! Owns calling `ctr`, containerd's own client, of the node's line.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::command::{self, Output};
use crate::node::Node;
use crate::peers;

/// The stock runtime.
pub const STOCK: &str = "io.containerd.runc.v2";
/// Ours.
pub const OURS: &str = "io.containerd.bestfit.v1";

/// Ours behind [`Node::tell_shim_of`].
pub const TOLD: &str = "io.containerd.told.v1";

const LIMIT: Duration = Duration::from_secs(60);

/// `ctr` for one node.
#[derive(Debug, Clone, Copy)]
pub struct Ctr<'a> {
    node: &'a Node,
}

impl<'a> Ctr<'a> {
    pub(crate) fn new(node: &'a Node) -> Self {
        Self { node }
    }

    /// A command with address, namespace and environment set.
    pub fn command(&self, args: &[&str]) -> Command {
        if matches!(args, ["run", ..] | ["tasks", "start", ..]) {
            self.node.asks();
        }
        let mut command = Command::new(self.node.line.program("ctr").expect("checked in Node::start()"));
        self.node.environment(&mut command);
        command.arg("--address").arg(self.node.address()).args(["--namespace", &self.node.namespace]).args(args);
        command
    }

    /// Runs it to its end.
    pub fn call(&self, args: &[&str]) -> Output {
        command::run(&mut self.command(args), LIMIT)
    }

    /// Runs it with bytes on standard input.
    pub fn call_with(&self, args: &[&str], input: &[u8]) -> Output {
        command::run_with(&mut self.command(args), LIMIT, Some(input))
    }

    /// Runs it on a terminal of its own, which ctr's `-t` needs.
    pub fn call_on_terminal(&self, args: &[&str]) -> Output {
        command::run_on_terminal(&self.command(args), LIMIT)
    }

    /// Starts it and lets it run.
    pub fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ctr")
    }

    /// Pulls an image from a registry of this machine, for this machine's platform.
    #[track_caller]
    pub fn pull(&self, reference: &str) {
        self.pull_with(&[], reference);
    }

    /// The same with more flags, such as `--snapshotter native`.
    #[track_caller]
    pub fn pull_with(&self, flags: &[&str], reference: &str) {
        let mut args = vec!["images", "pull", "--plain-http"];
        // Pulling through the transfer service needs another way to say plain http.
        if peers::SECOND.contains(&self.node.line) {
            args.push("--local");
        }
        args.extend(flags);
        args.push(reference);
        self.call(&args).ok();
    }

    /// `ctr run --rm` in the foreground.
    pub fn run(&self, runtime: &str, flags: &[&str], reference: &str, id: &str, args: &[&str]) -> Output {
        let mut line = vec!["run", "--rm", "--runtime", runtime];
        line.extend(flags);
        line.extend([reference, id]);
        line.extend(args);
        self.call(&line)
    }

    /// `ctr run -d`: the container runs on.
    pub fn start(&self, runtime: &str, flags: &[&str], reference: &str, id: &str, args: &[&str]) -> Output {
        let mut line = vec!["run", "-d", "--runtime", runtime];
        line.extend(flags);
        line.extend([reference, id]);
        line.extend(args);
        self.call(&line)
    }

    /// Ends a container and removes it with its snapshot.
    #[track_caller]
    pub fn remove(&self, id: &str) {
        self.call(&["tasks", "kill", "-s", "SIGKILL", id]);
        command::eventually("the task is gone", Duration::from_secs(10), || {
            let gone = self.call(&["tasks", "rm", "-f", id]);
            (gone.is_ok() || !self.lines(&["tasks", "ls", "-q"]).iter().any(|task| task == id)).then_some(())
        });
        self.call(&["containers", "rm", id]).ok();
    }

    /// The lines of an output that is a list.
    #[track_caller]
    pub fn lines(&self, args: &[&str]) -> Vec<String> {
        self.call(args).ok().stdout.lines().map(str::to_owned).collect()
    }

    /// The container's record as JSON.
    #[track_caller]
    pub fn container(&self, id: &str) -> serde_json::Value {
        serde_json::from_str(&self.call(&["containers", "info", id]).ok().stdout).expect("JSON")
    }

    /// The status of a task: `RUNNING`, `STOPPED`, `PAUSED`.
    pub fn status(&self, id: &str) -> Option<String> {
        let rows = self.lines(&["tasks", "ls"]);
        rows.iter().map(|row| row.split_whitespace().collect::<Vec<_>>()).find_map(|row| match row.as_slice() {
            [task, _, status] if *task == id => Some((*status).to_owned()),
            _ => None,
        })
    }
}
