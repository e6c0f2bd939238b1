//! What must hold of every decision, whatever is in the artifacts: checked with random questions. Each property counts how
//! often it had something to say, so that none can pass by saying nothing.

mod cases;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestCaseError, TestRng, TestRunner};

use crate::decide::decide;
use crate::decision::{Decision, Evidence, Outcome, Reason, Verdict};
use crate::digest::Digest;
use crate::facts::Fact;
use crate::matching::SILENT;
use crate::platform::PlatformClass;
use crate::ranking::Rank;
use crate::schema::SchemaFile;
use crate::testing::{Attach, attach, bare_inputs, facts, image, index};
use cases::{Case, Layer, State, case};

/// How many questions each property is held against, at least; `PROPTEST_CASES` may ask for more.
const CASES: u32 = 500;

/// Ok(true) where the property said something about the case.
type Told = Result<bool, TestCaseError>;

/// Where no seed is asked for (`PROPTEST_RNG_SEED`), one that differs from run to run.
fn seed(wanted: RngSeed) -> u64 {
    match wanted {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => RandomState::new().build_hasher().finish(),
    }
}

/// Holds a property against many cases; at least `least` of them must be about something. Where chance made too few, more are
/// asked for, up to four times as many.
fn holds<S: Strategy>(questions: S, least: usize, property: impl Fn(S::Value) -> Told) {
    let (told, asked) = (Cell::new(0), Cell::new(0));
    let asks = Config::default();
    let (cases, mut seed) = (asks.cases.max(CASES), seed(asks.rng_seed));
    while asked.get() < 4 * cases && (asked.get() == 0 || told.get() < least) {
        // A runner that ran as many cases as it was to runs no more.
        let rng_seed = RngSeed::Fixed(seed);
        let mut runner = TestRunner::new(Config { cases, rng_seed, failure_persistence: None, ..asks.clone() });
        let outcome = runner.run(&questions, |case| {
            told.set(told.get() + usize::from(property(case)?));
            Ok(())
        });
        asked.set(asked.get() + cases);
        if let Err(error) = outcome {
            panic!("{error}\nonce more: PROPTEST_RNG_SEED={seed} PROPTEST_CASES={cases}");
        }
        seed = seed.wrapping_add(1);
    }
    let (told, asked) = (told.get(), asked.get());
    println!("{told} of {asked} cases");
    assert!(told >= least, "only {told} of {asked} cases were about anything, {least} are expected");
}

fn decided(case: &Case) -> Decision {
    decide(&case.build()).unwrap()
}

fn winner(decision: &Decision) -> Option<Digest> {
    match decision.outcome {
        Outcome::Swap => decision.preferred.first().copied(),
        Outcome::Default => decision.default,
        Outcome::Deny => None,
    }
}

fn rank_of<'d>(decision: &'d Decision, digest: &Digest) -> Option<&'d Rank> {
    decision.entries.iter().find(|entry| entry.digest == *digest)?.rank.as_ref()
}

type Essence<'d> = (Outcome, &'d [Digest], Vec<(Verdict, Option<&'d Rank>)>);

/// What does not depend on the bytes of artifacts.
fn essence(decision: &Decision) -> Essence<'_> {
    let entries = decision.entries.iter().map(|entry| (entry.verdict, entry.rank.as_ref()));
    (decision.outcome, &decision.preferred, entries.collect())
}

fn nothing_steers(decision: &Decision) -> bool {
    decision.why == "no entry has a compatibility artifact"
}

#[test]
fn permuting_anything_but_positions_changes_nothing() {
    holds(case(), 150, |mut case| {
        case.dated = true;
        let (straight, turned) = (decided(&case), decide(&case.build_in(true)).unwrap());
        prop_assert_eq!(essence(&straight), essence(&turned));
        prop_assert_eq!(straight.inputs.facts, turned.inputs.facts);
        prop_assert_eq!(straight.inputs.schemas, turned.inputs.schemas);
        // Without dates artifacts go by their digests: their order in the list is all that may change.
        case.dated = false;
        let inputs = case.build();
        let mut listed = inputs.clone();
        for evidence in listed.evidence.values_mut() {
            if let Evidence::Read { artifacts, .. } = evidence {
                artifacts.reverse();
            }
        }
        prop_assert_eq!(decide(&inputs).unwrap(), decide(&listed).unwrap());
        Ok(straight.entries.iter().any(|entry| entry.rank.is_some()))
    });
}

