//! What must hold of every decision, whatever is in the artifacts: checked with random indexes.

use proptest::prelude::*;

use crate::decide::decide;
use crate::decision::{Decision, Evidence, Inputs, Outcome};
use crate::digest::Digest;
use crate::facts::Facts;
use crate::ranking::Rank;
use crate::testing::{Attach, attach, bare_inputs, facts, image, index, set, wrap};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Requirements that the host below answers with yes, no, or "cannot be told", and some that count for nothing.
const REQUIREMENTS: [&str; 12] = [
    r#""nfd":{"memory-numa":true}"#,
    r#""nfd":{"memory-numa":false}"#,
    r#""nfd":{"memory-num":true}"#,
    r#""nfd":{"cpu-cpuid.AVX2":true,"memory-numa":true}"#,
    r#""io.archspec":{"cpu.target":"zen3"}"#,
    r#""io.archspec":{"cpu.target":["zen4","icelake"]}"#,
    r#""io.archspec":{"cpu.target":"zen9"}"#,
    r#""host":{"kernel.version":">=5.10,<6"}"#,
    r#""host":{"page_size":["4096"],"kernel.version":"5.4"}"#,
    r#""org.blast":{"db":"nt"}"#,
    r#""io.bestfit":{"weight":7,"level:nfd/*":"preferred"},"nfd":{"memory-numa":true,"cpu-cpuid.X":true}"#,
    "",
];

fn host() -> Facts {
    facts(&[
        ("io.archspec", "cpu.target", "zen5".into()),
        ("io.archspec", "cpu.candidates", set("x86_64 x86_64_v2 x86_64_v3 x86_64_v4 zen3 zen4 zen5")),
        ("nfd", "memory-numa", true.into()),
        ("nfd", "cpu-cpuid.AVX2", true.into()),
        ("host", "kernel.version", "5.14.0".into()),
        ("host", "page_size", 4096.into()),
    ])
}

/// Per image: its artifacts, each a list of requirements and whether they are alternatives.
type Images = Vec<Vec<(Vec<usize>, bool)>>;

fn images() -> impl Strategy<Value = Images> {
    let artifact = (prop::collection::vec(0..REQUIREMENTS.len(), 1..3), any::<bool>());
    prop::collection::vec(prop::collection::vec(artifact, 0..3), 2..6)
}

fn attached(name: &str, artifacts: &[(Vec<usize>, bool)]) -> Vec<Attach> {
    let one = |(layers, alternatives): &(Vec<usize>, bool)| {
        layers.iter().fold(Attach::to(image(name)), |attach, at| match alternatives {
            true => attach.alternative("x", &wrap(REQUIREMENTS[*at])),
            false => attach.document(&wrap(REQUIREMENTS[*at])),
        })
    };
    artifacts.iter().map(one).collect()
}

fn build(images: &Images) -> Inputs {
    let named: Vec<(&str, &str)> = NAMES.iter().take(images.len()).map(|name| (*name, "linux/amd64")).collect();
    let mut inputs = bare_inputs(index(&named), host());
    inputs.default = Some(image("a"));
    for (name, artifacts) in NAMES.iter().zip(images) {
        attach(&mut inputs, name, &attached(name, artifacts));
    }
    inputs
}

fn winner(decision: &Decision) -> Option<Digest> {
    match decision.outcome {
        Outcome::Swap => decision.preferred.first().copied(),
        Outcome::Default => decision.default,
        Outcome::Deny => None,
    }
}

fn ranks(decision: &Decision) -> Vec<Rank> {
    decision.entries.iter().filter_map(|entry| entry.rank.clone()).collect()
}

proptest! {
    #[test]
    fn the_order_is_total_and_preferred_is_in_it(images in images()) {
        let decision = decide(&build(&images)).unwrap();
        let ranks = ranks(&decision);
        for (at, a) in ranks.iter().enumerate() {
            for (other, b) in ranks.iter().enumerate() {
                prop_assert_eq!(a == b, at == other);
                prop_assert_eq!(a < b, b > a);
                prop_assert_eq!(a.difference(b).is_some(), at != other);
            }
        }
        let of = |digest: &Digest| decision.entries.iter().find(|entry| entry.digest == *digest).unwrap().rank.clone();
        prop_assert!(decision.preferred.windows(2).all(|pair| of(&pair[0]).is_none() || of(&pair[0]) > of(&pair[1])));
        prop_assert!(!decision.preferred.contains(&image("a")));
        prop_assert_eq!(decision.outcome == Outcome::Swap, !decision.preferred.is_empty());
    }

    #[test]
    fn the_order_of_artifacts_changes_nothing(images in images()) {
        let inputs = build(&images);
        let mut turned = inputs.clone();
        for evidence in turned.evidence.values_mut() {
            if let Evidence::Read { artifacts, .. } = evidence {
                artifacts.reverse();
            }
        }
        prop_assert_eq!(decide(&inputs).unwrap(), decide(&turned).unwrap());
    }

    #[test]
    fn removing_a_loser_never_changes_the_winner(images in images(), at in 1..6_usize) {
        let inputs = build(&images);
        let decision = decide(&inputs).unwrap();
        let at = at.min(images.len() - 1);
        let lost = image(NAMES[at]);
        prop_assume!(winner(&decision) != Some(lost));
        // The last artifact may go with it; then nothing steers, by a rule of its own.
        prop_assume!(images.iter().enumerate().any(|(other, artifacts)| other != at && !artifacts.is_empty()));
        let named: Vec<(&str, &str)> =
            NAMES.iter().take(images.len()).filter(|name| image(name) != lost).map(|name| (*name, "linux/amd64")).collect();
        let mut without = inputs.clone();
        without.index = index(&named);
        without.evidence.insert(Digest::of(&without.index), Evidence::Read { list: None, artifacts: Vec::new() });
        prop_assert_eq!(winner(&decide(&without).unwrap()), winner(&decision));
    }

    #[test]
    fn losing_or_breaking_an_artifact_never_makes_its_entry_win(images in images(), at in 1..6_usize, how in 0..4) {
        let inputs = build(&images);
        let before = decide(&inputs).unwrap();
        let at = at.min(images.len() - 1);
        let subject = image(NAMES[at]);
        let mut broken = inputs.clone();
        let Some(Evidence::Read { artifacts, .. }) = broken.evidence.get_mut(&subject) else { unreachable!() };
        match (how, artifacts.first_mut()) {
            (0, Some(artifact)) => artifact.manifest = Err("503".into()),
            (1, Some(artifact)) => artifact.layers.clear(),
            (2, Some(artifact)) => artifact.layers.values_mut().for_each(|layer| *layer = Ok(b"{".to_vec())),
            _ => drop(broken.evidence.insert(subject, Evidence::Unread { why: "503".into() })),
        }
        let after = decide(&broken).unwrap();
        prop_assert!(!after.preferred.contains(&subject));
        // And nothing else changes: whoever won before still does, unless it was this one.
        if winner(&before) != Some(subject) && before.entries.iter().any(|entry| entry.rank.is_some()) {
            prop_assert_eq!(winner(&after), winner(&before));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(index in prop::collection::vec(any::<u8>(), 0..200), document in ".{0,200}") {
        let mut inputs = build(&vec![vec![], vec![]]);
        attach(&mut inputs, "b", &[Attach::to(image("b")).document(&document)]);
        prop_assert!(decide(&inputs).is_ok());
        inputs.index = index;
        let _ = decide(&inputs);
    }
}
