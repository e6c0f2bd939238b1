//! Foreign bytes never panic a parser, nor the judgement: arbitrary ones, and samples with bytes changed, cut or doubled.

use bestfit_selector::trust::{Standing, Trust};
use bestfit_trust::parsers;
use proptest::prelude::*;

use crate::sample::{NOW, REPOSITORY, Sample, accept, key, site, subject, text};
use bestfit_selector::trust::By;

const SAMPLES: [&str; 7] = [
    "bundle-p256",
    "bundle-certificate-tsa",
    "simple-p256",
    "simple-certificate",
    "notation-jws-tsa",
    "notation-cose-tsa",
    "attestation",
];

fn everybody() -> Trust {
    let roots = || text("certificates/intermediate.crt") + &text("certificates/root.crt");
    let tsa = || Some(text("certificates/tsa.crt") + &text("certificates/tsa-root.crt"));
    site(vec![
        accept("key", key("p256")),
        accept("certificates", By::Certificates { roots: roots(), identities: Vec::new(), tsa: tsa() }),
        accept("notation", By::Notation { roots: roots(), identities: Vec::new(), tsa: tsa() }),
    ])
}

fn parse_all(bytes: &[u8]) {
    parsers::manifest(bytes);
    parsers::bundle(bytes);
    parsers::in_toto(bytes, &subject());
    parsers::simple_signing(bytes, bytes);
    parsers::notation_jws(bytes);
    parsers::notation_cose(bytes);
    parsers::timestamp(bytes);
    parsers::certificate(bytes);
    parsers::public_key(bytes);
    parsers::identity(&String::from_utf8_lossy(bytes));
}

/// A change of some bytes: where, how many go, what comes.
fn damage() -> impl Strategy<Value = (prop::sample::Index, usize, Vec<u8>)> {
    (any::<prop::sample::Index>(), 0..4_usize, prop::collection::vec(any::<u8>(), 0..4))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        parse_all(&bytes);
    }

    #[test]
    fn damaged_samples_are_never_trusted(
        name in prop::sample::select(SAMPLES.as_slice()), damages in prop::collection::vec(damage(), 1..4)
    ) {
        let sample = Sample::read(name);
        let mut damaged = sample.signature.clone();
        for (at, gone, come) in damages {
            let at = at.index(damaged.len().max(1)).min(damaged.len());
            let end = (at + gone).min(damaged.len());
            damaged.splice(at..end, come).for_each(drop);
        }
        parse_all(&damaged);
        let mut changed = sample.clone();
        changed.signature = damaged;
        let standing = changed.standing(&everybody());
        // Not all bytes of an envelope are signed: the damage may have hit those alone, and then the signature holds.
        if !name.starts_with("notation") && !name.starts_with("bundle") && changed.signature != sample.signature {
            prop_assert!(!matches!(standing, Standing::Trusted(_)), "{standing:?}");
        }
    }
}

#[test]
fn all_samples_are_trusted_by_everybody() {
    for name in SAMPLES.iter().filter(|name| **name != "attestation") {
        let standing =
            bestfit_trust::judge(&everybody(), &subject(), REPOSITORY, &[Sample::read(name).candidate()], NOW);
        assert!(matches!(standing, Standing::Trusted(_)), "{name}: {standing:?}");
    }
}

#[test]
fn deep_cbor_and_json_are_refused() {
    parse_all(&[0x81; 100_000]);
    parse_all(&[b'['; 100_000]);
    parse_all(&[0x30; 100_000]);
    let nested = [[0xd2, 0x84, 0x40, 0xa1, 0x18, 0x21].as_slice(), &[0x81; 60_000]].concat();
    parse_all(&nested);
}
