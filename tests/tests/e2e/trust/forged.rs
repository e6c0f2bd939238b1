//! Signatures that are genuine, but of something else; and genuine artifacts that are no longer, or not yet, in force.

use bestfit_tests::artifact::{self, fits, fits_nowhere};
use bestfit_tests::image::{Descriptor, media};
use bestfit_tests::node::Settings;
use bestfit_tests::registry::{Kind, Registry};
use bestfit_tests::scenario::{Scenario, World, skip};
use bestfit_tests::signing::{Algorithm, Valid, Way, recorded_keyless};
use serde_json::{Value, json};

use super::{
    Pair, desk, enforce, followed, ignored, pair_in, pair_with, sign, signed, standing, unsigned, untrusted, vendor,
};
use crate::prepared::Prepared;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "trust: a signature copied to another digest", run: copied_signature },
    Scenario { name: "trust: signatures of notation copied to another digest", run: copied_notation },
    Scenario { name: "trust: a signed artifact with another subject", run: other_subject },
    Scenario { name: "trust: an attestation is no signature, nor is another predicate", run: attestations },
    Scenario { name: "trust: a genuine keyless bundle of something else", run: keyless_of_something_else },
    Scenario { name: "trust: rollback to an older signed artifact", run: rollback },
    Scenario { name: "trust: a signed artifact from the future", run: from_the_future },
];

/// Copies an image with all that refers to its better entry, and what refers to that, into another repository.
pub(super) fn copy(registry: &Registry, pair: &Pair, repository: &str) -> Pair {
    let reference = registry.push(repository, "1", &pair.image.index);
    let from = &pair.image.repository;
    for subject in [pair.better(), &pair.artifact] {
        for manifest in artifact::referrers(registry, from, subject) {
            copy_manifest(registry, from, &manifest, repository);
        }
    }
    let image = Prepared { repository: repository.to_owned(), reference, index: pair.image.index.clone() };
    Pair { image, artifact: pair.artifact.clone() }
}

/// The manifests in a registry are those that were written by `serde_json` or came with their bytes: asked for by digest.
fn copy_manifest(registry: &Registry, from: &str, manifest: &Value, to: &str) {
    copy_blobs(registry, from, manifest, to);
    artifact::refer(registry, to, manifest);
}

fn copy_blobs(registry: &Registry, from: &str, manifest: &Value, to: &str) {
    let layers = manifest["layers"].as_array().expect("layers");
    for blob in layers.iter().chain([&manifest["config"]]).filter_map(|blob| blob["digest"].as_str()) {
        registry.put_blob(to, blob, &registry.get_blob(from, blob));
    }
}

/// Attaches to `pair`'s artifact what signs another one: the same blobs in a manifest with the other subject.
fn graft(registry: &Registry, from: &Pair, pair: &Pair) {
    for mut manifest in artifact::referrers(registry, &from.image.repository, &from.artifact) {
        copy_blobs(registry, &from.image.repository, &manifest, &pair.image.repository);
        let bytes = registry.get_manifest(&pair.image.repository, &pair.artifact).expect("the artifact");
        manifest["subject"] = Descriptor::of(media::MANIFEST, &bytes).json();
        artifact::refer(registry, &pair.image.repository, &manifest);
    }
    let tag = |digest: &str| format!("{}.sig", digest.replace(':', "-"));
    if let Some(old) = registry.get_manifest(&from.image.repository, &tag(&from.artifact)) {
        let manifest: Value = serde_json::from_slice(&old).expect("a manifest");
        copy_blobs(registry, &from.image.repository, &manifest, &pair.image.repository);
        registry.put_manifest(&pair.image.repository, &tag(&pair.artifact), media::MANIFEST, &old);
    }
}

