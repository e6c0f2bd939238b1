//! How long a certificate counts: after it has expired only where a time stamp proves that it had not when it signed. How long
//! an artifact counts where the site sets a maximum age. No decision outlasts either.

use std::time::{Duration, SystemTime};

use bestfit_selector::time::Time;
use bestfit_tests::artifact::fits;
use bestfit_tests::node::Settings;
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World, skip};
use bestfit_tests::signing::{Valid, Way};
use serde_json::json;

use super::{desk, enforce, followed, ignored, pair_with, sign, unsigned, untrusted, vendor};
use crate::cri;
use crate::sticky::ran;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "trust: a certificate that expires after it signed, with and without a time stamp", run: expires },
    Scenario { name: "trust: an artifact that becomes too old is not remembered any longer", run: becomes_too_old },
    Scenario { name: "trust: a pod keeps its choice no longer than the certificate", run: in_a_pod },
];

/// How long the certificate is valid, and the artifact not too old: enough for signing and two containers.
const SECONDS: i64 = 45;

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
    i64::try_from(since.as_secs()).expect("a time")
}

/// The scenario cannot be played where signing took almost all of the time.
fn in_time(until: i64) {
    if now() + 15 > until {
        skip("this machine is too slow: what must not have expired yet is about to");
    }
}

fn pass(until: i64) {
    while now() <= until {
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn expires(world: &mut World) {
    let (desk, pair) = (desk(), unsigned(world, Kind::Docker));
    let authority = desk.authority("brief");
    let stamps = desk.stamps(&desk.authority("clock"));
    let until = now() + SECONDS;
    let leaf = desk.leaf(&authority, &format!("until-{until}"), &Valid::until(until));
    sign(world, Kind::Docker, &pair, &pair.artifact, Way::Stamped(&leaf, &stamps));
    let plain = authority.accepted("certificates");
    let stamped = format!("{plain}certificates.tsa = {:?}\n", stamps.chain);
    let policy = |accepted: &String| Settings::default().trust("enforce", std::slice::from_ref(accepted));
    world.node.configure(&policy(&plain));
    in_time(until);
    followed(world, &pair);
    let again = followed(world, &pair);
    assert_ne!(again["remembered"], json!(true), "the decision would outlast the certificate: {again:#}");
    pass(until);
    // Nothing is new but the time: neither cache nor state.
    untrusted(&ignored(world, &pair), &pair.artifact, "was valid until");
    world.node.configure(&policy(&stamped));
    followed(world, &pair);
    assert_eq!(followed(world, &pair)["remembered"], json!(true), "a stamp does not expire");
    world.node.configure(&policy(&plain));
    untrusted(&ignored(world, &pair), &pair.artifact, "was valid until");
}

/// The list of referrers is fresh for ten minutes; the artifact is too old before that.
fn becomes_too_old(world: &mut World) {
    const LIMIT: i64 = 3600;
    let until = now() + SECONDS;
    let created = Time { seconds: until - LIMIT, nanos: 0 }.to_string();
    let annotations = json!({"org.opencontainers.image.created": created});
    let pair = pair_with(world, Kind::Docker, &fits(), &annotations);
    sign(world, Kind::Docker, &pair, &pair.artifact, Way::Bundle(&vendor()));
    let mut policy = enforce();
    policy.trust = policy.trust.replacen("[trust]\n", &format!("[trust]\nmax_age = \"{LIMIT}s\"\n"), 1);
    world.node.configure(&policy);
    in_time(until);
    followed(world, &pair);
    assert_eq!(followed(world, &pair)["remembered"], json!(true), "it is young enough");
    pass(until);
    let record = ignored(world, &pair);
    assert!(record["decision"]["notes"].to_string().contains("more than this site allows"), "{record:#}");
}

/// The lists expire before the certificate does.
fn in_a_pod(world: &mut World) {
    let mut node = cri::node(world);
    let (desk, pair) = (desk(), unsigned(world, Kind::Docker));
    let authority = desk.authority("brief");
    let until = now() + SECONDS;
    let leaf = desk.leaf(&authority, &format!("pod-until-{until}"), &Valid::until(until));
    sign(world, Kind::Docker, &pair, &pair.artifact, Way::Certificate(&leaf));
    let policy = Settings::default().trust("enforce", &[authority.accepted("certificates")]);
    node.configure(&policy.select("referrers_lifetime", "3s"));
    cri::client(&node).pull(&pair.image.reference);
    let pod = cri::client(&node).run_pod(cri::HANDLERS[0], "signed", "default");
    in_time(until);
    ran(&node, &pod, &pair.image, "first", ("better", false));
    std::thread::sleep(Duration::from_secs(5));
    ran(&node, &pod, &pair.image, "again", ("better", true));
    pass(until);
    ran(&node, &pod, &pair.image, "over", ("plain", false));
    cri::end(&node, &pod);
}
