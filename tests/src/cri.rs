//! Owns speaking CRI to a node by `crictl`: pods, containers, exec, logs, stats.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::command::{self, Output, eventually};
use crate::node::Node;
use crate::peers;

/// containerd's namespace of everything that CRI makes.
pub const NAMESPACE: &str = "k8s.io";
const LIMIT: Duration = Duration::from_secs(60);
/// What CRI calls the node's own network or process namespace (`runtime.v1.NamespaceMode`).
const NODE: u8 = 2;

/// CRI of one node.
#[derive(Debug, Clone)]
pub struct Cri<'a> {
    node: &'a Node,
    crictl: PathBuf,
}

/// A pod that runs.
#[derive(Debug, Clone)]
pub struct Pod {
    /// The id of its sandbox.
    pub id: String,
    /// The file that it was made from.
    file: PathBuf,
}

/// What a pod says about one of its containers.
#[derive(Debug, Clone, Default)]
pub struct App {
    /// Its name.
    pub name: &'static str,
    /// The image as the user wrote it.
    pub image: String,
    /// What the kubelet sends beside it: the image's id; without it the name itself goes.
    pub image_id: Option<String>,
    /// `command`: replaces the entrypoint.
    pub command: Vec<String>,
    /// `args`: replaces the image's.
    pub args: Vec<String>,
    /// `env`.
    pub env: Vec<(&'static str, &'static str)>,
    /// `workingDir`.
    pub working_dir: &'static str,
    /// `runAsUser`.
    pub run_as_user: Option<i64>,
}

/// A container as `crictl inspect` shows it.
#[derive(Debug, Clone)]
pub struct Status {
    /// `CONTAINER_RUNNING` and the like.
    pub state: String,
    /// The image by digest.
    pub image_ref: String,
    /// What containerd adds: `runtimeSpec` and more.
    pub info: Value,
}

impl<'a> Cri<'a> {
    /// Waits until CRI answers on a node, or says that there is no crictl.
    pub fn new(node: &'a Node) -> Result<Self, String> {
        let crictl = peers::program("crictl").ok_or("crictl is missing: run `make setup` where there is Go")?;
        let cri = Self { node, crictl };
        let address = format!("unix://{}", node.address().display());
        let config = format!("runtime-endpoint: {address}\nimage-endpoint: {address}\ntimeout: {}\n", LIMIT.as_secs());
        std::fs::write(cri.config(), config).expect("crictl's configuration");
        eventually("CRI answers", Duration::from_secs(30), || cri.call(&["ps"]).is_ok().then_some(()));
        Ok(cri)
    }

