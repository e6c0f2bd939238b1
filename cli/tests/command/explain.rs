//! `bestfit explain` and `bestfit check` on OCI layouts, for hosts whose facts are in files.

use bestfit_selector::digest::Digest;
use bestfit_selector::record::Record;

use crate::layout::{Layout, facts};
use crate::sandbox::{Run, Sandbox};

const AVX2: &str = r#"{"compatibilities": {"nfd": {"cpu-cpuid.AVX2": true}}}"#;
const AVX512: &str = r#"{"compatibilities": {"nfd": {"cpu-cpuid.AVX512F": true}}}"#;
const SGX: &str = r#"{"compatibilities": {"nfd": {"cpu-cpuid.SGX": true}}}"#;
const ANYWHERE: &str = r#"{"compatibilities": {}}"#;

/// `demo:v1`: plain, AVX2, AVX512, arm64; and two hosts, `new.json` and `old.json`.
fn demo() -> Sandbox {
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox.path("demo"));
    let entries = [("amd64", "plain"), ("amd64", "avx2"), ("amd64", "avx512"), ("arm64", "arm")]
        .map(|(architecture, name)| layout.image(architecture, name));
    for (entry, document) in entries.iter().zip([ANYWHERE, AVX2, AVX512]) {
        layout.attach(entry, document);
    }
    layout.index("v1", &entries);
    layout.finish();
    hosts(&sandbox);
    sandbox
}

fn hosts(sandbox: &Sandbox) {
    sandbox.write("new.json", &facts(true, "6.1.0"));
    sandbox.write("old.json", &facts(false, "5.10.0"));
}

/// `image:v1` with one amd64 entry per document; `None` attaches nothing.
fn image(documents: &[Option<&str>]) -> Sandbox {
    let sandbox = Sandbox::new();
    let mut layout = Layout::new(&sandbox.path("image"));
    let mut entries = Vec::new();
    for (number, document) in documents.iter().enumerate() {
        let entry = layout.image("amd64", &number.to_string());
        if let Some(document) = document {
            layout.attach(&entry, document);
        }
        entries.push(entry);
    }
    layout.index("v1", &entries);
    layout.finish();
    hosts(&sandbox);
    sandbox
}

fn check(documents: &[Option<&str>]) -> Run {
    image(documents).bestfit(&["check", "oci:image:v1", "--facts", "new.json"])
}

#[test]
fn explain_says_for_each_entry_why() {
    let sandbox = demo();
    let run = sandbox.bestfit(&["explain", "oci:demo:v1", "--facts", "new.json"]);
    assert_eq!(run.prints(), include_str!("explain-new.txt"));
    let run = sandbox.bestfit(&["explain", "oci:demo:v1", "--facts", "old.json"]);
    assert_eq!(run.prints(), include_str!("explain-old.txt"));
    // Facts from standard input, and from the files of another host.
    let piped =
        sandbox.bestfit_with_input(&["explain", "oci:demo:v1", "--facts", "-"], facts(true, "6.1.0").as_bytes());
    assert_eq!(piped.prints(), include_str!("explain-new.txt"));
    sandbox.write("root/proc/cpuinfo", "");
    assert_eq!(sandbox.bestfit(&["explain", "oci:demo:v1", "--root", "root"]).code, 0);
}

