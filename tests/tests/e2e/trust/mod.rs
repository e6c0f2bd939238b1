//! Trust end to end: every row of the attack table of the reference (trust.md, "Attacks to hold off") and every way to sign, with
//! what the real cosign and notation wrote, through the real shim.
//!
//! [`everywhere`] runs on every line of containerd: what depends on how it starts shims, shows errors or names runtimes. The
//! rest runs on the newest line only: verifying happens in the decider, which never sees containerd.

mod commands;
mod forged;
mod hidden;
mod keyless;
mod lasting;
mod policy;
mod reading;
mod signers;
mod site;
mod stored;
mod strangers;
mod undecided;
mod verifiers;

use bestfit_tests::artifact::{self, fits};
use bestfit_tests::command::Output;
use bestfit_tests::ctr::OURS;
use bestfit_tests::image::{Image, Index};
use bestfit_tests::node::Settings;
use bestfit_tests::registry::{Kind, Registry};
use bestfit_tests::scenario::{Scenario, World, skip};
use bestfit_tests::signing::{self, Algorithm, Desk, Key, Way};
use serde_json::{Value, json};

use crate::prepared::{Prepared, build, last_record, run};

/// What runs on every line.
pub(crate) fn everywhere() -> Vec<Scenario> {
    [policy::EVERYWHERE, undecided::EVERYWHERE].concat()
}

/// What runs once.
pub(crate) fn once() -> Vec<Scenario> {
    [
        signers::SCENARIOS,
        forged::SCENARIOS,
        hidden::SCENARIOS,
        reading::SCENARIOS,
        strangers::SCENARIOS,
        stored::SCENARIOS,
        policy::SCENARIOS,
        site::SCENARIOS,
        undecided::SCENARIOS,
        keyless::SCENARIOS,
        lasting::SCENARIOS,
        commands::SCENARIOS,
        verifiers::SCENARIOS,
    ]
    .concat()
}

/// The place where signatures are made; the scenario is skipped where there is no cosign.
fn desk() -> &'static Desk {
    signing::desk().unwrap_or_else(|why| skip(&why))
}

/// The key that the policies of most scenarios trust.
fn vendor() -> Key {
    desk().key("vendor", Algorithm::P256)
}

/// `enforce`, and the vendor is trusted.
fn enforce() -> Settings {
    Settings::default().trust("enforce", &[vendor().accepted()])
}

/// `require`, and the vendor is trusted.
fn require() -> Settings {
    Settings::default().trust("require", &[vendor().accepted()])
}

/// An image of a default and a better entry, and the artifact that says that the second one fits.
struct Pair {
    image: Prepared,
    artifact: String,
}

impl Pair {
    /// As `cosign` and `notation` name a digest of the repository.
    fn target(&self, registry: &Registry, digest: &str) -> String {
        format!("{}/{}@{digest}", registry.host, self.image.repository)
    }

    fn better(&self) -> &str {
        self.image.index.entry(1)
    }
}

/// Pushes and pulls the image and attaches the artifact, which nobody has signed yet.
fn unsigned(world: &mut World, kind: Kind) -> Pair {
    pair_with(world, kind, &fits(), &json!({}))
}

/// The same with another artifact.
fn pair_with(world: &mut World, kind: Kind, groups: &Value, annotations: &Value) -> Pair {
    pair_in(world, kind, "", groups, annotations)
}

/// The same in a repository with a suffix.
fn pair_in(world: &mut World, kind: Kind, suffix: &str, groups: &Value, annotations: &Value) -> Pair {
    pair_of(world, kind, suffix, Image::new("better"), (groups, annotations))
}

/// The same with another image as the better entry, and the artifact's groups and annotations.
fn pair_of(
    world: &mut World,
    kind: Kind,
    suffix: &str,
    better: Image,
    (groups, annotations): (&Value, &Value),
) -> Pair {
    let repository = world.repository() + suffix;
    let index = Index::of(&[Image::new("plain"), better]);
    let registry = world.registry(kind);
    let reference = registry.push(&repository, "1", &index);
    let document = artifact::compatibilities(groups);
    let subject = &index.entries[1].descriptor;
    let artifact = artifact::attach_with(registry, &repository, subject, &[&document], annotations);
    world.node.ctr().pull(&reference);
    Pair { image: Prepared { repository, reference, index }, artifact }
}

/// The same, signed by the vendor as cosign does it by default.
fn signed(world: &mut World, kind: Kind) -> Pair {
    let pair = unsigned(world, kind);
    sign(world, kind, &pair, &pair.artifact, Way::Bundle(&vendor()));
    pair
}

/// Signs something in the pair's repository.
fn sign(world: &mut World, kind: Kind, pair: &Pair, digest: &str, way: Way<'_>) {
    let target = pair.target(world.registry(kind), digest);
    desk().sign(&target, way);
}

/// Runs the image, in which the better entry must win.
#[track_caller]
fn followed(world: &World, pair: &Pair) -> Value {
    let out = run(world, &pair.image, &[], &[]);
    assert_eq!(build(&out), "better", "{:#}", world.node.records().last().unwrap_or(&Value::Null));
    last_record(world, "swapped", Some(pair.better()))
}

/// Runs the image, whose default must run.
#[track_caller]
fn ignored(world: &World, pair: &Pair) -> Value {
    let out = run(world, &pair.image, &[], &[]);
    assert_eq!(build(&out), "plain", "{:#}", world.node.records().last().unwrap_or(&Value::Null));
    last_record(world, "default", Some(pair.image.index.entry(0)))
}

/// Runs the image by a runtime, which must refuse, and clears away what ctr leaves of it.
#[track_caller]
fn denied_by(world: &World, runtime: &str, image: &Prepared) -> Output {
    let out = world.node.ctr().run(runtime, &[], &image.reference, "one", &[]).failed();
    world.node.ctr().call(&["containers", "rm", "one"]);
    assert!(out.stderr.contains("bestfit"), "the error does not say who refused: {out}");
    out
}

#[track_caller]
fn denied(world: &World, pair: &Pair) -> Value {
    denied_by(world, OURS, &pair.image);
    last_record(world, "denied", None)
}

/// What the record says about the signatures of a digest.
#[track_caller]
fn standing(record: &Value, digest: &str) -> Value {
    let standing = record["decision"]["inputs"]["standings"][digest].clone();
    assert!(!standing.is_null(), "nothing about {digest} in {record:#}");
    standing
}

/// The signer of a digest, who must be trusted.
#[track_caller]
fn signer(record: &Value, digest: &str) -> String {
    let standing = standing(record, digest);
    standing["trusted"]["name"].as_str().unwrap_or_else(|| panic!("not trusted: {standing:#}")).to_owned()
}

/// Why nobody who is trusted signed a digest; the words must be among the reasons.
#[track_caller]
fn untrusted(record: &Value, digest: &str, words: &str) {
    let standing = standing(record, digest);
    let why = standing["untrusted"]["why"].to_string();
    assert!(why.contains(words), "{words:?} is not among the reasons: {standing:#}");
}
