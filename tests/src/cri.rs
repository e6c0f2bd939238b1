//! Owns speaking CRI to a node as the kubelet does: pods, containers, exec, logs, stats. A client of its own, as `crictl`
//! cannot be had everywhere; the calls and messages are the same.

mod message;

use std::path::PathBuf;
use std::time::Duration;

use prost::Message;
use serde_json::Value;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use crate::command::eventually;
use crate::node::Node;
use message as m;

/// containerd's namespace of everything that CRI makes.
pub const NAMESPACE: &str = "k8s.io";
const LIMIT: Duration = Duration::from_secs(60);

/// CRI of one node.
#[derive(Debug, Clone, Copy)]
pub struct Cri<'a> {
    node: &'a Node,
}

/// A pod that runs.
#[derive(Debug, Clone)]
pub struct Pod {
    /// The id of its sandbox.
    pub id: String,
    config: m::PodConfig,
}

/// What a pod says about one of its containers.
#[derive(Debug, Clone, Default)]
pub struct App {
    /// Its name.
    pub name: &'static str,
    /// The image as the user wrote it.
    pub image: String,
    /// What the kubelet sends beside it: the image's id; without it the name itself goes, as crictl does it.
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

/// What a command in a container left.
#[derive(Debug, Clone)]
pub struct Executed {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The exit status.
    pub code: i32,
}

/// A container's state.
#[derive(Debug, Clone)]
pub struct Status {
    /// 0 created, 1 running, 2 exited, 3 unknown.
    pub state: i32,
    /// Its exit status.
    pub exit_code: i32,
    /// The image by digest.
    pub image_ref: String,
    /// What `crictl inspect` shows as `info`.
    pub info: Value,
}

impl<'a> Cri<'a> {
    /// Waits until CRI answers on a node.
    pub fn new(node: &'a Node) -> Self {
        let cri = Self { node };
        eventually("CRI answers", Duration::from_secs(30), || {
            cri.runtime::<_, m::Empty>("ListContainers", m::Empty {}).is_ok().then_some(())
        });
        cri
    }

    fn runtime<Q, A>(&self, call: &str, request: Q) -> Result<A, String>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.call(&format!("/runtime.v1.RuntimeService/{call}"), request)
    }