#[test]
fn a_record_is_decided_again() {
    let sandbox = demo();
    let run = sandbox.bestfit(&["explain", "oci:demo:v1", "--facts", "new.json", "--json"]);
    sandbox.write("record.json", run.prints());
    let mut record: Record = serde_json::from_str(run.prints()).unwrap();
    assert_eq!(record.reference, "oci:demo:v1");
    let chosen = record.chosen.unwrap();

    let replay = ["explain", "--record", "record.json", "--facts", "new.json"];
    assert_eq!(
        sandbox.bestfit(&replay).prints(),
        format!("the same decision: {} fits this host best\n", chosen.short())
    );

    // With the facts in the state directory nobody has to name them, and the last record of a log counts.
    let bytes = std::fs::read(sandbox.path("new.json")).unwrap();
    let compact =
        serde_json::to_vec(&serde_json::from_slice::<bestfit_selector::facts::Facts>(&bytes).unwrap()).unwrap();
    sandbox
        .write(&format!("state/inputs/sha256/{}", Digest::of(&compact).hex()), std::str::from_utf8(&compact).unwrap());
    let line = serde_json::to_string(&record).unwrap();
    sandbox.write("log.jsonl", &format!("{{}}\n{line}\n\n"));
    assert_eq!(sandbox.bestfit(&["explain", "--record", "log.jsonl"]).code, 0);

    // Content comes from the node's cache where the image is gone.
    for blob in std::fs::read_dir(sandbox.path("demo/blobs/sha256")).unwrap() {
        let blob = blob.unwrap();
        let name = blob.file_name().into_string().unwrap();
        let target = sandbox.write(&format!("cache/registry/blobs/sha256/{name}"), "");
        std::fs::rename(blob.path(), target).unwrap();
    }
    assert_eq!(sandbox.bestfit(&["explain", "--record", "log.jsonl"]).code, 0);

    // A record that says something else is not the same.
    let decision = record.decision.as_mut().unwrap();
    decision.why = "because".to_owned();
    decision.preferred.clear();
    sandbox.write("other.json", &serde_json::to_string_pretty(&record).unwrap());
    let run = sandbox.bestfit(&["explain", "--record", "other.json"]);
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (
            1,
            format!(
                "not the same decision:\n  preferred: none in the record, {0} now\n  \
                 why: because in the record, {0} fits this host best now\n",
                chosen.short()
            )
            .as_str()
        )
    );
    let run = sandbox.bestfit(&["explain", "--record", "other.json", "--json"]);
    assert_eq!((run.code, run.stdout.contains("\"same\": false")), (1, true));
}

#[test]
fn a_record_without_its_inputs_is_said() {
    let sandbox = demo();
    let run = sandbox.bestfit(&["explain", "oci:demo:v1", "--facts", "new.json", "--json"]);
    let record = sandbox.write("record.json", run.prints());
    let run = sandbox.bestfit(&["explain", "--record", "record.json", "--facts", "old.json"]);
    assert_eq!((run.code, run.stdout.as_str()), (66, ""));
    assert!(run.stderr.starts_with("error: old.json is not the facts of the record, sha256:"), "{}", run.stderr);
    assert!(run.stderr.contains(": its hash is sha256:"), "{}", run.stderr);
    let run = sandbox.bestfit(&["explain", "--record", "record.json"]);
    assert_eq!((run.code, run.stdout.as_str()), (66, ""));
    let kept = ", is not kept here\nhint: replay it on the node that made the record";
    assert!(run.stderr.starts_with("error: the facts of the record, sha256:") && run.stderr.contains(kept), "{run:?}");
    std::fs::remove_dir_all(sandbox.path("demo/blobs")).unwrap();
    std::fs::create_dir_all(sandbox.path("demo/blobs/sha256")).unwrap();
    let run = sandbox.bestfit(&["explain", "--record", record.to_str().unwrap(), "--facts", "new.json"]);
    assert_eq!(run.code, 66, "{}", run.stderr);
    for (text, code) in [("", 65), ("nonsense", 65), ("{}", 65), ("[1]\n{\"schema\":1}", 65)] {
        sandbox.write("bad.json", text);
        let run = sandbox.bestfit(&["explain", "--record", "bad.json"]);
        assert_eq!(run.code, code, "{text}");
        assert!(run.stderr.starts_with("error: bad.json: no decision record: "), "{}", run.stderr);
    }
    sandbox
        .bestfit(&["explain", "--record", "nope"])
        .fails(66, "error: nope: No such file or directory (os error 2)\n");
}

