//! What is chosen among candidates, and what the site refuses.

use super::*;
use crate::decide::decide;
use crate::decision::Decision;
use crate::facts::{Fact, Facts};
use crate::policy::{Action, Rule};
use crate::testing::{facts, image, inputs, set};

const NAMES: [&str; 2] = ["default", "better"];
const FITS: &str = r#""host":{"kernel.version":">=5.0"}"#;
const NOT: &str = r#""host":{"kernel.version":">=6.0"}"#;

fn host() -> Facts {
    facts(&[("host", "kernel.version", "5.14".into())])
}

/// Two entries, what is said about them, and a change of the inputs.
fn decided(documents: [Option<&str>; 2], change: impl FnOnce(&mut Inputs)) -> Decision {
    let images: Vec<(&str, Option<&str>)> = NAMES.into_iter().zip(documents).collect();
    let mut asked = inputs(&images, host());
    change(&mut asked);
    decide(&asked).unwrap()
}

fn deny(name: &str) -> impl FnOnce(&mut Inputs) {
    let rule = Rule { action: Action::Deny, digests: vec![image(name)], ..Rule::default() };
    move |inputs| inputs.policy.rules = [("old".to_owned(), rule)].into()
}

fn no_fit(inputs: &mut Inputs) {
    inputs.policy.on_no_fit = Otherwise::Deny;
}

/// The applying side may find that nothing can be applied: what holds then is part of the decision.
#[test]
fn a_swap_says_what_holds_where_it_cannot_be_applied() {
    let denied = "site rule \"old\" denies the entry that containerd chose";
    let no = "the entry that containerd chose does not fit this host (selection.on_no_fit = \"deny\")";
    type Change = Box<dyn FnOnce(&mut Inputs)>;
    let table: Vec<(_, Change, _)> = vec![
        ([None, Some(FITS)], Box::new(|_| {}), None),
        ([None, Some(FITS)], Box::new(deny("default")), Some(denied)),
        ([Some(NOT), Some(FITS)], Box::new(|_| {}), None),
        ([Some(NOT), Some(FITS)], Box::new(no_fit), Some(no)),
        ([None, Some(FITS)], Box::new(no_fit), None),
        // What asks for nothing is the fallback; without it the default still does not fit.
        ([Some(NOT), None], Box::new(no_fit), Some(no)),
        // Unsigned words refuse nobody where the site asks for signatures.
        (
            [Some(NOT), Some(FITS)],
            Box::new(|inputs| {
                no_fit(inputs);
                inputs.policy.trust.mode = TrustMode::Warn;
            }),
            None,
        ),
    ];
    for (documents, change, expected) in table {
        let decision = decided(documents, change);
        assert_eq!((decision.outcome, decision.otherwise.as_deref()), (Outcome::Swap, expected), "{documents:?}");
    }
    let text = crate::record::render_table(&decided([None, Some(FITS)], deny("default")));
    assert!(text.contains(&format!("\n  without it the container is refused: {denied}\n")), "{text}");
}

/// The site's levels are about documents; a condition of its own rule counts in full.
#[test]
fn levels_do_not_turn_off_the_sites_own_rules() {
    let host = [("host/kernel.version".to_owned(), vec!["<5.15".to_owned()])].into();
    let rule = Rule { action: Action::Deny, digests: vec![image("default")], host, ..Rule::default() };
    let decision = decided([Some(FITS), None], |inputs| {
        inputs.policy.rules = [("old".to_owned(), rule)].into();
        inputs.policy.levels = [("host/*".to_owned(), crate::schema::Level::Info)].into();
    });
    assert_eq!(decision.entries[0].verdict, Verdict::Incompatible, "{}", decision.why);
    assert!(decision.otherwise.is_some());
}

/// It is not for want of artifacts that nothing runs.
#[test]
fn where_no_entry_runs_the_reason_is_the_platform() {
    let on = |architecture: &str| decided([Some(FITS), None], |inputs| inputs.host.architecture = architecture.into());
    let verdicts = |decision: &Decision| decision.entries.iter().map(|entry| entry.verdict).collect::<Vec<_>>();
    let arm = on("arm64");
    assert_eq!((arm.outcome, arm.why.as_str()), (Outcome::Default, "no entry runs on linux/arm64"));
    assert_eq!(verdicts(&arm), [Verdict::Skipped; 2]);
    let unknown = on("unknown");
    assert_eq!(unknown.why, "the architecture of this host is not known");
    assert_eq!(verdicts(&unknown), [Verdict::Undetermined; 2]);
    assert_eq!(unknown.entries[0].reasons[0].text, unknown.why);
    let required = decided([Some(FITS), None], |inputs| {
        inputs.host.architecture = "arm64".into();
        inputs.policy.trust.mode = TrustMode::Require;
    });
    assert_eq!(required.outcome, Outcome::Deny);
    assert!(required.why.starts_with("no entry runs on linux/arm64: the container is refused"), "{}", required.why);
}