    /// One call over a connection of its own: containerd may have been started anew in between.
    fn call<Q, A>(&self, path: &str, request: Q) -> Result<A, String>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let calling = async {
            let channel = containerd_client::connect(self.node.address()).await.map_err(|error| error.to_string())?;
            let mut client = Grpc::new(channel);
            client.ready().await.map_err(|error| error.to_string())?;
            let path: PathAndQuery = path.parse().expect("a path");
            let answer = client.unary(tonic::Request::new(request), path, ProstCodec::<Q, A>::default()).await;
            answer.map(tonic::Response::into_inner).map_err(|status| status.message().to_owned())
        };
        let limited = async { tokio::time::timeout(LIMIT, calling).await };
        runtime.block_on(limited).unwrap_or_else(|_| Err(format!("no answer within {LIMIT:?}")))
    }

    /// Pulls an image, and gives its id.
    #[track_caller]
    pub fn pull(&self, reference: &str) -> String {
        let image = m::ImageSpec { image: reference.to_owned(), ..Default::default() };
        let pulled = self.call("/runtime.v1.ImageService/PullImage", m::PullImage { image: Some(image) });
        pulled.map(|id: m::Id| id.id).unwrap_or_else(|why| panic!("pull {reference}: {why}"))
    }

    /// Runs a pod on the node's network under a runtime handler.
    #[track_caller]
    pub fn run_pod(&self, handler: &str, name: &str, namespace: &str) -> Pod {
        let metadata =
            m::PodMetadata { name: name.to_owned(), uid: format!("uid-{name}"), namespace: namespace.to_owned() };
        let security = m::PodSecurity { namespaces: Some(host_network()) };
        let linux = m::LinuxPod { cgroup_parent: self.cgroup_parent(), security: Some(security) };
        let config = m::PodConfig {
            metadata: Some(metadata),
            log_directory: self.logs().display().to_string(),
            linux: Some(linux),
        };
        let request = m::RunPod { config: Some(config.clone()), handler: handler.to_owned() };
        let pod: m::Id = self.runtime("RunPodSandbox", request).unwrap_or_else(|why| panic!("pod {name}: {why}"));
        Pod { id: pod.id, config }
    }

    /// The cgroup of this node's pods, which no other run has.
    pub fn cgroup_parent(&self) -> String {
        let run = self.node.dir.parent().and_then(|dir| dir.file_name()).unwrap_or_default().to_string_lossy();
        format!("/{run}-pods")
    }

    fn logs(&self) -> PathBuf {
        self.node.dir.join("pod-logs")
    }

    /// Creates a container in a pod.
    #[track_caller]
    pub fn create(&self, pod: &Pod, app: &App) -> String {
        let image = m::ImageSpec {
            image: app.image_id.clone().unwrap_or_else(|| app.image.clone()),
            user_specified: app.image_id.as_ref().map(|_| app.image.clone()).unwrap_or_default(),
        };
        let security = m::Security {
            namespaces: Some(host_network()),
            run_as_user: app.run_as_user.map(|value| m::Number { value }),
        };
        let variable = |(key, value): &(&str, &str)| m::Variable { key: (*key).to_owned(), value: (*value).to_owned() };
        let config = m::ContainerConfig {
            metadata: Some(m::Id { id: app.name.to_owned() }),
            image: Some(image),
            command: app.command.clone(),
            args: app.args.clone(),
            working_dir: app.working_dir.to_owned(),
            envs: app.env.iter().map(variable).collect(),
            log_path: format!("{}-{}.log", pod.id, app.name),
            linux: Some(m::LinuxContainer { security: Some(security) }),
        };
        let request =
            m::CreateContainer { pod: pod.id.clone(), config: Some(config), pod_config: Some(pod.config.clone()) };
        let made: Result<m::Id, String> = self.runtime("CreateContainer", request);
        made.unwrap_or_else(|why| panic!("container {}: {why}", app.name)).id
    }

    /// Starts it: the call in which containerd asks the shim to create it.
    pub fn start(&self, id: &str) -> Result<(), String> {
        self.runtime::<_, m::Empty>("StartContainer", m::Id { id: id.to_owned() }).map(|_| ())
    }

    /// Creates and starts a container, and waits until it has said something.
    #[track_caller]
    pub fn run(&self, pod: &Pod, app: &App) -> String {
        let id = self.create(pod, app);
        self.start(&id).unwrap_or_else(|why| panic!("start of {}: {why}", app.name));
        eventually("the container has written to its log", Duration::from_secs(10), || {
            (!self.log(pod, app.name).is_empty()).then_some(())
        });
        id
    }

    /// What a container wrote, without the log's own words.
    pub fn log(&self, pod: &Pod, name: &str) -> String {
        let file = self.logs().join(format!("{}-{name}.log", pod.id));
        let text = std::fs::read_to_string(file).unwrap_or_default();
        // "time stream F text" (kubernetes, CRI logging).
        text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).fold(String::new(), |all, line| all + line + "\n")
    }

    /// Runs a command in a container.
    #[track_caller]
    pub fn exec(&self, id: &str, command: &[&str]) -> Executed {
        let command = command.iter().map(|&word| word.to_owned()).collect();
        let request = m::ExecSync { id: id.to_owned(), command, timeout: 20 };
        let done: m::Executed = self.runtime("ExecSync", request).unwrap_or_else(|why| panic!("exec in {id}: {why}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Executed { stdout: text(&done.stdout), stderr: text(&done.stderr), code: done.exit_code }
    }

    /// The state of a container.
    #[track_caller]
    pub fn status(&self, id: &str) -> Status {
        let request = m::StatusRequest { id: id.to_owned(), verbose: true };
        let answer: m::StatusAnswer = self.runtime("ContainerStatus", request).expect("ContainerStatus");
        let status = answer.status.unwrap_or_default();
        let info = answer.info.get("info").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        Status { state: status.state, exit_code: status.exit_code, image_ref: status.image_ref, info }
    }

    /// Sets the memory limit of a container that runs, in bytes.
    #[track_caller]
    pub fn limit_memory(&self, id: &str, bytes: i64) {
        let request = m::UpdateContainer { id: id.to_owned(), linux: Some(m::Resources { memory_limit: bytes }) };
        let done = self.runtime::<_, m::Empty>("UpdateContainerResources", request);
        done.unwrap_or_else(|why| panic!("update of {id}: {why}"));
    }

    /// The size of what a container wrote, in bytes, once CRI has counted it.
    pub fn writable_layer(&self, id: &str) -> Option<u64> {
        let answer: m::StatsAnswer = self.runtime("ContainerStats", m::Id { id: id.to_owned() }).ok()?;
        Some(answer.stats?.writable_layer?.used_bytes?.value)
    }

    /// Stops and removes a container.
    #[track_caller]
    pub fn remove(&self, id: &str) {
        let stop = m::StopContainer { id: id.to_owned(), timeout: 2 };
        self.runtime::<_, m::Empty>("StopContainer", stop).unwrap_or_else(|why| panic!("stop {id}: {why}"));
        let id = m::Id { id: id.to_owned() };
        self.runtime::<_, m::Empty>("RemoveContainer", id).unwrap_or_else(|why| panic!("remove: {why}"));
    }

    /// Stops and removes a pod with its containers.
    #[track_caller]
    pub fn remove_pod(&self, pod: &Pod) {
        for call in ["StopPodSandbox", "RemovePodSandbox"] {
            let done = self.runtime::<_, m::Empty>(call, m::Id { id: pod.id.clone() });
            done.unwrap_or_else(|why| panic!("{call}: {why}"));
        }
    }
}

/// The network of the node: a scenario needs no CNI plugins then.
fn host_network() -> m::Namespaces {
    m::Namespaces { network: 2, pid: 1 }
}
