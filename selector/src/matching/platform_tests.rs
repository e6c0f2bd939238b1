use serde_json::{Value, json};

use crate::decide::decide;
use crate::decision::{Decision, EntryReport, Inputs, Verdict};
use crate::testing::{Attach, attach, bare_inputs, facts, image, index_of, set, wrap};

const FITS: &str = r#""host":{"kernel.version":">=5.10"}"#;

/// `plain` and `better`, which both fit by their artifacts; `more` stands in the platform of the second.
fn inputs(more: &Value) -> Inputs {
    let entry = |name: &str, more: &Value| {
        let mut platform = json!({"os": "linux", "architecture": "amd64"});
        platform.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        json!({"mediaType": media_type, "digest": image(name), "size": 1, "platform": platform}).to_string()
    };
    let host = facts(&[
        ("host", "cpu.level", "v3".into()),
        ("host", "kernel.version", "6.1".into()),
        ("io.archspec", "cpu.features", set("avx avx2 sse4_1 sse4.1 hypervisor")),
    ]);
    let mut inputs = bare_inputs(index_of(&[entry("plain", &json!({})), entry("better", more)]), host);
    inputs.facts.features.set_flags("cpu.cpuid", ["AVX2".to_owned()]);
    for name in ["plain", "better"] {
        attach(&mut inputs, name, &[Attach::to(image(name)).document(&wrap(FITS))]);
    }
    inputs
}

fn decided(more: &Value) -> Decision {
    decide(&inputs(more)).unwrap()
}

/// What the platform of an entry came to, as its reasons say it.
fn shown(entry: &EntryReport) -> Vec<String> {
    let of_platform = entry.reasons.iter().filter(|reason| reason.text.starts_with("platform."));
    of_platform.map(|reason| format!("{:?} {}", reason.answer, reason.text)).collect()
}

#[test]
fn what_a_platform_asks_for_is_required() {
    let source = "(/test/cpu.features)";
    let table = [
        (json!({}), Verdict::Compatible, vec![]),
        (json!({"features": [], "os.features": [], "os.version": "", "variant": ""}), Verdict::Compatible, vec![]),
        (
            json!({"features": ["avx2", "sse4.1", "AVX2", "hypervisor"]}),
            Verdict::Compatible,
            ["avx2", "sse4.1", "AVX2", "hypervisor"]
                .map(|name| format!("True platform.features = {name}: this host has it {source}"))
                .to_vec(),
        ),
        (
            json!({"variant": "v2", "features": ["avx2", "avx512f"]}),
            Verdict::Incompatible,
            vec![
                "True platform.variant = v2: this host is v3 (/test/cpu.level)".to_owned(),
                format!("True platform.features = avx2: this host has it {source}"),
                format!("False platform.features = avx512f: this host lacks: avx512f {source}"),
            ],
        ),
        (
            json!({"features": ["axv2"]}),
            Verdict::Undetermined,
            vec![format!("Unknown platform.features = axv2: axv2: no processor feature that is known here {source}")],
        ),
        (
            json!({"os.version": "10.0.17763", "os.features": ["win32k"]}),
            Verdict::Undetermined,
            vec![
                "Unknown platform.os.version = 10.0.17763: what it means on this system is not known".to_owned(),
                "Unknown platform.os.features = win32k: what it means on this system is not known".to_owned(),
            ],
        ),
        (json!({"variant": "v9"}), Verdict::Undetermined, vec!["Unknown platform.variant = v9: not known".to_owned()]),
    ];
    for (more, verdict, reasons) in table {
        let entry = &decided(&more).entries[1];
        assert_eq!((entry.verdict, shown(entry)), (verdict, reasons), "{more}");
    }
}

#[test]
fn a_platform_alone_makes_nothing_compatible() {
    for (more, alone, by_variant) in [
        (json!({"features": ["avx2"]}), Verdict::Undeclared, Verdict::Compatible),
        (json!({"os.features": ["x"]}), Verdict::Undetermined, Verdict::Undetermined),
        (json!({"features": ["avx512f"]}), Verdict::Incompatible, Verdict::Incompatible),
    ] {
        let mut asked = inputs(&more);
        ["plain", "better"].iter().for_each(|name| attach(&mut asked, name, &[]));
        assert_eq!(decide(&asked).unwrap().entries[1].verdict, alone, "{more}");
        asked.policy.platform_variants = true;
        assert_eq!(decide(&asked).unwrap().entries[1].verdict, by_variant, "{more}");
    }
}

#[test]
fn what_one_entry_declares_changes_no_other() {
    let other = &decided(&json!({})).entries[0];
    for more in [
        json!({"features": ["avx2"], "variant": "v3"}),
        json!({"features": ["axv2"], "os.version": "1"}),
        json!({"os.features": ["a", "b"]}),
        json!({"variant": "v4"}),
    ] {
        let decision = decided(&more);
        assert_eq!(decision.entries[0], *other, "{more}");
    }
    assert!(other.verdict == Verdict::Compatible);
}
