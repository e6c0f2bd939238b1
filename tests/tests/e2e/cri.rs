//! Pods through CRI, in both ways to configure the handler: `runtime_path` under the stock type, and a type of our own.
//!
//! On the newest line only: what CRI adds stands above the shim, and the shim is shown on every line by the others.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bestfit_tests::artifact::{self, fits};
use bestfit_tests::command::eventually;
use bestfit_tests::cri::{self, App, Cri, Pod};
use bestfit_tests::image::{Image, Index, base_layer};
use bestfit_tests::node::{Node, Options, Settings};
use bestfit_tests::peers;
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World, skip};
use bestfit_tests::{isolate, record};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::prepared::{Prepared, push, push_as};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "pods: one container swapped, one not, pause untouched", run: two_containers },
    Scenario { name: "pods: exec, logs, stats and removal, over a restart of containerd", run: life_of_a_pod },
    Scenario { name: "pods: an update of resources, read back", run: update },
    Scenario { name: "pods: what the pod overrides stays, the rest follows the entry", run: overrides },
    Scenario { name: "pods: another user", run: another_user },
    Scenario { name: "pods: two tags that share their default entry", run: two_tags },
    Scenario { name: "pods: a tag that moved between create and start", run: moved_tag },
    Scenario { name: "pods: a Kubernetes namespace that is off", run: namespace_off },
];

/// The handlers of the node: the stock type with our path, our own type.
pub(crate) const HANDLERS: [&str; 2] = ["by-path", "by-type"];

/// What `crictl inspect` says of a container that runs.
const RUNNING: &str = "CONTAINER_RUNNING";

pub(crate) fn client(node: &Node) -> Cri<'_> {
    Cri::new(node).unwrap_or_else(|why| skip(&why))
}

/// A node with CRI; its bestfit starts with an empty cache.
pub(crate) fn node(world: &mut World) -> Node {
    if !peers::SECOND.contains(&world.node.line) {
        skip("pods run on containerd 2 only");
    }
    // Two entries, one of which fits: only the rule for sandboxes keeps it as it is.
    let pauses = ["pause", "better pause"].map(|build| {
        let image = Image::new(build).on(vec![base_layer("pause")]);
        image.with("Cmd", json!(["hold"]))
    });
    let index = Index::of(&pauses);
    let registry = world.registry(Kind::Docker);
    let pause = registry.push("e2e/pause", "1", &index);
    artifact::attach(registry, "e2e/pause", &index.entries[1].descriptor, &artifact::compatibilities(&fits()));
    let host = registry.host.clone();
    let hosts = isolate::dir().join("cri-hosts");
    fs::create_dir_all(hosts.join(&host)).expect("hosts directory");
    fs::write(hosts.join(&host).join("hosts.toml"), format!("server = \"http://{host}\"\n")).expect("hosts.toml");
    let more = configuration(&pause, &hosts.display().to_string());
    let mut node = Node::start(world.node.line, Options { cri: true, more }).unwrap_or_else(|why| skip(&why));
    cri::NAMESPACE.clone_into(&mut node.namespace);
    write_runc();
    node
}

fn configuration(pause: &str, hosts: &str) -> String {
    let plugin = "plugins.\"io.containerd.cri.v1.runtime\"";
    let shim = peers::our_bin().join("containerd-shim-bestfit-v1");
    let handler = |name: &str, kind: &str| {
        format!(
            "[{plugin}.containerd.runtimes.{name}]\n{kind}\n[{plugin}.containerd.runtimes.{name}.options]\n\
             BinaryName = {:?}\nSystemdCgroup = false\n",
            runc()
        )
    };
    format!(
        "[{plugin}]\nrestrict_oom_score_adj = true\ndisable_apparmor = true\n{}{}\
         [plugins.\"io.containerd.cri.v1.images\"]\nstats_collect_period = 1\n\
         [plugins.\"io.containerd.cri.v1.images\".pinned_images]\nsandbox = {pause:?}\n\
         [plugins.\"io.containerd.cri.v1.images\".registry]\nconfig_path = {hosts:?}\n",
        handler(HANDLERS[0], &format!("runtime_type = \"io.containerd.runc.v2\"\nruntime_path = {shim:?}")),
        handler(HANDLERS[1], "runtime_type = \"io.containerd.bestfit.v1\""),
    )
}

/// The runtime that the handlers name: runc, which notes that it was called, as no other runtime option can be seen.
fn runc() -> PathBuf {
    isolate::dir().join("cri-runc")
}

fn write_runc() {
    use std::os::unix::fs::PermissionsExt;
    let real = peers::program("runc").expect("checked in Node::start()");
    let script = format!("#!/bin/sh\necho \"$*\" >>{0}.log\nexec {1} \"$@\"\n", runc().display(), real.display());
    fs::write(runc(), script).expect("script");
    fs::set_permissions(runc(), fs::Permissions::from_mode(0o755)).expect("script");
    fs::remove_file(runc().with_extension("log")).ok();
}