/// A slip of the pen in the name of a group takes away all that it asks for.
#[test]
fn an_unknown_group_names_the_one_that_was_meant() {
    let decision = decided([None, Some(r#""hots":{"kernel.version":">=6"}"#)], |_| {});
    assert_eq!(decision.entries[1].verdict, Verdict::Undeclared);
    assert_eq!(decision.notes, ["group \"hots\" is not known here: ignored; did you mean \"host\"?"]);
}

#[test]
fn a_group_without_a_schema_is_compared_as_text_and_says_so() {
    let decision = decided([None, Some(r#""org.lab":{"release":"5.10"}"#)], |inputs| {
        inputs.facts.set("org.lab", "release", Fact::known("5.10", "/etc/release"));
    });
    let text = "org.lab/release = 5.10: this host has 5.10 (/etc/release) [no schema: compared as text]";
    assert_eq!((decision.entries[1].verdict, &*decision.entries[1].reasons[0].text), (Verdict::Compatible, text));
}

/// docs/configuration.md: a list of values is any-of, for devices as for anything else.
#[test]
fn of_a_list_in_a_rule_one_is_enough_whatever_its_type() {
    let on = |device: &str, listed: &[&str], change: fn(&mut Facts)| {
        let listed = listed.iter().map(|id| (*id).to_owned()).collect();
        let rule = Rule {
            action: Action::Deny,
            digests: vec![image("better")],
            host: [("host/pci.devices".to_owned(), listed)].into(),
            ..Rule::default()
        };
        let decision = decided([None, Some(FITS)], |inputs| {
            inputs.facts.set("host", "pci.devices", Fact::known(set(device), "/sys/bus/pci/devices"));
            change(&mut inputs.facts);
            inputs.policy.rules = [("recalled".to_owned(), rule)].into();
        });
        decision.entries[1].verdict
    };
    let two = ["10de:2330", "15b3:1017"];
    assert_eq!(on("15b3:1017", &two, |_| {}), Verdict::Incompatible);
    assert_eq!(on("10de:2330 15b3:1017", &two, |_| {}), Verdict::Incompatible);
    assert_eq!(on("8086:1592", &two, |_| {}), Verdict::Compatible);
    assert_eq!(on("8086:1592", &[], |_| {}), Verdict::Undetermined);
    let blind: fn(&mut Facts) = |facts| facts.set("host", "pci.devices", Fact::unknown("EACCES", "/sys/bus/pci"));
    assert_eq!(on("8086:1592", &two, blind), Verdict::Undetermined);
}

/// What asks by NFD's rules is found by the names of the labels.
#[test]
fn rules_find_what_nfds_artifacts_ask_about() {
    let text = "compatibilities: [{rules: [{matchFeatures: [{feature: kernel.version, matchExpressions: {full: {op: Exists}}}]}]}]";
    for (pattern, expected) in [
        ("nfd/*", Verdict::Incompatible),
        ("nfd/kernel-version.*", Verdict::Incompatible),
        ("nfd/cpu-*", Verdict::Compatible),
    ] {
        let decision = decided([None, None], |inputs| {
            inputs.facts.features.set_attribute("kernel.version", "full", "5.14");
            crate::testing::attach(
                inputs,
                "better",
                &[crate::testing::Attach::to(image("better")).document(text).nfd()],
            );
            let rule = Rule { action: Action::Deny, asks: vec![pattern.to_owned()], ..Rule::default() };
            inputs.policy.rules = [("nfd".to_owned(), rule)].into();
        });
        assert_eq!(decision.entries[1].verdict, expected, "{pattern}");
    }
}

/// Decision 18: it counts as not fitting, in every mode, and whether or not anything is said about the index.
#[test]
fn a_revoked_default_does_not_fit_although_nothing_is_said() {
    let revoke = |name: &str| {
        let digest = image(name);
        move |inputs: &mut Inputs| inputs.policy.trust.revoked_digests.push(digest)
    };
    let decision = decided([None, None], revoke("default"));
    assert_eq!((decision.outcome, decision.preferred), (Outcome::Swap, vec![image("better")]), "{}", decision.why);
    assert_eq!(decided([None, None], revoke("better")).outcome, Outcome::Default);
}

/// A weight, or levels of keys that are not there, ask for nothing; `{}` alone says "runs anywhere".
#[test]
fn a_weight_alone_does_not_say_that_an_image_runs_anywhere() {
    let weight = decided([None, Some(r#""io.bestfit":{"weight":50}"#)], |_| {});
    assert_eq!((weight.outcome, weight.entries[1].verdict), (Outcome::Default, Verdict::Undeclared));
    assert_eq!(decided([None, Some("")], |_| {}).entries[1].verdict, Verdict::Compatible);
    let idle =
        r#""host":{"kernel.version":"9"},"io.bestfit":{"level:hots/*":"preferred","level:*/kernel*":"preferred"}"#;
    let idle = decided([None, Some(idle)], |_| {});
    assert_eq!(idle.entries[1].verdict, Verdict::Undeclared, "a star stands for any text, anywhere");
    assert_eq!(idle.notes, ["level:hots/*: none of the keys is called so"]);
}
