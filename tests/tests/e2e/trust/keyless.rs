//! Keyless signatures are followed for the identity, the authorities and the proof of time that the site names, and changed copies
//! are not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bestfit_tests::artifact;
use bestfit_tests::image::{Descriptor, digest, media};
use bestfit_tests::node::Settings;
use bestfit_tests::registry::{Kind, Registry};
use bestfit_tests::scenario::{Scenario, World, skip};
use bestfit_tests::signing::keyless::{IDENTITY, ISSUER, Keyless};
use serde_json::{Value, json};

use super::{Pair, desk, followed, ignored, pair_in, signer, untrusted};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "trust: a keyless signature is followed, for its identity and authorities alone",
        run: identities,
    },
    Scenario { name: "trust: changed copies of a keyless signature are ignored", run: changed },
];

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// Attaches a bundle to an artifact, as cosign does.
pub(super) fn attach(registry: &Registry, repository: &str, artifact: &str, bundle: &Value) {
    let bytes = serde_json::to_vec(bundle).expect("JSON");
    registry.put_blob(repository, &digest(b"{}"), b"{}");
    registry.put_blob(repository, &digest(&bytes), &bytes);
    let subject = registry.get_manifest(repository, artifact).expect("the artifact");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media::MANIFEST, "artifactType": BUNDLE,
        "config": Descriptor::of(media::EMPTY, b"{}").json(), "layers": [Descriptor::of(BUNDLE, &bytes).json()],
        "subject": Descriptor::of(media::MANIFEST, &subject).json(),
    });
    artifact::refer(registry, repository, &manifest);
}

/// The pair in a repository of its own, nothing signed yet.
fn bare(world: &mut World, suffix: &str) -> Pair {
    pair_in(world, Kind::Docker, suffix, &artifact::fits(), &json!({}))
}

fn attach_to(world: &mut World, pair: &Pair, bundle: &Value) {
    attach(world.registry(Kind::Docker), &pair.image.repository, &pair.artifact, bundle);
}

fn made(digest: &str) -> Keyless {
    desk().keyless(digest).unwrap_or_else(|why| skip(&why))
}

fn trusting(accepted: String) -> Settings {
    Settings::default().trust("enforce", &[accepted])
}

fn identities(world: &mut World) {
    let [logged, stamped] = ["-log", "-tsa"].map(|suffix| bare(world, suffix));
    let keyless = made(&logged.artifact);
    assert_eq!(logged.artifact, stamped.artifact, "one signature is about both");
    attach_to(world, &logged, &keyless.logged);
    attach_to(world, &stamped, &keyless.stamped);
    let other = made(&digest(b"something else"));
    for (pair, accepted, refused) in [
        (&logged, keyless.accepted(ISSUER, IDENTITY, "log"), None),
        (&logged, keyless.accepted(ISSUER, "https://lab.example/*", "log"), None),
        (&logged, keyless.accepted(ISSUER, "https://other.example/*", "log"), Some("not by the entry's identity")),
        (&logged, keyless.accepted("https://other.example", IDENTITY, "log"), Some("not by the entry's identity")),
        (&logged, other.accepted(ISSUER, IDENTITY, "log"), Some("keyless: ")),
        (&logged, keyless.accepted(ISSUER, IDENTITY, "tsa"), Some("there is no time stamp")),
        (&stamped, keyless.accepted(ISSUER, IDENTITY, "tsa"), None),
        (&stamped, keyless.accepted(ISSUER, IDENTITY, "log"), Some("no entry of a transparency log")),
    ] {
        world.node.configure(&trusting(accepted));
        match refused {
            None => assert_eq!(signer(&followed(world, pair), &pair.artifact), "lab"),
            Some(words) => untrusted(&ignored(world, pair), &pair.artifact, words),
        }
    }
}

/// Changes one byte of what a text of base64 stands for.
fn flip(value: &mut Value) {
    let mut bytes = STANDARD.decode(value.as_str().expect("text")).expect("base64");
    *bytes.last_mut().expect("bytes") ^= 1;
    *value = STANDARD.encode(bytes).into();
}

fn changed(world: &mut World) {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 5] = [
        ("-signature", |bundle| flip(&mut bundle["dsseEnvelope"]["signatures"][0]["sig"])),
        ("-certificate", |bundle| flip(&mut bundle["verificationMaterial"]["certificate"]["rawBytes"])),
        ("-promise", |bundle| {
            let entry = &mut bundle["verificationMaterial"]["tlogEntries"][0];
            flip(&mut entry["inclusionPromise"]["signedEntryTimestamp"]);
        }),
        ("-proof", |bundle| {
            flip(&mut bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["hashes"][0]);
        }),
        ("-time", |bundle| {
            bundle["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "1700000000".into();
        }),
    ];
    for (suffix, change) in changes {
        let pair = bare(world, suffix);
        let keyless = made(&pair.artifact);
        let mut bundle = keyless.logged.clone();
        change(&mut bundle);
        attach_to(world, &pair, &bundle);
        world.node.configure(&trusting(keyless.accepted(ISSUER, IDENTITY, "log")));
        untrusted(&ignored(world, &pair), &pair.artifact, "lab: ");
        // The one that was not changed, beside it.
        attach_to(world, &pair, &keyless.logged);
        world.node.configure(&trusting(keyless.accepted(ISSUER, IDENTITY, "log")));
        followed(world, &pair);
    }
}