/// The containers that the named runtime was asked to create.
fn created_by_runc() -> String {
    let log = fs::read_to_string(format!("{}.log", runc().display())).unwrap_or_default();
    log.lines().filter(|line| line.contains(" create ")).fold(String::new(), |all, line| all + line + "\n")
}

/// Ends the pod; nothing may be left of it.
#[track_caller]
pub(crate) fn end(node: &Node, pod: &Pod) {
    let cri = client(node);
    cri.remove_pod(pod);
    let left = node.leftovers();
    assert!(left.is_empty(), "left behind by the pod:\n    {}", left.join("\n    "));
    let groups = fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten().map(|entry| entry.path());
    for group in groups.map(|group| group.join(cri.cgroup_parent().trim_start_matches('/'))) {
        let inside = fs::read_dir(&group).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
        let inside: Vec<_> = inside.map(|entry| entry.path()).collect();
        assert!(inside.is_empty(), "cgroups left behind: {inside:?}");
        fs::remove_dir(group).ok();
    }
}

/// A default and a better entry that wait for their end, and differ in entrypoint arguments, env and directory.
pub(crate) fn different() -> [(Image, Option<Value>); 2] {
    let default = Image::new("plain")
        .with("Env", json!(["PATH=/bin", "WHICH=plain", "OLD=1"]))
        .with("Cmd", json!(["hold", "from plain"]));
    let better = Image::new("better")
        .with("Env", json!(["PATH=/bin", "WHICH=better", "NEW=1"]))
        .with("Cmd", json!(["hold", "from better"]))
        .with("WorkingDir", json!("/work"));
    [(default, None), (better, Some(fits()))]
}

pub(crate) fn app(name: &'static str, image: &Prepared) -> App {
    App { name, image: image.reference.clone(), ..App::default() }
}

#[track_caller]
pub(crate) fn says(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "{line} is missing:\n{text}");
    }
}

/// The record of a container, which is written after the container has gone on.
#[track_caller]
pub(crate) fn record_of(node: &Node, id: &str) -> Value {
    let find = || node.records().into_iter().find(|record| record["container"] == json!(id));
    eventually(&format!("a record of {id}"), Duration::from_secs(10), find)
}

#[track_caller]
fn swapped(node: &Node, id: &str, image: &Prepared) {
    let found = record_of(node, id);
    assert_eq!(record::applied(&found), "swapped", "{found:#}");
    assert_eq!(found["chosen"], json!(image.index.entry(1)), "{found:#}");
}

fn two_containers(world: &mut World) {
    let node = node(world);
    let image = push(world, Kind::Docker, &different());
    let bare = push_as(world, Kind::Docker, "bare", &[(Image::new("bare").with("Cmd", json!(["hold"])), None)]);
    let cri = client(&node);
    for handler in HANDLERS {
        // As the kubelet does it: by the image's id, with the user's name beside it.
        let image_id = Some(cri.pull(&image.reference));
        cri.pull(&bare.reference);
        let pod = cri.run_pod(handler, handler, "default");
        let one = cri.run(&pod, &App { image_id, ..app("one", &image) });
        let two = cri.run(&pod, &app("two", &bare));
        says(&cri.log(&one), &["build=better", "arg=from better", "cwd=/work", "env=WHICH=better", "env=NEW=1"]);
        says(&cri.log(&two), &["build=bare"]);
        swapped(&node, &one, &image);
        assert_eq!(record::applied(&record_of(&node, &two)), "default");
        untouched_sandbox(&node, &pod);
        let relays = bestfit_tests::leftovers::processes_with("containerd-shim-bestfit-v1").len();
        assert_eq!(relays, 1, "relays of one pod under {handler}");
        let delegates = bestfit_tests::leftovers::processes_with("containerd-shim-runc-v2").len();
        assert_eq!(delegates, 1, "delegates of one pod under {handler}");
        for id in [&pod.id, &one, &two] {
            assert!(created_by_runc().contains(id.as_str()), "{handler}: BinaryName was not used for {id}");
        }
        for id in [one, two] {
            cri.remove(&id);
        }
        end(&node, &pod);
    }
}

/// The sandbox's snapshot carries no label of ours, and where there is a record, it names the reason.
#[track_caller]
fn untouched_sandbox(node: &Node, pod: &Pod) {
    let info = node.ctr().call(&["snapshots", "info", &pod.id]).ok().stdout;
    assert!(!info.contains("io.bestfit/"), "{info}");
    for found in node.records().iter().filter(|record| record["container"] == json!(pod.id)) {
        assert_eq!(found["untouched"], json!("a sandbox (pause) container"), "{found:#}");
    }
}