/// A pair whose artifact is the attacker's, with the signatures that the vendor made about the genuine one elsewhere.
fn grafted(world: &mut World, ways: &[Way<'_>]) -> Pair {
    let genuine = pair_in(world, Kind::Docker, "-genuine", &fits_nowhere(), &json!({}));
    for way in ways {
        sign(world, Kind::Docker, &genuine, &genuine.artifact, *way);
    }
    let forged = unsigned(world, Kind::Docker);
    graft(world.registry(Kind::Docker), &genuine, &forged);
    forged
}

fn copied_signature(world: &mut World) {
    for way in [Way::Bundle(&vendor()), Way::OldForm(&vendor())] {
        let forged = grafted(world, &[way]);
        world.node.configure(&enforce());
        untrusted(&ignored(world, &forged), &forged.artifact, "made for");
    }
}

fn copied_notation(world: &mut World) {
    let authority = desk().authority("jws");
    let leaf = desk().leaf(&authority, "leaf", &Valid::long());
    for way in [Way::Jws(&leaf), Way::Cose(&leaf)] {
        let forged = grafted(world, &[way]);
        world.node.configure(&Settings::default().trust("enforce", &[authority.accepted("notation")]));
        untrusted(&ignored(world, &forged), &forged.artifact, "made for");
    }
}

/// The artifact is genuine and signed, but about another image; a list names it as if it were about this one.
fn other_subject(world: &mut World) {
    let pair = signed(world, Kind::Docker);
    let registry = world.registry(Kind::Docker);
    let (repository, artifact) = (&pair.image.repository, &pair.artifact);
    // The tag that stands in for the list of the default entry's referrers, of which there are none.
    let bytes = registry.get_manifest(repository, artifact).expect("the artifact");
    let mut entry = Descriptor::of(media::MANIFEST, &bytes).json();
    entry["artifactType"] = json!(artifact::ARTIFACT);
    let list = json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": [entry]});
    let tag = pair.image.index.entry(0).replace(':', "-");
    registry.put_manifest(repository, &tag, media::INDEX, &serde_json::to_vec(&list).expect("JSON"));
    world.node.configure(&enforce());
    let record = followed(world, &pair);
    let default = &record["decision"]["entries"][0];
    assert_ne!(default["verdict"], json!("compatible"), "another image's artifact counts: {default:#}");
    assert!(default.to_string().contains("listed for"), "{default:#}");
}

fn attestations(world: &mut World) {
    let pair = unsigned(world, Kind::Docker);
    let target = pair.target(world.registry(Kind::Docker), &pair.artifact);
    for predicate in ["slsaprovenance1", "https://sigstore.dev/cosign/sign/v2"] {
        desk().attest(&target, &vendor(), predicate);
    }
    world.node.configure(&enforce());
    untrusted(&ignored(world, &pair), &pair.artifact, "predicate");
}

/// The recorded public bundle, which verifies against its trusted root, as if it were about our artifact.
fn keyless_of_something_else(world: &mut World) {
    let (bundle, trusted_root) = recorded_keyless().unwrap_or_else(|why| skip(&why));
    let pair = unsigned(world, Kind::Docker);
    super::keyless::attach(world.registry(Kind::Docker), &pair.image.repository, &pair.artifact, &bundle);
    let copied = world.node.dir.join("trusted_root.json");
    std::fs::copy(trusted_root, &copied).expect("the trusted root");
    let anybody =
        format!("[[trust.accept]]\nkeyless = {{ issuer = \"*\", subject = \"*\", trusted_root = {copied:?} }}\n");
    world.node.configure(&Settings::default().trust("enforce", &[anybody]));
    let record = ignored(world, &pair);
    assert!(standing(&record, &pair.artifact)["untrusted"].is_object(), "{record:#}");
}

/// `date` as `org.opencontainers.image.created`.
fn created(date: &str) -> Value {
    json!({"org.opencontainers.image.created": date})
}

/// Attaches another artifact to the pair's better entry.
fn attach(world: &mut World, pair: &Pair, groups: &Value, date: &str) -> String {
    let (document, subject) = (artifact::compatibilities(groups), &pair.image.index.entries[1].descriptor);
    let registry = world.registry(Kind::Docker);
    artifact::attach_with(registry, &pair.image.repository, subject, &[&document], &created(date))
}

fn rollback(world: &mut World) {
    let pair = pair_with(world, Kind::Docker, &fits(), &created("2024-01-01T00:00:00Z"));
    sign(world, Kind::Docker, &pair, &pair.artifact, Way::Bundle(&vendor()));
    let newer = attach(world, &pair, &fits_nowhere(), "2025-01-01T00:00:00Z");
    // Anybody can attach something newer: only the same signer's counts.
    sign(world, Kind::Docker, &pair, &newer, Way::Bundle(&desk().key("anybody", Algorithm::P256)));
    world.node.configure(&enforce());
    followed(world, &pair);
    sign(world, Kind::Docker, &pair, &newer, Way::Bundle(&vendor()));
    world.node.configure(&enforce());
    ignored(world, &pair);
    let newest = attach(world, &pair, &fits(), "2025-06-01T00:00:00Z");
    sign(world, Kind::Docker, &pair, &newest, Way::Bundle(&vendor()));
    world.node.configure(&enforce());
    followed(world, &pair);
    // Where the newer ones are hidden, only its age gives the oldest one away.
    for hidden in [&newest, &newer] {
        artifact::forget(world.registry(Kind::Docker), &pair.image.repository, pair.better(), hidden);
    }
    world.node.configure(&enforce());
    followed(world, &pair);
    let mut aged = enforce();
    aged.trust = aged.trust.replacen("[trust]\n", "[trust]\nmax_age = \"90d\"\n", 1);
    world.node.configure(&aged);
    ignored(world, &pair);
}

fn from_the_future(world: &mut World) {
    let pair = pair_with(world, Kind::Docker, &fits(), &created("2098-01-01T00:00:00Z"));
    sign(world, Kind::Docker, &pair, &pair.artifact, Way::Bundle(&vendor()));
    world.node.configure(&enforce());
    let record = ignored(world, &pair);
    assert!(record["decision"]["entries"][1].to_string().contains("future"), "{record:#}");
}
