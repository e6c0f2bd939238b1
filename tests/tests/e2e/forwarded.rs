//! What the delegate hears: a recorder on either side of our shim writes down what is sent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bestfit_tests::artifact::fits;
use bestfit_tests::command::eventually;
use bestfit_tests::image::{Image, Index};
use bestfit_tests::leftovers::processes_with;
use bestfit_tests::node::Settings;
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World};
use bestfit_tests::{peers, record, task};
use prost::Message;
use prost_types::Any;
use serde_json::json;

use crate::prepared::prepare;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "the default choice: Create reaches the delegate byte for byte", run: byte_for_byte },
    Scenario { name: "a Create of almost 4 MiB passes, swapped or not", run: almost_too_long },
];

/// The recorders' names as shims, below the node's directory.
const INNER: &str = "containerd-shim-recorded-runc-v2";
const OUTER: &str = "containerd-shim-recorder-v1";
/// The runtime of the outer one.
const RECORDER: &str = "io.containerd.recorder.v1";

/// ttrpc's `Request`.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(bytes = "vec", tag = "3")]
    payload: Vec<u8>,
    #[prost(int64, tag = "4")]
    timeout_nano: i64,
    #[prost(bytes = "vec", repeated, tag = "5")]
    metadata: Vec<Vec<u8>>,
}

fn byte_for_byte(world: &mut World) {
    let repository = world.repository();
    let index = Index::of(&[Image::new("plain"), Image::new("other").variant("v3")]);
    let image = world.registry(Kind::Docker).push(&repository, "1", &index);
    world.node.ctr().pull(&image);
    let delegate = record_both_sides(world);
    world.node.configure(&Settings { delegate, ..Settings::default() });

    world.node.ctr().run(RECORDER, &["--env", "A=1"], &image, "one", &[]).ok();
    assert_eq!(record::applied(&world.node.last_record()), "default");
    let (sent, heard) = recorded(world);
    assert!(!sent.payload.is_empty());
    assert_eq!(heard.payload, sent.payload);
    // The rest of the envelope as well, but for the time that is left.
    assert!((heard.timeout_nano == 0) == (sent.timeout_nano == 0) && heard.timeout_nano <= sent.timeout_nano);
    assert_eq!(Request { timeout_nano: 0, ..heard.clone() }, Request { timeout_nano: 0, ..sent.clone() });
    end_recording(world);
}

/// Puts a recorder before our shim and one behind it, and gives the delegate to configure.
fn record_both_sides(world: &World) -> Option<String> {
    let bin = world.node.dir.join("bin");
    let recorded = |shim: &Path, file: &str| {
        let (recorder, file) = (env!("CARGO_BIN_EXE_recorder"), world.node.dir.join(file));
        format!("#!/bin/sh\nexec {recorder} {} {} \"$@\"\n", shim.display(), file.display())
    };
    world.node.replace_program(INNER, &recorded(&bin.join("containerd-shim-runc-v2"), "inner"));
    let ours = peers::our_bin().join("containerd-shim-bestfit-v1");
    world.node.replace_program(OUTER, &recorded(&ours, "outer"));
    Some(bin.join(INNER).display().to_string())
}

/// The one Create on each side: as it was sent, and as the delegate heard it. Forgets what was recorded.
#[track_caller]
fn recorded(world: &World) -> (Request, Request) {
    // Each removes the sockets that it was about: the next container's may have the same names.
    eventually("the recorders end", Duration::from_secs(10), || {
        processes_with("recorder serve ").is_empty().then_some(())
    });
    let mut both = ["outer", "inner"].map(|side| {
        let found = creates(&world.node.dir, side);
        assert_eq!(found.len(), 1, "not one Create on the {side} side");
        recordings(&world.node.dir, side).iter().for_each(|file| std::fs::remove_file(file).expect("a recording"));
        found.into_iter()
    });
    both.each_mut().map(|side| side.next().expect("one")).into()
}

