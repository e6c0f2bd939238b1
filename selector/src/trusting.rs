//! What signatures change about a decision (reference: trust.md, "Attacks"; matching.md §6): tables over modes, each with the
//! outcome and the sentence that people read.

use crate::decide::{Prepared, decide};
use crate::decision::{Decision, Evidence, Inputs, Outcome, Verdict};
use crate::digest::Digest;
use crate::index::ARTIFACT_TYPE;
use crate::inline::SUBJECT_ANNOTATION;
use crate::policy::Otherwise;
use crate::testing::{Attach, NOW, attach, bare_inputs, facts, image, index, index_of, wrap};
use crate::trust::{ImageSigned, Signer, Standing, TrustMode};

const FITS: &str = r#""nfd":{"memory-numa":true}"#;
const DOES_NOT: &str = r#""nfd":{"memory-numa":false}"#;
const MODES: [TrustMode; 4] = [TrustMode::Off, TrustMode::Warn, TrustMode::Enforce, TrustMode::Require];

/// Two entries, the first of which is the default, on a host with NUMA; nothing is said about either.
fn two() -> Inputs {
    let mut inputs = bare_inputs(
        index(&[("default", "linux/amd64"), ("other", "linux/amd64")]),
        facts(&[("nfd", "memory-numa", true.into())]),
    );
    ["default", "other"].iter().for_each(|name| attach(&mut inputs, name, &[]));
    inputs
}

fn saying(mut inputs: Inputs, name: &str, documents: &[&str]) -> Inputs {
    let artifacts: Vec<Attach> = documents
        .iter()
        .map(|text| Attach::to(image(name)).document(&wrap(text)).created("2025-12-01T00:00:00Z"))
        .collect();
    attach(&mut inputs, name, &artifacts);
    inputs
}

fn artifacts(inputs: &Inputs, subject: &Digest) -> Vec<Digest> {
    let Evidence::Read { artifacts, .. } = &inputs.evidence[subject] else { return Vec::new() };
    artifacts.iter().map(|artifact| artifact.digest).collect()
}

fn vendor() -> Standing {
    Standing::Trusted(Signer { rank: 2, name: "vendor".into() })
}

fn nobody() -> Standing {
    Standing::Untrusted { why: vec!["no signature by vendor".into()] }
}

/// The artifacts of an entry, all with this standing.
fn standing(mut inputs: Inputs, name: &str, standing: &Standing) -> Inputs {
    let digests = artifacts(&inputs, &image(name));
    inputs.standings.extend(digests.into_iter().map(|digest| (digest, standing.clone())));
    inputs
}

fn under(mode: TrustMode, inputs: &Inputs) -> Decision {
    let mut inputs = inputs.clone();
    inputs.policy.trust.mode = mode;
    decide(&inputs).unwrap()
}

fn outcomes(inputs: &Inputs) -> [Outcome; 4] {
    MODES.map(|mode| under(mode, inputs).outcome)
}

use Outcome::{Default, Deny, Swap};