fn life_of_a_pod(world: &mut World) {
    let mut node = node(world);
    let image = push(world, Kind::Docker, &different());
    for handler in HANDLERS {
        let cri = client(&node);
        cri.pull(&image.reference);
        let pod = cri.run_pod(handler, handler, "default");
        let id = cri.run(&pod, &app("one", &image));
        let seen = ["build=better", "cwd=/work", "env=WHICH=better", "env=NEW=1"];
        // As a person runs it, over streams, and as a probe of the kubelet does.
        for out in [cri.exec(&id, &["/probe", "report"], None), cri.call(&["exec", "--sync", &id, "/probe", "report"])]
        {
            let out = out.ok();
            says(&out.stdout, &seen);
            assert!(!out.stdout.contains("env=OLD"), "{out}");
        }
        let out = cri.exec(&id, &["/probe", "exit", "7"], None).failed();
        assert!(out.stderr.contains("exit code 7"), "{out}");
        let text = "x".repeat(20_000);
        let out = cri.exec(&id, &["/probe", "cat"], Some(text.as_bytes())).ok();
        assert_eq!(out.stdout, format!("{text}end of input\n"));
        cri.exec(&id, &["/probe", "write", "/tmp/written", &text], None).ok();
        eventually("the writable layer is counted", Duration::from_secs(20), || {
            cri.writable_layer(&id).filter(|size| *size >= 20_000)
        });
        let status = cri.status(&id);
        assert_eq!(status.state, RUNNING, "{status:?}");
        assert!(status.image_ref.contains(&image.index.descriptor.digest), "the index stays the image: {status:?}");
        let args = &status.info["runtimeSpec"]["process"]["args"];
        assert_eq!(args, &json!(["/probe", "hold", "from better"]), "inspect shows what runs: {:#}", status.info);

        node.stop(Signal::SIGTERM);
        node.resume();
        let cri = client(&node);
        says(&cri.exec(&id, &["/probe", "report"], None).ok().stdout, &seen);
        assert_eq!(cri.exec(&id, &["/probe", "read", "/tmp/written"], None).ok().stdout, text);
        assert_eq!(cri.status(&id).state, RUNNING);
        cri.remove(&id);
        // A second container in the pod, after the restart.
        let again = cri.run(&pod, &app("two", &image));
        says(&cri.log(&again), &["build=better"]);
        cri.remove(&again);
        end(&node, &pod);
    }
}

fn update(world: &mut World) {
    let node = node(world);
    let image = push(world, Kind::Docker, &different());
    let cri = client(&node);
    cri.pull(&image.reference);
    let pod = cri.run_pod(HANDLERS[0], "update", "default");
    let id = cri.run(&pod, &app("one", &image));
    says(&cri.log(&id), &["build=better"]);
    for limit in [64 << 20, 96 << 20] {
        cri.call(&["update", "--memory", &limit.to_string(), &id]).ok();
        assert_eq!(memory_limit(&cri, &id).as_deref(), Some(limit.to_string().as_str()));
        let resources = &cri.status(&id).info["runtimeSpec"]["linux"]["resources"];
        assert_eq!(resources["memory"]["limit"], json!(limit), "inspect shows it: {resources:#}");
    }
    cri.remove(&id);
    end(&node, &pod);
}

/// The limit that the kernel keeps for a container, in bytes; cgroup v1 has it in a hierarchy of its own.
fn memory_limit(cri: &Cri<'_>, id: &str) -> Option<String> {
    let group = format!("{}/{id}", cri.cgroup_parent().trim_start_matches('/'));
    let places = ["memory", "."].map(|hierarchy| PathBuf::from("/sys/fs/cgroup").join(hierarchy).join(&group));
    let files = places.iter().flat_map(|place| ["memory.limit_in_bytes", "memory.max"].map(|file| place.join(file)));
    files.filter_map(|file| fs::read_to_string(file).ok()).map(|text| text.trim().to_owned()).next()
}