fn end_recording(world: &World) {
    for file in [OUTER, INNER] {
        std::fs::remove_file(world.node.dir.join("bin").join(file)).expect("script");
    }
}

/// The fields of a `CreateTaskRequest` that a swap must leave as they are: all but the mounts (3).
#[derive(Clone, PartialEq, Message)]
struct Create {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    bundle: String,
    #[prost(bytes = "vec", repeated, tag = "3")]
    rootfs: Vec<Vec<u8>>,
    #[prost(bool, tag = "4")]
    terminal: bool,
    #[prost(string, tag = "5")]
    stdin: String,
    #[prost(string, tag = "6")]
    stdout: String,
    #[prost(string, tag = "7")]
    stderr: String,
    #[prost(bytes = "vec", tag = "10")]
    options: Vec<u8>,
}

/// What containerd passes on unseen is what makes a Create long: runtime options, here with a field that no shim knows. ttrpc's
/// limit is 4 MiB for all of it.
fn almost_too_long(world: &mut World) {
    let hold = |build: &str| Image::new(build).with("Cmd", json!(["hold"]));
    let image = prepare(world, Kind::Docker, &[(hold("plain"), None), (hold("better"), Some(fits()))]);
    let delegate = record_both_sides(world);
    let mut value = Vec::new();
    prost::encoding::bytes::encode(1000, &vec![b'x'; (4 << 20) - (16 << 10)], &mut value);
    for (mode, build, same) in [("observe", "plain", true), ("select", "better", false)] {
        world.node.configure(&Settings { mode, delegate: delegate.clone(), ..Settings::default() });
        let ctr = world.node.ctr();
        ctr.call(&["containers", "create", "--runtime", RECORDER, &image.reference, "one"]).ok();
        let options = Any { type_url: "containerd.runc.v1.Options".to_owned(), value: value.clone() };
        task::start(&world.node, "one", options).unwrap_or_else(|why| panic!("{mode}: {why}"));
        let out = ctr.call(&["tasks", "exec", "--exec-id", "e", "one", "/probe", "report"]).ok();
        assert_eq!(crate::prepared::build(&out), build);
        ctr.remove("one");
        let (sent, heard) = recorded(world);
        assert!(sent.payload.len() > value.len(), "{mode}: {} bytes", sent.payload.len());
        assert_eq!(heard.payload == sent.payload, same, "{mode}");
        let [sent, heard] = [sent, heard].map(|request| Create::decode(&request.payload[..]).expect("a Create"));
        assert_eq!(sent.rootfs == heard.rootfs, same, "{mode}");
        // Not by assert_eq: it would print them.
        assert!(Create { rootfs: Vec::new(), ..sent } == Create { rootfs: Vec::new(), ..heard }, "{mode}");
    }
    end_recording(world);
}

/// The Create requests that a recorder has written down, over all connections.
fn creates(dir: &Path, name: &str) -> Vec<Request> {
    let requests =
        recordings(dir, name).into_iter().flat_map(|path| requests(&std::fs::read(path).expect("a recording")));
    requests.filter(|request| request.method == "Create").collect()
}

/// The files of a recorder, one for each connection.
fn recordings(dir: &Path, name: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).expect("the node's directory").flatten().map(|entry| entry.path());
    let files = files.filter(|path| path.file_stem().is_some_and(|stem| stem == name));
    files
        .filter(|path| path.extension().is_some_and(|number| number.to_string_lossy().parse::<u32>().is_ok()))
        .collect()
}

/// The requests among ttrpc's frames: length, stream (u32 each, big endian), kind, flags, payload.
fn requests(mut bytes: &[u8]) -> Vec<Request> {
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<10>() {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let (payload, rest) = rest.split_at(length);
        if head[8] == 1 {
            found.push(Request::decode(payload).expect("a request"));
        }
        bytes = rest;
    }
    found
}