#[test]
fn the_order_is_total_and_preferred_is_in_it() {
    holds(case(), 50, |case| {
        let decision = decided(&case);
        let ranks: Vec<&Rank> = decision.entries.iter().filter_map(|entry| entry.rank.as_ref()).collect();
        for (at, a) in ranks.iter().enumerate() {
            for (other, b) in ranks.iter().enumerate() {
                prop_assert_eq!(a == b, at == other);
                prop_assert_eq!(a < b, b > a);
                prop_assert!(a <= b || b <= a);
                prop_assert_eq!(a.difference(b).is_some(), at != other);
                for c in &ranks {
                    prop_assert!(!(a < b && b < c) || a < c);
                }
            }
        }
        let of = |digest: &Digest| rank_of(&decision, digest);
        prop_assert!(decision.preferred.windows(2).all(|pair| of(&pair[0]).is_none() || of(&pair[0]) > of(&pair[1])));
        prop_assert!(decision.default.is_none_or(|default| !decision.preferred.contains(&default)));
        prop_assert_eq!(decision.outcome == Outcome::Swap, !decision.preferred.is_empty());
        Ok(ranks.len() > 1)
    });
}

/// Two rules of matching.md §6 speak about the question, not about a candidate, and stay out: what could not be read is
/// an error whoever it is about, and an index without any artifact is left alone.
#[test]
fn removing_a_loser_never_changes_the_winner() {
    holds((case(), any::<prop::sample::Index>()), 40, |(mut case, at)| {
        case.images.iter_mut().for_each(|image| image.unread = false);
        case.dated = true;
        let before = decided(&case);
        let at = at.index(case.images.len());
        let lost = image(case.images[at].name);
        if winner(&before) == Some(lost) || before.default == Some(lost) {
            return Ok(false);
        }
        let mut without = case.clone();
        without.images.remove(at);
        // Which entry containerd chose is part of the question.
        let mut inputs = without.build();
        inputs.default = before.default;
        let after = decide(&inputs).unwrap();
        if nothing_steers(&after) && !nothing_steers(&before) {
            return Ok(false);
        }
        prop_assert_eq!(winner(&after), winner(&before), "{} → {}", before.why, after.why);
        Ok(before.outcome == Outcome::Swap)
    });
}

#[test]
fn learning_a_fact_never_makes_a_verdict_uncertain() {
    let learned = prop_oneof![(0..2_usize).prop_map(State::Known), Just(State::Absent)];
    holds((case(), any::<prop::sample::Index>(), learned), 25, |(case, at, learned)| {
        let mut after = case.clone();
        let open: Vec<usize> =
            (0..case.host.len()).filter(|at| matches!(case.host[*at], State::Unknown | State::NotTold)).collect();
        // Features stand behind the facts.
        let at = at.index(open.len() + 2);
        let certain = match open.get(at) {
            Some(fact) if !case.group_is_known(*fact) => return Ok(false),
            Some(fact) => {
                after.host[*fact] = learned;
                if after.contradicts_itself(*fact) {
                    return Ok(false);
                }
                case.host[*fact] == State::Unknown && !Case::derived(*fact)
            }
            None => {
                after.features[at - open.len()] = true;
                true
            }
        };
        let (before, after) = (decided(&case), decided(&after));
        let mut told = false;
        for (old, new) in before.entries.iter().zip(&after.entries) {
            prop_assert!(
                !(old.verdict == Verdict::Compatible && new.verdict == Verdict::Undetermined),
                "{:#?} → {:#?}",
                old.reasons,
                new.reasons
            );
            // What could be told without the fact stays as it is told (Kleene).
            if certain && old.verdict != Verdict::Undetermined {
                prop_assert_eq!(old.verdict, new.verdict, "{:#?} → {:#?}", &old.reasons, &new.reasons);
            }
            told |= old.verdict == Verdict::Compatible || old.verdict != new.verdict;
        }
        Ok(told)
    });
}

/// How good a verdict is for an entry that declares something.
fn goodness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Incompatible => 0,
        Verdict::Undetermined => 1,
        Verdict::Undeclared | Verdict::Skipped => 2,
        Verdict::Compatible => 3,
    }
}

