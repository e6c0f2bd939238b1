//! What people read about signatures: `bestfit verify` and `bestfit policy test`, word for word.

use bestfit_tests::image::architecture;
use bestfit_tests::node::Settings;
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World};
use bestfit_tests::signing::{Algorithm, Way};

use super::{Pair, desk, enforce, require, sign, unsigned, vendor};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "trust: bestfit verify says of each artifact who signed it", run: verify },
    Scenario { name: "trust: bestfit policy test says what a policy would change", run: policy_test },
];

/// The text with names in the place of digests: of the index, the entries and the artifact; all others are signatures.
fn named(text: &str, pair: &Pair) -> String {
    const SHORT: usize = "sha256:".len() + 12;
    let index = &pair.image.index;
    let mut text = text.replace(&pair.image.reference, "IMAGE");
    for (digest, name) in [
        (index.descriptor.digest.as_str(), "INDEX"),
        (index.entry(0), "PLAIN"),
        (index.entry(1), "BETTER"),
        (&pair.artifact, "ARTIFACT"),
    ] {
        text = text.replace(&digest[..SHORT], name);
    }
    while let Some(at) = text.find("sha256:") {
        text.replace_range(at..(at + SHORT).min(text.len()), "SIGNATURE");
    }
    text.replace(architecture(), "ARCH")
}

/// What a command prints, with its exit status.
fn said(world: &World, pair: &Pair, args: &[&str]) -> (Option<i32>, String) {
    // Its cache is the user's: what it has read before must not be what it says now.
    std::fs::remove_dir_all(world.node.dir.join(".cache")).ok();
    let out = world.node.bestfit(&[args, &[&pair.image.reference]].concat());
    (out.code, named(&out.stdout, pair))
}

fn verify(world: &mut World) {
    let pair = unsigned(world, Kind::Docker);
    world.node.configure(&enforce());
    let report = |artifact: &str| {
        let nobody = "signed by nobody whom this site trusts: there is no signature";
        format!(
            "index INDEX: {nobody}\n  no artifact\nentry 0 linux/ARCH PLAIN: {nobody}\n  no artifact\n\
             entry 1 linux/ARCH BETTER: {nobody}\n  artifact ARTIFACT: {artifact}\n"
        )
    };
    let nobody = report("signed by nobody whom this site trusts: there is no signature");
    assert_eq!(said(world, &pair, &["verify"]), (Some(1), nobody));
    sign(world, Kind::Docker, &pair, &pair.artifact, Way::Bundle(&desk().key("stranger", Algorithm::P256)));
    let stranger = report(
        "signed by nobody whom this site trusts: SIGNATURE (bundle), vendor.pub: it was made by another key (SIGNATURE)",
    );
    assert_eq!(said(world, &pair, &["verify"]), (Some(1), stranger));
    sign(world, Kind::Docker, &pair, &pair.artifact, Way::Bundle(&vendor()));
    let vendor = report("signed by \"vendor.pub\" (SIGNATURE, SIGNATURE)");
    assert_eq!(said(world, &pair, &["verify"]), (Some(0), vendor));
}

fn policy_test(world: &mut World) {
    let pair = unsigned(world, Kind::Docker);
    let file = world.node.dir.join("new.toml");
    let test = |world: &World, settings: &Settings| {
        let base = std::fs::read_to_string(world.node.bestfit_config()).expect("bestfit's configuration");
        std::fs::write(&file, base + &settings.trust).expect("the new configuration");
        said(world, &pair, &["policy", "test", &file.display().to_string()])
    };
    let fits = "BETTER runs: BETTER fits this host best";
    let nobody = "no entry has a compatibility artifact of a signer whom this site trusts";
    let note =
        "       note: artifact ARTIFACT: signed by nobody whom this site trusts: ignored (there is no signature)\n";
    let enforced = format!("IMAGE: changes\n  now  {fits}\n  then PLAIN runs: {nobody}\n{note}");
    assert_eq!(test(world, &enforce()), (Some(1), enforced));
    let refused = "the container is refused (trust.mode = \"require\")";
    let required = format!("IMAGE: changes\n  now  {fits}\n  then nothing runs: {nobody}: {refused}\n{note}");
    assert_eq!(test(world, &require()), (Some(1), required));
    sign(world, Kind::Docker, &pair, &pair.artifact, Way::Bundle(&vendor()));
    let signed = format!("IMAGE: the same\n  now  {fits}\n  then {fits}\n");
    assert_eq!(test(world, &require()), (Some(0), signed));
}
