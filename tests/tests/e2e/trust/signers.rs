//! Every form in which cosign and notation sign is followed, by exactly those who are trusted, as long as they are.

use bestfit_tests::node::Settings;
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World, skip};
use bestfit_tests::signing::{Algorithm, IDENTITY, Valid, Way};

use super::{Pair, desk, followed, ignored, sign, signed, signer, unsigned, untrusted, vendor};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "trust: every form of cosign is followed (tag fallback)",
        run: |world| by_cosign(world, Kind::Docker),
    },
    Scenario {
        name: "trust: every form of cosign is followed (Referrers API)",
        run: |world| by_cosign(world, Kind::Ferro),
    },
    Scenario { name: "trust: both forms of notation are followed, by tag and by API", run: by_notation },
    Scenario { name: "trust: a signature of an expired certificate", run: expired },
    Scenario { name: "trust: a certificate that is not valid yet (clock skew)", run: not_yet_valid },
    Scenario { name: "trust: keys that were rotated", run: rotated },
    Scenario { name: "trust: a signer speaks only for the repositories of their scope", run: scopes },
];

/// Each policy in turn, and whether the pair's artifact is trusted by it.
fn each_policy(world: &mut World, pair: &Pair, policies: impl IntoIterator<Item = (String, bool)>) {
    for (accepted, trusted) in policies {
        println!("    {}", accepted.replace('\n', " "));
        world.node.configure(&Settings::default().trust("enforce", &[accepted]));
        if trusted {
            followed(world, pair)
        } else {
            ignored(world, pair)
        };
    }
}

/// One artifact with a signature of every kind; each policy trusts one of the signers.
fn by_cosign(world: &mut World, kind: Kind) {
    let desk = desk();
    let pair = unsigned(world, kind);
    let keys = Algorithm::ALL.map(|algorithm| desk.key(&format!("{algorithm:?}"), algorithm));
    let old = desk.key("old-form", Algorithm::P256);
    let [plain, stamped] = ["plain", "stamped"].map(|name| desk.authority(name));
    let leaf = |authority| desk.leaf(authority, "leaf", &Valid::long());
    let stamps = desk.stamps(&desk.authority("clock"));
    for key in &keys {
        sign(world, kind, &pair, &pair.artifact, Way::Bundle(key));
    }
    sign(world, kind, &pair, &pair.artifact, Way::OldForm(&old));
    sign(world, kind, &pair, &pair.artifact, Way::Certificate(&leaf(&plain)));
    sign(world, kind, &pair, &pair.artifact, Way::Stamped(&leaf(&stamped), &stamps));
    let tsa = format!("certificates.tsa = {:?}\n", stamps.chain);
    let identity = |name: &str| format!("certificates.identities = [{name:?}]\n");
    let by_keys = keys.iter().chain([&old]).map(|key| (key.accepted(), true));
    let others = [
        (plain.accepted("certificates") + &identity(IDENTITY), true),
        (plain.accepted("certificates") + &identity("other@vendor.example"), false),
        (stamped.accepted("certificates") + &tsa, true),
        (stamped.accepted("certificates") + &format!("certificates.tsa = {:?}\n", plain.root), false),
        (vendor().accepted(), false),
    ];
    each_policy(world, &pair, by_keys.chain(others));
}

fn by_notation(world: &mut World) {
    if bestfit_tests::peers::program("notation").is_none() {
        skip("notation is missing: run `make setup`");
    }
    let [jws, cose] = ["jws", "cose"].map(|name| desk().authority(name));
    let leaf = |authority| desk().leaf(authority, "leaf", &Valid::long());
    let identity = |name: &str| format!("notation.identities = [\"x509.subject: C=US, ST=WA, O={name}\"]\n");
    for kind in [Kind::Docker, Kind::Ferro] {
        let pair = unsigned(world, kind);
        sign(world, kind, &pair, &pair.artifact, Way::Jws(&leaf(&jws)));
        sign(world, kind, &pair, &pair.artifact, Way::Cose(&leaf(&cose)));
        let policies = [
            (jws.accepted("notation"), true),
            (cose.accepted("notation") + &identity("Vendor"), true),
            (cose.accepted("notation") + &identity("Else"), false),
            (desk().authority("plain").accepted("notation"), false),
        ];
        each_policy(world, &pair, policies);
    }
}