#[test]
fn one_image_leaves_nothing_to_choose() {
    let sandbox = Sandbox::new();
    hosts(&sandbox);
    let mut layout = Layout::new(&sandbox.path("one"));
    let (plain, avx512) = (layout.image("amd64", "plain"), layout.image("amd64", "avx512"));
    layout.attach(&avx512, AVX512);
    let digest = layout.tag("plain", plain);
    layout.tag("avx512", avx512);
    let arm = layout.image("arm64", "arm");
    layout.tag("arm", arm);
    layout.finish();
    assert_eq!(
        sandbox.bestfit(&["explain", "oci:one:plain", "--facts", "new.json"]).prints(),
        format!("oci:one:plain is {digest}: one image, nothing to choose\n")
    );
    for (tag, code) in [("plain", 2), ("avx512", 1), ("arm", 1)] {
        assert_eq!(sandbox.bestfit(&["check", &format!("oci:one:{tag}"), "--facts", "new.json"]).code, code, "{tag}");
    }
}

#[test]
fn check_answers_by_its_exit_code() {
    for (documents, code, word) in [
        (&[Some(AVX2)][..], 0, "fits: "),
        (&[Some(AVX512), Some(AVX2)], 0, "fits: "),
        (&[Some(AVX512)], 1, "does not fit: "),
        (&[Some(AVX512), Some(AVX512)], 1, "does not fit: "),
        (&[None], 2, "undetermined: "),
        (&[None, None], 2, "undetermined: "),
        (&[Some(SGX)], 2, "undetermined: "),
        (&[Some(AVX512), None], 2, "undetermined: "),
        (&[Some("{")], 2, "undetermined: "),
    ] {
        let run = check(documents);
        assert_eq!((run.code, run.stderr.as_str()), (code, ""), "{documents:?} {}", run.stdout);
        assert!(run.stdout.starts_with(word) && run.stdout.lines().count() == 1, "{documents:?} {}", run.stdout);
    }
}

#[test]
fn check_says_which_and_why() {
    let sandbox = demo();
    let run = sandbox.bestfit(&["check", "oci:demo:v1", "--facts", "new.json", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(run.prints()).unwrap();
    assert_eq!((&answer["answer"], &answer["platform"]), (&"fits".into(), &"linux/amd64".into()));
    let digest: Digest = answer["runs"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        sandbox.bestfit(&["check", "oci:demo:v1", "--facts", "new.json"]).prints(),
        format!("fits: {0} (linux/amd64): {0} fits this host best\n", digest.short())
    );
    sandbox.write("config.toml", "[selection]\non_no_fit = \"deny\"\n");
    assert_eq!(sandbox.bestfit(&["check", "oci:demo:v1", "--facts", "new.json"]).code, 0);
}

#[test]
fn facts_of_the_image_are_checked_where_the_user_asks() {
    let sandbox = image(&[Some(r#"{"compatibilities": {"org.supercontainers": {"mpi.implementation": "openmpi"}}}"#)]);
    let known = r#"{"state": "known", "source": "/etc/ld.so.cache", "value": "#;
    sandbox.write(
        "mpich.json",
        &format!(
            r#"{{"facts": {{"io.archspec": {{"cpu.target": {known} "x86_64_v3"}}}},
                "host": {{"mpi.implementation": {known} ["mpich", "mpich-abi"]}}}}}}}}"#
        ),
    );
    let check = |more: &[&str]| {
        let arguments = ["check", "oci:image:v1", "--facts", "mpich.json"];
        sandbox.bestfit(&[&arguments[..], more].concat())
    };
    assert_eq!((check(&[]).code, check(&["--check", "org.supercontainers/mpi.*"]).code), (2, 1));
    assert_eq!(check(&["--check", "host/kernel.version"]).code, 2);
    let wrong = check(&["--check", "mpi"]);
    assert!(wrong.code == 64 && wrong.stderr.contains("write GROUP/KEY"), "{wrong:?}");
}

/// matching.md §9, example 5: the label compares by equality, and the text says what to write instead.
#[test]
fn explain_names_the_better_key() {
    let sandbox = image(&[Some(r#"{"compatibilities": {"nfd": {"kernel-version.major": 4}}}"#)]);
    let run = sandbox.bestfit(&["explain", "oci:image:v1", "--facts", "new.json"]);
    let advice = "note: nfd/kernel-version.major = 4 holds for nothing newer: better ask for \"host\": {\"kernel.version\": \">=4.18\"}\n";
    assert!(run.prints().ends_with(advice), "{}", run.stdout);
}