#[test]
fn unsigned_steering_is_followed_only_where_signatures_are_not_asked_for() {
    let steered = saying(two(), "other", &[FITS]);
    assert_eq!(outcomes(&steered), [Swap, Swap, Default, Deny]);
    let signed = standing(steered.clone(), "other", &vendor());
    assert_eq!(outcomes(&signed), [Swap; 4]);
    let warned = under(TrustMode::Warn, &standing(steered.clone(), "other", &nobody()));
    insta::assert_snapshot!(warned.notes.join("\n").replace(&artifacts(&steered, &image("other"))[0].short(), "A"), @r#"artifact A: signed by nobody whom this site trusts: it counts only because trust.mode is "warn" (no signature by vendor)"#);
    let ignored = under(TrustMode::Enforce, &standing(steered.clone(), "other", &nobody()));
    assert_eq!(ignored.why, "no entry has a compatibility artifact of a signer whom this site trusts");
    assert!(ignored.notes[0].ends_with("signed by nobody whom this site trusts: ignored (no signature by vendor)"));
    let denied = under(TrustMode::Require, &steered).why;
    insta::assert_snapshot!(denied, @r#"no entry has a compatibility artifact of a signer whom this site trusts: the container is refused (trust.mode = "require")"#);
}

#[test]
fn what_nobody_trusted_signed_is_not_even_parsed() {
    let mut inputs = two();
    let broken = Attach::to(image("other")).document("{\"compatibilities\": {,");
    attach(&mut inputs, "other", &[broken]);
    assert_eq!(under(TrustMode::Warn, &inputs).entries[1].verdict, Verdict::Undetermined);
    let enforced = under(TrustMode::Enforce, &inputs);
    assert_eq!(enforced.entries[1].verdict, Verdict::Undeclared);
    assert!(!enforced.notes.concat().contains("column"), "{:?}", enforced.notes);
}

#[test]
fn what_could_not_be_verified_never_lets_its_entry_win() {
    let unread = Standing::Unknown { why: "referrers: 503".into() };
    // A second, readable artifact of the vendor says that the entry fits; what is hidden may say more.
    let mut inputs = standing(saying(two(), "other", &[FITS, r#""nfd":{"cpu-model":"x"}"#]), "other", &vendor());
    let hidden = artifacts(&inputs, &image("other"))[1];
    inputs.standings.insert(hidden, unread);
    let decision = under(TrustMode::Enforce, &inputs);
    assert_eq!((decision.outcome, decision.entries[1].verdict), (Default, Verdict::Undetermined));
    let denied = under(TrustMode::Require, &inputs);
    insta::assert_snapshot!(denied.why, @r#"artifacts could not be read, and no entry is known to fit: the container is refused (trust.mode = "require")"#);
    inputs.policy.on_error = Otherwise::Deny;
    assert_eq!(under(TrustMode::Enforce, &inputs).outcome, Deny);
}

#[test]
fn an_unsigned_word_about_the_whole_index_denies_nobody() {
    let mut inputs = two();
    inputs.policy.on_no_fit = Otherwise::Deny;
    let subject = Digest::of(&inputs.index);
    let artifact = Attach::to(subject).document(&wrap(DOES_NOT)).artifact();
    let digest = artifact.digest;
    inputs.evidence.insert(subject, Evidence::Read { list: None, artifacts: vec![artifact] });
    assert_eq!(outcomes(&inputs), [Deny, Default, Default, Deny]);
    let warned = under(TrustMode::Warn, &inputs).why;
    assert_eq!(warned, "no entry fits this host by artifacts that nobody trusted signed: the default runs");
    inputs.standings.insert(digest, vendor());
    assert_eq!(outcomes(&inputs), [Deny; 4], "the vendor may");
    inputs.policy.on_no_fit = Otherwise::RunDefault;
    assert_eq!(outcomes(&inputs), [Default; 4], "a trusted no is not a missing yes: on_no_fit says what follows");
}

#[test]
fn require_wants_a_trusted_word_about_what_runs() {
    assert_eq!(outcomes(&two()), [Default, Default, Default, Deny]);
    let default_fits = standing(saying(two(), "default", &[FITS]), "default", &vendor());
    assert_eq!(outcomes(&default_fits), [Default; 4]);
    let other_does_not = standing(saying(two(), "other", &[DOES_NOT]), "other", &vendor());
    let denied = under(TrustMode::Require, &other_does_not);
    assert_eq!(denied.outcome, Deny, "nobody speaks about the default");
    insta::assert_snapshot!(denied.why, @r#"no entry is known to fit by an artifact of a signer whom this site trusts: the container is refused (trust.mode = "require")"#);
    let mut variant = other_does_not;
    variant.index = index(&[("default", "linux/amd64/v4"), ("other", "linux/amd64")]);
    variant.evidence.insert(Digest::of(&variant.index), Evidence::Read { list: None, artifacts: Vec::new() });
    variant.facts.set("host", "cpu.level", crate::facts::Fact::known("v2", "cpuid"));
    variant.default = Some(image("default"));
    assert_eq!(under(TrustMode::Require, &variant).entries[0].verdict, Verdict::Incompatible);
    assert_eq!(
        outcomes(&variant),
        [Default, Default, Default, Deny],
        "its platform alone says no: nobody's word either"
    );
    let mut variants = two();
    variants.index = index(&[("default", "linux/amd64"), ("other", "linux/amd64/v2")]);
    variants.evidence.insert(Digest::of(&variants.index), Evidence::Read { list: None, artifacts: Vec::new() });
    variants.policy.platform_variants = true;
    variants.facts.set("host", "cpu.level", crate::facts::Fact::known("v2", "cpuid"));
    assert_eq!(outcomes(&variants), [Swap, Swap, Default, Deny], "an artifact may be hidden");
}

#[test]
fn old_artifacts_and_those_without_a_date_do_not_count_where_the_site_sets_a_limit() {
    let mut inputs = standing(saying(two(), "other", &[FITS]), "other", &vendor());
    inputs.policy.trust.max_age = Some(40 * 86_400);
    assert_eq!(outcomes(&inputs), [Swap; 4], "31 days old");
    inputs.policy.trust.max_age = Some(30 * 86_400);
    assert_eq!(outcomes(&inputs), [Swap, Swap, Default, Deny]);
    let note = under(TrustMode::Enforce, &inputs).notes.concat();
    assert!(note.ends_with("31 days old, more than this site allows (trust.max_age)"), "{note}");
    let undated = Attach::to(image("other")).document(&wrap(FITS));
    attach(&mut inputs, "other", &[undated]);
    let inputs = standing(inputs, "other", &vendor());
    let note = under(TrustMode::Enforce, &inputs).notes.concat();
    assert!(note.ends_with("it has no date, and this site sets a limit (trust.max_age)"), "{note}");
    assert!(inputs.now == NOW);
}

/// A decision that is remembered ends before an artifact is too old.
#[test]
fn an_artifact_says_from_when_on_it_is_too_old() {
    let mut inputs = standing(saying(two(), "other", &[FITS]), "other", &vendor());
    inputs.policy.trust.mode = TrustMode::Enforce;
    let from = |inputs: &Inputs| Prepared::new(inputs).unwrap().outdated_from();
    assert_eq!(from(&inputs), None, "this site sets no limit");
    inputs.policy.trust.max_age = Some(40 * 86_400);
    let until = from(&inputs).unwrap();
    for (now, outcome, left) in [(until - 1, Swap, Some(until)), (until, Default, None)] {
        inputs.now = now;
        assert_eq!((decide(&inputs).unwrap().outcome, from(&inputs)), (outcome, left), "{now} of {until}");
    }
    inputs.now = NOW;
    inputs.standings.clear();
    assert_eq!(from(&inputs), None, "it does not count, however old");
}

#[test]
fn what_is_revoked_counts_for_nothing() {
    let inputs = standing(saying(two(), "other", &[FITS]), "other", &vendor());
    let mut revoked = inputs.clone();
    revoked.policy.trust.revoked_digests = artifacts(&inputs, &image("other"));
    assert_eq!(outcomes(&revoked), [Default, Default, Default, Deny]);
    assert!(under(TrustMode::Enforce, &revoked).notes[0].ends_with("revoked by this site: ignored"));
    let mut revoked = inputs.clone();
    revoked.policy.trust.revoked_digests = vec![image("other")];
    assert_eq!(outcomes(&revoked), [Default, Default, Default, Deny]);
    assert_eq!(under(TrustMode::Off, &revoked).entries[1].verdict, Verdict::Incompatible);
    let mut revoked = inputs;
    revoked.policy.trust.revoked_digests = vec![Digest::of(&revoked.index)];
    assert_eq!(outcomes(&revoked), [Default, Default, Default, Deny]);
    assert_eq!(under(TrustMode::Off, &revoked).why, "the index is revoked by this site: the default runs");
}

#[test]
fn nothing_is_swapped_for_an_image_that_nobody_signed() {
    let inputs = standing(saying(two(), "other", &[FITS]), "other", &vendor());
    let index = Digest::of(&inputs.index);
    let with = |image_signed: ImageSigned, standings: &[(Digest, Standing)]| {
        let mut inputs = inputs.clone();
        inputs.policy.trust.image = image_signed;
        inputs.standings.extend(standings.iter().cloned());
        inputs
    };
    let unread = || Standing::Unknown { why: "503".into() };
    let refused = [Default, Default, Default, Deny];
    for (image_signed, standings, expected) in [
        (ImageSigned::Index, vec![], refused),
        (ImageSigned::Index, vec![(index, nobody())], refused),
        (ImageSigned::Index, vec![(index, unread())], refused),
        (ImageSigned::Index, vec![(index, vendor())], [Swap; 4]),
        (ImageSigned::Index, vec![(image("other"), vendor())], refused),
        (ImageSigned::IndexOrEntry, vec![(index, vendor())], [Swap; 4]),
        (ImageSigned::IndexOrEntry, vec![(image("other"), vendor())], [Swap; 4]),
        (ImageSigned::IndexOrEntry, vec![(image("default"), vendor())], refused),
        (ImageSigned::Off, vec![], [Swap; 4]),
    ] {
        assert_eq!(outcomes(&with(image_signed, &standings)), expected, "{image_signed:?} {standings:?}");
    }
    let why = under(TrustMode::Off, &with(ImageSigned::Index, &[(index, nobody())])).why;
    assert_eq!(
        why,
        "the index is not signed by anybody whom this site trusts (no signature by vendor): the default runs"
    );
    let mut strict = with(ImageSigned::Index, &[(index, unread())]);
    strict.policy.on_error = Otherwise::Deny;
    assert_eq!(under(TrustMode::Off, &strict).outcome, Deny, "an error is not \"not signed\"");
}

#[test]
fn what_an_index_carries_is_trusted_as_far_as_the_index_is_signed() {
    use base64::Engine as _;
    let document = wrap(FITS);
    let data = base64::engine::general_purpose::STANDARD.encode(&document);
    let entry = |name: &str| {
        let (digest, kind) = (image(name), "application/vnd.oci.image.manifest.v1+json");
        format!(
            r#"{{"mediaType":"{kind}","digest":"{digest}","size":1,"platform":{{"os":"linux","architecture":"amd64"}}}}"#
        )
    };
    let inline = format!(
        r#"{{"mediaType":"{}","artifactType":"{ARTIFACT_TYPE}","digest":"{}","size":{},"data":"{data}","annotations":{{"{SUBJECT_ANNOTATION}":"{}"}}}}"#,
        crate::artifact::LAYER_TYPE,
        Digest::of(document.as_bytes()),
        document.len(),
        image("other"),
    );
    let mut inputs = bare_inputs(
        index_of(&[entry("default"), entry("other"), inline]),
        facts(&[("nfd", "memory-numa", true.into())]),
    );
    ["default", "other"].iter().for_each(|name| attach(&mut inputs, name, &[]));
    assert_eq!(outcomes(&inputs), [Swap, Swap, Default, Deny]);
    let index = Digest::of(&inputs.index);
    inputs.standings.insert(index, vendor());
    assert_eq!(outcomes(&inputs), [Swap; 4]);
    let rank = under(TrustMode::Enforce, &inputs).entries[1].rank.clone().unwrap();
    assert_eq!(rank.author, 2);
}

#[test]
fn nobody_replaces_what_another_signer_said() {
    let mut inputs = two();
    let older = Attach::to(image("other")).document(&wrap(DOES_NOT)).created("2025-01-01T00:00:00Z");
    let newer = Attach::to(image("other")).document(&wrap(FITS)).created("2025-12-01T00:00:00Z");
    attach(&mut inputs, "other", &[older.clone(), newer.clone()]);
    let lab = Standing::Trusted(Signer { rank: 1, name: "lab".into() });
    inputs.standings.insert(older.artifact().digest, vendor());
    inputs.standings.insert(newer.artifact().digest, lab);
    assert_eq!(under(TrustMode::Enforce, &inputs).entries[1].verdict, Verdict::Incompatible);
    inputs.standings.insert(newer.artifact().digest, vendor());
    assert_eq!(under(TrustMode::Enforce, &inputs).entries[1].verdict, Verdict::Compatible);
    inputs.standings.remove(&newer.artifact().digest);
    assert_eq!(under(TrustMode::Warn, &inputs).entries[1].verdict, Verdict::Incompatible, "nor does nobody");
}

/// A weight counts at its author's rank: nobody lends it to an artifact of somebody who is trusted more.
#[test]
fn weight_counts_only_at_its_own_authors_rank() {
    let heavy = r#""org.notes":{"a":1},"io.bestfit":{"weight":100}"#;
    let light = format!("{FITS},\"io.bestfit\":{{\"weight\":10}}");
    let mut inputs = standing(saying(two(), "default", &[&light]), "default", &vendor());
    inputs = standing(saying(inputs, "other", &[FITS, heavy]), "other", &vendor());
    assert_eq!(outcomes(&inputs), [Swap; 4], "all of it is the vendor's");
    let Evidence::Read { artifacts, .. } = &inputs.evidence[&image("other")] else { return };
    let digest = Attach::to(image("other")).document(&wrap(heavy)).created("2025-12-01T00:00:00Z").artifact().digest;
    assert!(artifacts.iter().any(|artifact| artifact.digest == digest));
    inputs.standings.insert(digest, nobody());
    assert_eq!(under(TrustMode::Warn, &inputs).outcome, Default);
}