fn expired(world: &mut World) {
    let desk = desk();
    let pair = unsigned(world, Kind::Docker);
    let authority = desk.authority("plain");
    let stamps = desk.stamps(&desk.authority("clock"));
    let leaf = desk.leaf(&authority, "over", &Valid::over());
    sign(world, Kind::Docker, &pair, &pair.artifact, Way::Certificate(&leaf));
    sign(world, Kind::Docker, &pair, &pair.artifact, Way::Stamped(&leaf, &stamps));
    let stamped = format!("{}certificates.tsa = {:?}\n", authority.accepted("certificates"), stamps.chain);
    for accepted in [authority.accepted("certificates"), stamped] {
        world.node.configure(&Settings::default().trust("enforce", &[accepted]));
        untrusted(&ignored(world, &pair), &pair.artifact, "was valid until");
    }
}

fn not_yet_valid(world: &mut World) {
    let desk = desk();
    let pair = unsigned(world, Kind::Docker);
    let authority = desk.authority("plain");
    let leaf = desk.leaf(&authority, "early", &Valid::not_yet());
    sign(world, Kind::Docker, &pair, &pair.artifact, Way::Certificate(&leaf));
    world.node.configure(&Settings::default().trust("enforce", &[authority.accepted("certificates")]));
    untrusted(&ignored(world, &pair), &pair.artifact, "to be valid from");
}

fn rotated(world: &mut World) {
    let pair = signed(world, Kind::Docker);
    let (old, new) = (vendor(), desk().key("vendor-2027", Algorithm::Ed25519));
    world.node.configure(&Settings::default().trust("enforce", &[old.accepted()]));
    followed(world, &pair);
    // The remembered decision was made under another policy: no cache and no state is new.
    world.node.reconfigure(&Settings::default().trust("enforce", &[new.accepted()]));
    ignored(world, &pair);
    sign(world, Kind::Docker, &pair, &pair.artifact, Way::Bundle(&new));
    // Lists of referrers live for ten minutes; a new cache has none.
    world.node.configure(&Settings::default().trust("enforce", &[new.accepted(), old.accepted()]));
    let record = followed(world, &pair);
    assert_eq!(signer(&record, &pair.artifact), "vendor-2027.pub", "the first of the list is the most trusted");
}

fn scopes(world: &mut World) {
    let pair = signed(world, Kind::Docker);
    let host = world.registry(Kind::Docker).host.clone();
    let scoped =
        |scope: &str| Settings::default().trust("enforce", &[format!("{}scopes = [{scope:?}]\n", vendor().accepted())]);
    world.node.configure(&scoped(&format!("{host}/{}", pair.image.repository)));
    followed(world, &pair);
    for other in [format!("{host}/other/*"), format!("registry.example/{}", pair.image.repository)] {
        world.node.configure(&scoped(&other));
        untrusted(&ignored(world, &pair), &pair.artifact, "scope");
    }
    copied_to_another_repository(world, &pair, &host);
}

/// The image with its signed artifact, copied byte for byte to a repository that the signer does not speak for.
fn copied_to_another_repository(world: &mut World, pair: &Pair, host: &str) {
    let elsewhere = format!("{}-copy", pair.image.repository);
    let registry = world.registry(Kind::Docker);
    let image = super::forged::copy(registry, pair, &elsewhere);
    world.node.ctr().pull(&image.image.reference);
    let scope = format!("{host}/{}", pair.image.repository);
    let policy = format!("{}scopes = [{scope:?}]\n", vendor().accepted());
    world.node.configure(&Settings::default().trust("enforce", &[policy]));
    ignored(world, &image);
    world.node.configure(&super::enforce());
    followed(world, &image);
}
