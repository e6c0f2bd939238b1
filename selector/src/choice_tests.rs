//! What is chosen among candidates, and what the site refuses.

use super::*;
use crate::decide::decide;
use crate::decision::Decision;
use crate::facts::Facts;
use crate::policy::{Action, Rule};
use crate::testing::{facts, image, inputs};

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
