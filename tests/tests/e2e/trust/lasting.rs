//! How long a certificate counts: after it has expired only where a time stamp proves that it had not when it signed; and no
//! decision outlasts it.

use std::time::{Duration, SystemTime};

use bestfit_tests::node::Settings;
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World, skip};
use bestfit_tests::signing::{Valid, Way};
use serde_json::json;

use super::{desk, followed, ignored, sign, unsigned, untrusted};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "trust: a certificate that expires after it signed, with and without a time stamp",
    run: expires,
}];

/// How long the certificate is valid: enough for signing and two containers.
const SECONDS: i64 = 45;

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
    i64::try_from(since.as_secs()).expect("a time")
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
    if now() + 15 > until {
        skip("this machine is too slow: the certificate is about to expire already");
    }
    followed(world, &pair);
    let again = followed(world, &pair);
    assert_ne!(again["remembered"], json!(true), "the decision would outlast the certificate: {again:#}");
    while now() <= until {
        std::thread::sleep(Duration::from_millis(200));
    }
    // Nothing is new but the time: neither cache nor state.
    untrusted(&ignored(world, &pair), &pair.artifact, "was valid until");
    world.node.configure(&policy(&stamped));
    followed(world, &pair);
    assert_eq!(followed(world, &pair)["remembered"], json!(true), "a stamp does not expire");
    world.node.configure(&policy(&plain));
    untrusted(&ignored(world, &pair), &pair.artifact, "was valid until");
}
