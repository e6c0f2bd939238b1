//! What each word of the policy does, for a container.

use bestfit_tests::artifact::{self, fits_nowhere};
use bestfit_tests::ctr::OURS;
use bestfit_tests::node::Settings;
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World};
use bestfit_tests::signing::Way;
use serde_json::json;

use super::{
    denied, denied_by, desk, enforce, followed, ignored, require, sign, signed, signer, standing, unsigned, untrusted,
    vendor,
};
use crate::prepared::{build, last_record};

pub(super) const EVERYWHERE: &[Scenario] = &[
    Scenario { name: "trust: enforce ignores the unsigned artifact and follows the signed one", run: enforced },
    Scenario { name: "trust: require denies without a signed artifact, with a clear error", run: required },
    Scenario { name: "trust: two policies on one node by profile", run: profiles },
];

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "trust: warn follows the unsigned artifact and says so", run: warned },
    Scenario { name: "trust: a decision remembered under a key that was revoked since", run: revoked_key },
    Scenario { name: "trust: revoked digests of artifacts and of entries", run: revoked_digests },
    Scenario { name: "trust: an unsigned artifact of the whole index denies nothing", run: index_wide },
    Scenario { name: "trust: the index must be signed", run: index_signed },
    Scenario { name: "trust: the index or the entry must be signed", run: index_or_entry },
];

fn enforced(world: &mut World) {
    let pair = unsigned(world, Kind::Docker);
    world.node.configure(&enforce());
    untrusted(&ignored(world, &pair), &pair.artifact, "no signature");
    sign(world, Kind::Docker, &pair, &pair.artifact, Way::Bundle(&vendor()));
    world.node.configure(&enforce());
    let cold = followed(world, &pair);
    assert_eq!(signer(&cold, &pair.artifact), "vendor.pub");
    let warm = followed(world, &pair);
    assert_eq!((&warm["remembered"], &warm["requests"]), (&json!(true), &json!(0)), "{warm:#}");
    let text = world.node.bestfit(&["explain", &pair.image.reference]).ok().stdout;
    assert!(text.contains("vendor.pub"), "the signer is not in the explanation: {text}");
}

fn required(world: &mut World) {
    let pair = unsigned(world, Kind::Docker);
    world.node.configure(&require());
    let out = denied_by(world, OURS, &pair.image);
    assert!(out.stderr.contains("require"), "the error does not say which rule: {out}");
    last_record(world, "denied", None);
    let other = desk().key("stranger", bestfit_tests::signing::Algorithm::P256);
    sign(world, Kind::Docker, &pair, &pair.artifact, Way::Bundle(&other));
    world.node.configure(&require());
    denied(world, &pair);
    sign(world, Kind::Docker, &pair, &pair.artifact, Way::Bundle(&vendor()));
    world.node.configure(&require());
    followed(world, &pair);
}

/// The base takes everybody's artifacts; the profile requires the vendor's.
fn profiles(world: &mut World) {
    let pair = unsigned(world, Kind::Docker);
    let strict = world.node.profile("signed", &require().trust);
    assert_eq!(build(&world.node.ctr().run(OURS, &[], &pair.image.reference, "one", &[]).ok()), "better");
    denied_by(world, &strict, &pair.image);
    sign(world, Kind::Docker, &pair, &pair.artifact, Way::Bundle(&vendor()));
    world.node.configure(&Settings::default());
    for runtime in [OURS, &strict] {
        assert_eq!(build(&world.node.ctr().run(runtime, &[], &pair.image.reference, "one", &[]).ok()), "better");
    }
    last_record(world, "swapped", Some(pair.better()));
}

fn warned(world: &mut World) {
    let pair = unsigned(world, Kind::Docker);
    world.node.configure(&Settings::default().trust("warn", &[vendor().accepted()]));
    let record = followed(world, &pair);
    untrusted(&record, &pair.artifact, "no signature");
    assert!(record["decision"]["notes"].to_string().contains("signed by nobody"), "nobody is warned: {record:#}");
}