fn overrides(world: &mut World) {
    let node = node(world);
    let image = push(world, Kind::Docker, &different());
    let cri = client(&node);
    cri.pull(&image.reference);
    let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let pod = cri.run_pod(HANDLERS[0], "overrides", "default");
    let cases: [(App, &[&str]); 5] = [
        (
            App { args: words(&["hold", "mine"]), ..app("args", &image) },
            &["arg=mine", "cwd=/work", "env=WHICH=better", "env=NEW=1"],
        ),
        (App { command: words(&["/probe", "hold"]), ..app("command", &image) }, &["arg=hold", "cwd=/work"]),
        (
            App { env: vec![("WHICH", "mine"), ("NEW", "2")], ..app("env", &image) },
            &["arg=from better", "env=WHICH=mine", "env=NEW=2"],
        ),
        // What the pod says stays, even where it says what the default image says as well.
        (
            App { env: vec![("WHICH", "plain"), ("OLD", "1")], ..app("same", &image) },
            &["env=WHICH=plain", "env=OLD=1", "env=NEW=1"],
        ),
        (App { working_dir: "/tmp", ..app("dir", &image) }, &["cwd=/tmp", "arg=from better", "env=WHICH=better"]),
    ];
    for (app, lines) in cases {
        let id = cri.run(&pod, &app);
        swapped(&node, &id, &image);
        let log = cri.log(&id);
        says(&log, lines);
        says(&log, &["build=better"]);
        if !app.command.is_empty() || !app.args.is_empty() {
            assert!(!log.contains("from "), "{}: the image's arguments are back:\n{log}", app.name);
        }
        cri.remove(&id);
    }
    end(&node, &pod);
}

fn another_user(world: &mut World) {
    let node = node(world);
    let image = push(world, Kind::Docker, &different());
    let cri = client(&node);
    cri.pull(&image.reference);
    let pod = cri.run_pod(HANDLERS[1], "user", "default");
    let id = cri.run(&pod, &App { run_as_user: Some(7), ..app("one", &image) });
    says(&cri.log(&id), &["build=better", "uid=7"]);
    swapped(&node, &id, &image);
    says(&cri.exec(&id, &["/probe", "report"], None).ok().stdout, &["uid=7", "env=WHICH=better"]);
    cri.remove(&id);
    end(&node, &pod);
}

fn two_tags(world: &mut World) {
    let node = node(world);
    let [default, better] = different();
    let first = push_as(world, Kind::Docker, "1", &[default.clone(), better]);
    let other = (different()[1].0.clone().with("Labels", json!({"which": "other"})), Some(fits()));
    let second = push_as(world, Kind::Docker, "2", &[default, other]);
    assert_ne!(first.index.descriptor.digest, second.index.descriptor.digest);
    let cri = client(&node);
    assert_eq!(cri.pull(&first.reference), cri.pull(&second.reference), "CRI files them as one image");
    let pod = cri.run_pod(HANDLERS[0], "tags", "default");
    let mut untouched = 0;
    for (name, image) in [("first", &first), ("second", &second)] {
        let id = cri.run(&pod, &app(name, image));
        let found = record_of(&node, &id);
        match record::applied(&found) {
            // The tag by which containerd files the image: nothing is ambiguous about it.
            "swapped" => {
                swapped(&node, &id, image);
                says(&cri.log(&id), &["build=better"]);
            }
            _ => {
                says(&cri.log(&id), &["build=plain"]);
                let why = found["untouched"].as_str().unwrap_or_default();
                assert!(why.contains("are different indexes") && why.contains(&image.reference), "{found:#}");
                untouched += 1;
            }
        }
        cri.remove(&id);
    }
    assert_eq!(untouched, 1, "one of the tags is not the one that containerd names");
    end(&node, &pod);
}

fn moved_tag(world: &mut World) {
    let node = node(world);
    let [default, better] = different();
    let first = push(world, Kind::Docker, &[default.clone(), better]);
    let cri = client(&node);
    cri.pull(&first.reference);
    let pod = cri.run_pod(HANDLERS[0], "moved", "default");
    let id = cri.create(&pod, &app("one", &first));
    let other = (different()[1].0.clone().with("Labels", json!({"which": "other"})), Some(fits()));
    let second = push(world, Kind::Docker, &[default, other]);
    assert_eq!(second.reference, first.reference);
    cri.pull(&second.reference);
    cri.start(&id);
    says(&cri.log(&id), &["build=plain"]);
    let found = record_of(&node, &id);
    let why = found["untouched"].as_str().unwrap_or_default();
    assert!(why.contains("changed after the container was made"), "{found:#}");
    cri.remove(&id);
    end(&node, &pod);
}

fn namespace_off(world: &mut World) {
    let mut node = node(world);
    let image = push(world, Kind::Docker, &different());
    node.configure(&Settings { namespaces: vec![("kube-system".to_owned(), "off")], ..Settings::default() });
    let cri = client(&node);
    cri.pull(&image.reference);
    for (namespace, build) in [("kube-system", "build=plain"), ("default", "build=better")] {
        let pod = cri.run_pod(HANDLERS[0], namespace, namespace);
        let id = cri.run(&pod, &app("one", &image));
        says(&cri.log(&id), &[build]);
        cri.remove(&id);
        // After this, nobody is left who could still write a record.
        end(&node, &pod);
        let recorded = node.records().iter().any(|record| record["container"] == json!(id));
        assert_eq!(recorded, namespace == "default", "{namespace}");
    }
}