/// A requirement is added where nothing else changes with it: the artifact names the same groups as before, so it replaces
/// the same ones.
#[test]
fn adding_a_requirement_never_improves_a_verdict() {
    let index = any::<prop::sample::Index>;
    holds((case(), index(), index(), index()), 40, |(mut case, which, layer, ask)| {
        case.dated = true;
        let before = decided(&case);
        let mut artifacts: Vec<_> =
            case.images.iter_mut().flat_map(|image| &mut image.artifacts).chain(&mut case.shared).collect();
        if artifacts.is_empty() {
            return Ok(false);
        }
        let which = which.index(artifacts.len());
        let artifact = &mut artifacts[which];
        let asks = Layer::about(&artifact.groups());
        if asks.is_empty() {
            return Ok(false);
        }
        let layer = layer.index(artifact.layers.len());
        let (layer, ask) = (&mut artifact.layers[layer], asks[ask.index(asks.len())]);
        if !layer.lacks(ask) {
            return Ok(false);
        }
        layer.asks.push(ask);
        let after = decided(&case);
        for (old, new) in before.entries.iter().zip(&after.entries) {
            // What asks for nothing that can be checked becomes known by asking for something: whole entries and alternatives.
            let silent = old.verdict == Verdict::Undeclared || old.reasons.iter().any(|reason| reason.text == SILENT);
            let worse = silent || goodness(new.verdict) <= goodness(old.verdict);
            prop_assert!(worse, "{:#?} → {:#?}", old, new);
        }
        Ok(before.entries.iter().any(|entry| [Verdict::Compatible, Verdict::Undetermined].contains(&entry.verdict)))
    });
}

#[test]
fn losing_or_breaking_an_artifact_never_makes_its_entry_win() {
    holds((case(), any::<prop::sample::Index>(), 0..5_usize), 20, |(case, at, how)| {
        let (before, mut broken) = (decided(&case), case.clone());
        let at = at.index(case.images.len());
        let subject = image(case.images[at].name);
        match broken.images[at].artifacts.first_mut() {
            Some(artifact) if how < 4 => artifact.broken = Some(how),
            _ => broken.images[at].unread = true,
        }
        let after = decided(&broken);
        if before.default == Some(subject) {
            // It is what runs where there is doubt.
            return Ok(false);
        }
        prop_assert!(winner(&after) != Some(subject) || winner(&before) == Some(subject));
        prop_assert!(!broken.images[at].unread || !after.preferred.contains(&subject));
        // And nothing else changes: who won before by fitting best still does, unless it was this one.
        match winner(&before) {
            Some(best) if best != subject && rank_of(&before, &best).is_some() => {
                prop_assert_eq!(winner(&after), Some(best));
            }
            _ => {}
        }
        Ok(before.preferred.contains(&subject))
    });
}

#[test]
fn what_is_about_all_entries_makes_none_win_when_it_is_lost() {
    holds((case(), 0..4_usize), 20, |(mut case, how)| {
        if case.shared.is_empty() {
            case.shared.extend(case.images[0].artifacts.pop());
        }
        if case.shared.is_empty() {
            return Ok(false);
        }
        let before = decided(&case);
        case.shared[0].broken = Some(how);
        let after = decided(&case);
        let known =
            winner(&after).is_none_or(|digest| Some(digest) == after.default || winner(&before) == Some(digest));
        prop_assert!(known, "{} → {}", before.why, after.why);
        Ok(before.outcome == Outcome::Swap)
    });
}

