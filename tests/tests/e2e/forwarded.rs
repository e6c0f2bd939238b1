//! What the delegate hears: a recorder on either side of our shim writes down what is sent.

use std::path::Path;

use bestfit_tests::image::{Image, Index};
use bestfit_tests::node::Settings;
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World};
use bestfit_tests::{peers, record};
use prost::Message;

pub(crate) const SCENARIOS: &[Scenario] =
    &[Scenario { name: "the default choice: Create reaches the delegate byte for byte", run: byte_for_byte }];

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
    let bin = world.node.dir.join("bin");
    let recorded = |shim: &Path, file: &str| {
        let (recorder, file) = (env!("CARGO_BIN_EXE_recorder"), world.node.dir.join(file));
        format!("#!/bin/sh\nexec {recorder} {} {} \"$@\"\n", shim.display(), file.display())
    };
    let inner = "containerd-shim-recorded-runc-v2";
    world.node.replace_program(inner, &recorded(&bin.join("containerd-shim-runc-v2"), "inner"));
    let ours = peers::our_bin().join("containerd-shim-bestfit-v1");
    world.node.replace_program("containerd-shim-recorder-v1", &recorded(&ours, "outer"));
    let delegate = Some(bin.join(inner).display().to_string());
    world.node.configure(&Settings { delegate, ..Settings::default() });

    world.node.ctr().run("io.containerd.recorder.v1", &["--env", "A=1"], &image, "one", &[]).ok();
    assert_eq!(record::applied(world.node.records().last().expect("a record")), "default");
    let sent = creates(&world.node.dir, "outer");
    let heard = creates(&world.node.dir, "inner");
    let [(sent, heard)] = sent.iter().zip(&heard).collect::<Vec<_>>()[..] else {
        panic!("not one Create on each side: {} and {}", sent.len(), heard.len())
    };
    assert!(!sent.payload.is_empty());
    assert_eq!(heard.payload, sent.payload);
    // The rest of the envelope as well, but for the time that is left.
    assert!((heard.timeout_nano == 0) == (sent.timeout_nano == 0) && heard.timeout_nano <= sent.timeout_nano);
    assert_eq!(Request { timeout_nano: 0, ..heard.clone() }, Request { timeout_nano: 0, ..sent.clone() });
    for file in ["containerd-shim-recorder-v1", inner] {
        std::fs::remove_file(bin.join(file)).expect("script");
    }
}

/// The Create requests that a recorder has written down, over all connections.
fn creates(dir: &Path, name: &str) -> Vec<Request> {
    let files = std::fs::read_dir(dir).expect("the node's directory").flatten().map(|entry| entry.path());
    let files = files.filter(|path| path.file_stem().is_some_and(|stem| stem == name));
    files
        .filter(|path| path.extension().is_some_and(|number| number.to_string_lossy().parse::<u32>().is_ok()))
        .flat_map(|path| requests(&std::fs::read(path).expect("what was recorded")))
        .filter(|request| request.method == "Create")
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