/// Nothing but the list of what is revoked changes, and no cache is emptied.
fn revoked_key(world: &mut World) {
    let pair = signed(world, Kind::Docker);
    let list = world.node.dir.join("revoked");
    std::fs::write(&list, "# nothing yet\n").expect("the list");
    let mut settings = enforce();
    settings.trust = settings.trust.replacen("[trust]\n", &format!("[trust]\nrevoked = [{list:?}]\n"), 1);
    world.node.configure(&settings);
    followed(world, &pair);
    assert_eq!(followed(world, &pair)["remembered"], json!(true), "nothing was remembered: nothing is shown");
    std::fs::write(&list, format!("{} the vendor lost it\n", vendor().fingerprint())).expect("the list");
    untrusted(&ignored(world, &pair), &pair.artifact, "revoked");
    std::fs::write(&list, "").expect("the list");
    followed(world, &pair);
}

fn revoked_digests(world: &mut World) {
    let pair = signed(world, Kind::Docker);
    let revoking = |digest: &str| {
        let mut settings = enforce();
        settings.trust = settings.trust.replacen("[trust]\n", &format!("[trust]\nrevoked = [{digest:?}]\n"), 1);
        settings
    };
    world.node.configure(&enforce());
    followed(world, &pair);
    world.node.reconfigure(&revoking(&pair.artifact));
    untrusted(&ignored(world, &pair), &pair.artifact, "revoked");
    world.node.reconfigure(&revoking(pair.better()));
    ignored(world, &pair);
}

/// An artifact about the index that fits nowhere: signed by nobody, it must not keep the image from running.
fn index_wide(world: &mut World) {
    let pair = signed(world, Kind::Docker);
    let registry = world.registry(Kind::Docker);
    let (repository, index) = (&pair.image.repository, &pair.image.index.descriptor);
    let wide = artifact::attach(registry, repository, index, &artifact::compatibilities(&fits_nowhere()));
    let deny = |settings: Settings| settings.select("on_no_fit", "deny");
    world.node.configure(&deny(enforce()));
    let record = followed(world, &pair);
    assert!(standing(&record, &wide)["untrusted"].is_object(), "{record:#}");
    // What it would do without a policy, under `warn`, and signed by the vendor.
    world.node.configure(&deny(Settings::default()));
    denied(world, &pair);
    world.node.configure(&deny(Settings::default().trust("warn", &[vendor().accepted()])));
    ignored(world, &pair);
    sign(world, Kind::Docker, &pair, &wide, Way::Bundle(&vendor()));
    world.node.configure(&deny(enforce()));
    denied(world, &pair);
}

/// A policy that wants something of the image signed besides.
fn image_signed(what: &str) -> Settings {
    let mut settings = enforce();
    settings.trust = settings.trust.replacen("[trust]\n", &format!("[trust]\nimage = {what:?}\n"), 1);
    settings
}

fn index_signed(world: &mut World) {
    let pair = signed(world, Kind::Docker);
    world.node.configure(&image_signed("index"));
    ignored(world, &pair);
    sign(world, Kind::Docker, &pair, pair.better(), Way::Bundle(&vendor()));
    world.node.configure(&image_signed("index"));
    ignored(world, &pair);
    sign(world, Kind::Docker, &pair, &pair.image.index.descriptor.digest, Way::Bundle(&vendor()));
    world.node.configure(&image_signed("index"));
    followed(world, &pair);
}

fn index_or_entry(world: &mut World) {
    let pair = signed(world, Kind::Docker);
    world.node.configure(&image_signed("index-or-entry"));
    ignored(world, &pair);
    sign(world, Kind::Docker, &pair, pair.image.index.entry(0), Way::Bundle(&vendor()));
    world.node.configure(&image_signed("index-or-entry"));
    ignored(world, &pair);
    sign(world, Kind::Docker, &pair, pair.better(), Way::Bundle(&vendor()));
    world.node.configure(&image_signed("index-or-entry"));
    followed(world, &pair);
}