    fn config(&self) -> PathBuf {
        self.node.dir.join("crictl.yaml")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.crictl);
        self.node.environment(&mut command);
        command.arg("--config").arg(self.config()).args(args);
        command
    }

    /// Runs `crictl` to its end.
    pub fn call(&self, args: &[&str]) -> Output {
        command::run(&mut self.command(args), LIMIT)
    }

    /// Pulls an image, and gives its id.
    #[track_caller]
    pub fn pull(&self, reference: &str) -> String {
        let said = self.call(&["pull", reference]).ok().stdout;
        said.trim().rsplit(' ').next().expect("Image is up to date for ID").to_owned()
    }

    /// Runs a pod on the node's network under a runtime handler.
    #[track_caller]
    pub fn run_pod(&self, handler: &str, name: &str, namespace: &str) -> Pod {
        let config = json!({
            "metadata": {"name": name, "uid": format!("uid-{name}"), "namespace": namespace},
            "log_directory": self.node.dir.join("pod-logs"),
            "linux": {"cgroup_parent": self.cgroup_parent(), "security_context": {"namespace_options": on_the_node()}},
        });
        let file = self.write(&format!("pod-{name}"), &config);
        let made = self.call(&["runp", "--runtime", handler, &file.display().to_string()]).ok();
        Pod { id: made.stdout.trim().to_owned(), file }
    }

    /// The cgroup of this node's pods, which no other run has.
    pub fn cgroup_parent(&self) -> String {
        let run = self.node.dir.parent().and_then(|dir| dir.file_name()).unwrap_or_default().to_string_lossy();
        format!("/{run}-pods")
    }

    fn write(&self, name: &str, config: &Value) -> PathBuf {
        let file = self.node.dir.join(format!("{name}.json"));
        std::fs::write(&file, config.to_string()).expect("crictl's input");
        file
    }

    /// Creates a container in a pod.
    #[track_caller]
    pub fn create(&self, pod: &Pod, app: &App) -> String {
        let env: Vec<Value> = app.env.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        let mut security = json!({"namespace_options": on_the_node()});
        if let Some(user) = app.run_as_user {
            security["run_as_user"] = json!({"value": user});
        }
        let config = json!({
            "metadata": {"name": app.name},
            "image": {"image": app.image_id.as_ref().unwrap_or(&app.image), "user_specified_image": app.image},
            "command": app.command, "args": app.args, "envs": env, "working_dir": app.working_dir,
            "log_path": format!("{}-{}.log", pod.id, app.name), "linux": {"security_context": security},
        });
        let file = self.write(&format!("container-{}", app.name), &config);
        let files = [&file, &pod.file].map(|file| file.display().to_string());
        self.call(&["create", "--no-pull", &pod.id, &files[0], &files[1]]).ok().stdout.trim().to_owned()
    }

    /// Creates and starts a container, and waits until it has said something.
    #[track_caller]
    pub fn run(&self, pod: &Pod, app: &App) -> String {
        let id = self.create(pod, app);
        self.start(&id);
        id
    }

    /// Starts it: the call in which containerd asks the shim to create it. Waits until it has said something.
    #[track_caller]
    pub fn start(&self, id: &str) {
        self.call(&["start", id]).ok();
        eventually("the container has written to its log", Duration::from_secs(10), || {
            (!self.log(id).is_empty()).then_some(())
        });
    }

    /// What a container wrote.
    #[track_caller]
    pub fn log(&self, id: &str) -> String {
        self.call(&["logs", id]).ok().stdout
    }

    /// Runs a command in a container over CRI's streams, with bytes on its standard input.
    pub fn exec(&self, id: &str, command: &[&str], input: Option<&[u8]>) -> Output {
        let flags: &[&str] = if input.is_some() { &["exec", "-i", id] } else { &["exec", id] };
        command::run_with(&mut self.command(&[flags, command].concat()), LIMIT, input)
    }

    /// The state of a container.
    #[track_caller]
    pub fn status(&self, id: &str) -> Status {
        let shown = self.call(&["inspect", id]).ok();
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap_or_else(|error| panic!("{error}: {shown}"));
        let text = |key: &str| shown["status"][key].as_str().unwrap_or_default().to_owned();
        Status { state: text("state"), image_ref: text("imageRef"), info: shown["info"].clone() }
    }

    /// The size of what a container wrote, in bytes, once CRI has counted it.
    pub fn writable_layer(&self, id: &str) -> Option<u64> {
        let shown: Value = serde_json::from_str(&self.call(&["stats", "-o", "json", "--id", id]).stdout).ok()?;
        shown["stats"][0]["writableLayer"]["usedBytes"]["value"].as_str()?.parse().ok()
    }

    /// Stops and removes a container.
    #[track_caller]
    pub fn remove(&self, id: &str) {
        self.call(&["stop", "--timeout", "2", id]).ok();
        self.call(&["rm", id]).ok();
    }

    /// Stops and removes a pod with its containers.
    #[track_caller]
    pub fn remove_pod(&self, pod: &Pod) {
        self.call(&["stopp", &pod.id]).ok();
        self.call(&["rmp", &pod.id]).ok();
    }
}

/// The network of the node: a scenario needs no CNI plugins then.
fn on_the_node() -> Value {
    json!({"network": NODE, "pid": 1})
}