#[test]
fn a_fact_that_contradicts_the_schema_takes_away_nothing_else() {
    let text = r#"{"graph": {"id": "org.lab", "version": "1", "nodes": {"a": {"metadata": {"type": "bool", "doc": "x"}},
        "b": {"metadata": {"type": "bool", "doc": "x"}}, "c": {"metadata": {"type": "bool", "doc": "x"}}}, "edges": [
        {"source": "b", "target": "c", "relation": "implies"}, {"source": "a", "target": "b", "relation": "implies"}]}}"#;
    let mut inputs = bare_inputs(index(&[("a", "linux/amd64")]), facts(&[("org.lab", "a", true.into())]));
    inputs.schemas = vec![SchemaFile { name: "lab.json".to_owned(), text: text.to_owned() }];
    attach(&mut inputs, "a", &[Attach::to(image("a")).document(r#"{"compatibilities":{"org.lab":{"c":true}}}"#)]);
    assert_eq!(decide(&inputs).unwrap().entries[0].verdict, Verdict::Compatible);
    inputs.facts.set("org.lab", "b", Fact::absent("/test"));
    assert_eq!(decide(&inputs).unwrap().entries[0].verdict, Verdict::Compatible);
}

/// A group without a schema is known as soon as the host has one fact in it; only then can its keys be wrong.
#[test]
fn a_host_that_gets_a_new_group_makes_its_keys_count() {
    let mut inputs = bare_inputs(index(&[("a", "linux/amd64")]), facts(&[]));
    let document = r#"{"compatibilities":{"org.free":{"db":"nt"}}}"#;
    attach(&mut inputs, "a", &[Attach::to(image("a")).document(document)]);
    let verdict = |inputs: &_| decide(inputs).unwrap().entries[0].verdict;
    assert_eq!(verdict(&inputs), Verdict::Undeclared);
    inputs.facts = facts(&[("org.free", "release", "2".into())]);
    assert_eq!(verdict(&inputs), Verdict::Undetermined);
    inputs.facts = facts(&[("org.free", "db", "nt".into())]);
    assert_eq!(verdict(&inputs), Verdict::Compatible);
}

/// The classes that the properties are about: each must come up often.
#[test]
fn the_cases_reach_everything() {
    let seen = RefCell::new(BTreeMap::<String, usize>::new());
    let config = Config { cases: 1000, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&case(), |case| {
        let decision = decided(&case);
        let mut seen = seen.borrow_mut();
        let mut count = |class: String| *seen.entry(class).or_default() += 1;
        count(format!("{:?}", decision.outcome));
        for entry in &decision.entries {
            count(format!("{:?}", entry.verdict));
            let says = |part: &str| entry.reasons.iter().any(|reason: &Reason| reason.text.contains(part));
            let compatible = entry.verdict == Verdict::Compatible;
            let rank = entry.rank.as_ref();
            let classes = [
                ("preferred", says("[preferred]")),
                ("preferred counts", rank.is_some_and(|rank| rank.preferred > 0)),
                ("unknown preferred", rank.is_some_and(|rank| rank.unknown_preferred.0 > 0)),
                ("alternative", says("[alternative x]")),
                ("alternative compatible", compatible && says("[alternative x]")),
                ("index-wide compatible", compatible && !case.shared.is_empty()),
                ("unknown fact", says("cannot be seen: EACCES")),
                ("no known key", says("no known key")),
                ("site rule", says("site rule")),
                ("site score", rank.is_some_and(|rank| rank.policy != 0)),
                ("signed", rank.is_some_and(|rank| rank.author > 0)),
                ("weight", rank.is_some_and(|rank| rank.weight != 0)),
                ("32 bits", rank.is_some_and(|rank| rank.class == PlatformClass::Compatible32)),
                ("anywhere", says("runs anywhere")),
                ("several artifacts", entry.artifacts.len() > 1),
                ("NFD rules", says("cpu.cpuid/")),
                ("derived", says("org.lab/quiet")),
                ("platform", says("platform.variant")),
                ("unread", says("could not be read")),
            ];
            classes.iter().filter(|(_, reached)| *reached).for_each(|(name, _)| count((*name).to_owned()));
        }
        for part in ["replaced", "not known here", "nobody whom this site trusts"] {
            if decision.notes.iter().any(|note| note.contains(part)) {
                count(part.to_owned());
            }
        }
        Ok(())
    });
    outcome.unwrap();
    let seen = seen.into_inner();
    println!("{seen:?}");
    let rare: Vec<_> = seen.iter().filter(|(_, count)| **count < 5).collect();
    assert!(rare.is_empty() && seen.len() == 30, "{} classes, of which too rarely: {rare:?}", seen.len());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), document in ".{0,200}") {
        let mut inputs = bare_inputs(index(&[("a", "linux/amd64"), ("b", "linux/amd64")]), facts(&[]));
        attach(&mut inputs, "b", &[Attach::to(image("b")).document(&document)]);
        prop_assert!(decide(&inputs).is_ok());
        inputs.index = bytes;
        let _ = decide(&inputs);
    }
}
