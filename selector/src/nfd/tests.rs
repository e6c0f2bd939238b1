use super::*;
use crate::facts::Facts;
use crate::features::{Features, Instance};
use crate::schema::Schemas;
use crate::target::Vendor;

const RHEL: &str = "5.14.0-427.13.1.el9_4.x86_64";

/// A file that is not part of the repository.
#[expect(clippy::disallowed_methods, reason = "tests read the shared tables")]
pub(super) fn shared(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok();
    if text.is_none() {
        println!("SKIP: {path} is not here");
    }
    text
}

fn facts() -> Facts {
    let mut features = Features::default();
    features.set_flags("cpu.cpuid", ["AVX".to_owned(), "AVX2".to_owned()]);
    features.set_attribute("kernel.version", "full", RHEL);
    features.set_attribute("kernel.version", "major", "5");
    let device = |class: &str, vendor: &str| Instance {
        attributes: [("class".to_owned(), class.to_owned()), ("vendor".to_owned(), vendor.to_owned())].into(),
    };
    features.set_instances("pci.device", [device("0302", "10de"), device("0200", "8086")]);
    features.set_instances("usb.device", []);
    features.set_unknown("kernel.config", "EACCES /proc/config.gz");
    features.set_unknown("kernel.version/nope", "EIO");
    Facts { features, ..Facts::default() }
}

fn rules(rules: &str) -> Spec {
    read_sensible(format!("compatibilities: [{{rules: [{rules}]}}]").as_bytes()).unwrap()
}

fn says(spec: &Spec, mode: Mode) -> Assessment {
    let facts = facts();
    assess(spec, &Host::new(&facts, Schemas::builtin(), Vendor::Strict), mode, Digest::of(b"a"))
}

fn term(term: &str) -> Assessment {
    says(&rules(&format!("{{name: r, matchFeatures: [{term}]}}")), Mode::Lenient)
}

#[test]
fn each_family_answers_with_its_reason() {
    let rows = [
        ("{feature: cpu.cpuid, matchExpressions: {AVX2: {op: Exists}}}", "True cpu.cpuid/AVX2 Exists: the host has it"),
        (
            "{feature: CPU.cpuid, matchName: {op: InRegexp, value: [^AVX]}}",
            "True cpu.cpuid/(name) InRegexp ^AVX: the host has AVX",
        ),
        (
            "{feature: kernel.version, matchExpressions: {major: {op: In, value: ['6']}}}",
            "False kernel.version/major In 6: the host has \"5\"",
        ),
        (
            "{feature: pci.device, matchExpressions: {vendor: {op: In, value: [10de]}}}",
            "True pci.device/vendor In 10de: the nearest of 2 has \"10de\"",
        ),
        (
            "{feature: usb.device, matchExpressions: {vendor: {op: DoesNotExist}}}",
            "False usb.device/vendor DoesNotExist: the host has none",
        ),
        (
            "{feature: kernel.config, matchExpressions: {X: {op: Exists}}}",
            "Unknown kernel.config: EACCES /proc/config.gz",
        ),
        (
            "{feature: kernel.version, matchExpressions: {nope: {op: DoesNotExist}}}",
            "Unknown kernel.version/nope DoesNotExist: EIO",
        ),
        ("{feature: kernel.vrsion}", "Unknown kernel.vrsion: this host's features do not name it"),
        ("{feature: rule.matched}", "False rule.matched: no rule stands before this one"),
    ];
    for (text, wanted) in rows {
        let assessment = term(text);
        let reason = &assessment.reasons[0];
        let shown = format!("{:?} {}", reason.answer, reason.text.replace("nfd rule r: ", ""));
        assert_eq!(shown, wanted);
        assert_eq!(assessment.summary.answer, reason.answer);
    }
}

#[test]
fn one_instance_must_satisfy_all() {
    let both = |class: &str| {
        term(&format!("{{feature: pci.device, matchExpressions: {{class: {{op: In, value: ['{class}']}}, vendor: {{op: In, value: [10de]}}}}}}")).summary.answer
    };
    assert_eq!((both("0302"), both("0200")), (Answer::True, Answer::False));
}

/// Worked example 6 of matching.md.
#[test]
fn a_kernel_version_that_nfd_stops_at() {
    let spec = rules(
        "{name: k, matchFeatures: [{feature: kernel.version, matchExpressions: {full: {op: Ge, value: ['5.10'], type: version}}}]}",
    );
    let lenient = says(&spec, Mode::Lenient);
    assert_eq!(lenient.summary.answer, Answer::True);
    let kernel = lenient.summary.score.specificity.kernel.unwrap();
    assert_eq!((kernel.weight, kernel.depth), (10, [5, 10, 0, 0]));
    let strict = says(&spec, Mode::Strict);
    assert_eq!(strict.summary.answer, Answer::Unknown);
    assert!(strict.reasons.last().unwrap().text.starts_with("NFD itself stops: not a version"));
}

#[test]
fn sets_are_alternatives_and_rules_hold_together() {
    let yes = "{feature: cpu.cpuid, matchExpressions: {AVX: {op: Exists}}}";
    let no = "{feature: cpu.cpuid, matchExpressions: {AVX: {op: DoesNotExist}}}";
    let set = |tag: &str, weight: i32, terms: &[&str]| {
        let rules: Vec<String> = terms.iter().map(|term| format!("{{name: x, matchFeatures: [{term}]}}")).collect();
        format!("{{tag: {tag}, weight: {weight}, rules: [{}]}}", rules.join(","))
    };
    let ask = |sets: &[String]| {
        let text = format!("compatibilities: [{}]", sets.join(","));
        let all = says(&read_sensible(text.as_bytes()).unwrap(), Mode::Lenient);
        (all.summary.answer, all.summary.score.weight)
    };
    assert_eq!(ask(&[set("a", 5, &[yes, yes]), set("b", 9, &[yes, no])]), (Answer::True, 5));
    assert_eq!(ask(&[set("a", 5, &[yes]), set("b", 9, &[yes])]), (Answer::True, 9));
    assert_eq!(ask(&[set("a", 5, &[no]), set("b", 9, &[yes, no])]).0, Answer::False);
    let heavy = says(&read_sensible(b"compatibilities: [{weight: 5000, rules: []}]").unwrap(), Mode::Lenient);
    assert_eq!(
        (heavy.summary.score.weight, &*heavy.notes[0]),
        (100, "line 1 column 28: the weight 5000 counts as 100")
    );
    let empty = says(&read_sensible(b"compatibilities: []").unwrap(), Mode::Lenient);
    assert!(!empty.summary.declared && empty.notes[0].contains("asks for nothing"));
}

#[test]
fn vars_come_out_of_rules_that_match() {
    let back = "{name: back, matchFeatures: [{feature: rule.matched, matchExpressions: {a: {op: IsTrue}}}]}";
    let first = |any: &str| {
        format!(
            "{{name: first, vars: {{a: true}}, matchAny: [{{matchFeatures: [{{feature: cpu.cpuid, matchExpressions: {{{any}: {{op: Exists}}}}}}]}}]}}"
        )
    };
    let both = |any: &str, mode| {
        let text = format!("compatibilities: [{{rules: [{}]}}, {{rules: [{back}]}}]", first(any));
        says(&read_sensible(text.as_bytes()).unwrap(), mode).summary.answer
    };
    assert_eq!((both("AVX", Mode::Lenient), both("AVX", Mode::Strict)), (Answer::True, Answer::True));
    // NFD lets the vars out although matchAny failed.
    assert_eq!((both("NO", Mode::Lenient), both("NO", Mode::Strict)), (Answer::False, Answer::True));
    let template = |text: &str| {
        let first = format!(
            "{{name: t, varsTemplate: \"{text}\", matchFeatures: [{{feature: cpu.cpuid, matchName: {{op: InRegexp, value: ['^AVX2']}}}}]}}"
        );
        says(&rules(&format!("{first}, {back}")), Mode::Lenient)
    };
    assert_eq!(template("{{ range .cpu.cpuid }}a=true{{ end }}").summary.answer, Answer::True);
    let other = template("{{ with .cpu }}a=true{{ end }}");
    assert_eq!(other.summary.answer, Answer::Unknown);
    assert!(other.reasons[1].text.contains("varsTemplate: {{ with .cpu }} is not supported"), "{:?}", other.reasons);
}

/// What a rule may set that is not known to match is not known, whatever it was before.
#[test]
fn a_var_that_may_have_been_overwritten_is_not_known() {
    let unknown = "matchFeatures: [{feature: kernel.config, matchExpressions: {X: {op: Exists}}}]";
    let holds = "matchFeatures: [{feature: cpu.cpuid, matchExpressions: {AVX: {op: Exists}}}]";
    let fails = "{name: no, matchFeatures: [{feature: cpu.cpuid, matchExpressions: {NO: {op: Exists}}}]}";
    let sets = |vars: &str| format!("{{name: sets, {vars}, {holds}}}");
    let may = |vars: &str| format!("{{name: may, {vars}, {unknown}}}");
    let after = |before: &[String], asks: &str| {
        let back = format!("{{name: back, matchFeatures: [{{feature: rule.matched, {asks}}}]}}");
        let text = format!("compatibilities: [{{rules: [{}, {fails}]}}, {{rules: [{back}]}}]", before.join(", "));
        says(&read_sensible(text.as_bytes()).unwrap(), Mode::Lenient).summary.answer
    };
    let v = |value: &str| format!("matchExpressions: {{v: {{op: In, value: [{value}]}}}}");
    let there = "matchExpressions: {v: {op: Exists}}";
    let template = "varsTemplate: 'v=z'";
    let (x, y) = (sets("vars: {v: x}"), may("vars: {v: z}"));
    for (before, asks, expected) in [
        (vec![x.clone()], v("x"), Answer::True),
        (vec![x.clone(), y.clone()], v("x"), Answer::Unknown),
        (vec![x.clone(), y.clone()], v("z"), Answer::Unknown),
        (vec![x.clone(), y.clone()], there.to_owned(), Answer::True),
        (vec![y.clone()], there.to_owned(), Answer::Unknown),
        (vec![x.clone(), may("vars: {w: z}")], v("x"), Answer::True),
        (vec![x.clone(), may("vars: {v: x}")], v("x"), Answer::True),
        (vec![y.clone(), x.clone()], v("x"), Answer::True),
        (vec![x.clone(), may(template)], v("x"), Answer::Unknown),
        (vec![may(template), x.clone()], v("x"), Answer::True),
        (vec![x.clone(), may("vars: {w: z}")], "matchExpressions: {u: {op: DoesNotExist}}".to_owned(), Answer::True),
        (vec![x.clone(), y.clone()], "matchName: {op: In, value: [v]}".to_owned(), Answer::True),
        (vec![x.clone(), y.clone()], "matchName: {op: In, value: [w]}".to_owned(), Answer::Unknown),
    ] {
        assert_eq!(after(&before, &asks), expected, "{before:?} {asks}");
    }
    // A template that is filled from such vars is not known either.
    let made = "{name: made, varsTemplate: '{{ range .rule.matched }}w={{ .Value }}{{ end }}', \
                matchFeatures: [{feature: rule.matched, matchName: {op: In, value: [v]}}]}";
    let asks = "matchExpressions: {w: {op: In, value: [x]}}";
    assert_eq!(after(&[x.clone(), made.to_owned()], asks), Answer::True);
    let alone = |before: &[String]| {
        let text = format!("{}, {made}", before.join(", "));
        says(&rules(&text), Mode::Lenient)
    };
    assert_eq!(alone(std::slice::from_ref(&x)).summary.answer, Answer::True);
    let open = alone(&[x, y]);
    assert!(open.reasons.iter().any(|reason| reason.text.contains("vars of which not all are known")), "{open:?}");
}

/// One expression may be held against thousands of names.
#[test]
fn what_one_entry_may_compare_is_bounded() {
    let mut facts = facts();
    let names: Vec<String> = (0..8000).map(|at| format!("OPTION_{at}")).collect();
    let elements = names.iter().map(|name| (name.as_str(), "y")).collect();
    facts.features.attributes.insert("kernel.config".to_owned(), crate::features::Elements { elements });
    facts.features.unknown.remove("kernel.config");
    let named = |count: usize| {
        let term = "{feature: kernel.config, matchName: {op: InRegexp, value: ['^NO$']}}";
        rules(&format!("{{name: r, matchFeatures: [{}]}}", vec![term; count].join(", ")))
    };
    let host = Host::new(&facts, Schemas::builtin(), Vendor::Strict);
    let answer = |spec: &Spec, mode| {
        host.begin();
        assess(spec, &host, mode, Digest::of(b"a"))
    };
    assert_eq!(answer(&named(3), Mode::Lenient).summary.answer, Answer::False);
    let yes =
        "{name: r, matchFeatures: [{feature: kernel.config, matchName: {op: InRegexp, value: ['^OPTION_7999$']}}]}";
    let many = rules(&vec![yes; 100].join(", "));
    for mode in [Mode::Lenient, Mode::Strict] {
        let found = answer(&many, mode);
        assert_eq!(found.summary.answer, Answer::Unknown);
        assert!(found.reasons.iter().any(|reason| reason.text.contains("its rules make too many comparisons")));
    }
    assert_eq!(answer(&rules(yes), Mode::Lenient).summary.answer, Answer::True, "the next entry is asked anew");
}

#[test]
fn an_artifact_of_nfds_is_read_and_judged() {
    let subject = Digest::of(b"subject");
    let attach = |text: &str| {
        let mut artifact = crate::testing::Attach::to(subject).document(text).artifact();
        let manifest = String::from_utf8(artifact.manifest.unwrap()).unwrap();
        let manifest = manifest.replace(crate::artifact::LAYER_TYPE, LAYER_TYPE);
        let manifest = manifest.replace(crate::index::ARTIFACT_TYPE, ARTIFACT_TYPE);
        artifact.digest = Digest::of(manifest.as_bytes());
        artifact.manifest = Ok(manifest.into_bytes());
        crate::artifact::read(&subject, &artifact, crate::testing::NOW)
    };
    let term = "{feature: cpu.cpuid, matchExpressions: {AVX2: {op: Exists}}}";
    let parsed = attach(&format!("compatibilities: [{{rules: [{{name: r, matchFeatures: [{term}]}}]}}]")).unwrap();
    let facts = facts();
    let policy = crate::policy::Policy::default();
    let meaning = crate::compiled::Meaning { schemas: Schemas::builtin(), policy: &policy };
    let prepared = crate::matching::Prepared::new(&parsed, &meaning);
    let (mut says, mut words) = (crate::matching::Summary::default(), crate::matching::Words::default());
    Host::new(&facts, Schemas::builtin(), Vendor::Strict).evaluate([&prepared].into_iter(), 0, &mut says, &mut words);
    assert_eq!(says.verdict(), crate::decision::Verdict::Compatible);
    assert_eq!(words.reasons[0].text, "nfd rule r: cpu.cpuid/AVX2 Exists: the host has it");
    let error = attach("compatibilities:\n- rules:\n  - matchFeature: []\n").unwrap_err().to_string();
    assert_eq!(
        error,
        "layer 0: line 3 column 19: a rule has no field \"matchFeature\"; did you mean \"matchFeatures\"?"
    );
}

/// The site says whose answer counts (`selection.nfd`).
#[test]
fn the_policy_chooses_the_mode() {
    use crate::decide::decide;
    use crate::decision::Verdict;
    use crate::testing::{Attach, attach, bare_inputs, image, index};
    let rule = "compatibilities: [{rules: [{name: k, matchFeatures: [{feature: kernel.version, matchExpressions: {full: {op: Ge, value: ['5.10'], type: version}}}]}]}]";
    let mut inputs = bare_inputs(index(&[("a", "linux/amd64")]), facts());
    attach(&mut inputs, "a", &[Attach::to(image("a")).document(rule).nfd()]);
    assert_eq!(decide(&inputs).unwrap().entries[0].verdict, Verdict::Compatible);
    inputs.policy.nfd = Mode::Strict;
    assert_eq!(decide(&inputs).unwrap().entries[0].verdict, Verdict::Undetermined);
}

/// A label of the same thing would say "absent"; a feature that is not there says no less.
#[test]
fn what_is_known_to_be_absent_is_no_unknown() {
    let rule = "{name: r, matchFeatures: [{feature: pci.device, matchExpressions: {vendor: {op: In, value: [10de]}}}]}";
    let numa = "{name: r, matchFeatures: [{feature: memory.numa, matchExpressions: {is_numa: {op: IsTrue}}}]}";
    let ask = |rule: &str, facts: &Facts| {
        assess(&rules(rule), &Host::new(facts, Schemas::builtin(), Vendor::Strict), Mode::Lenient, Digest::of(b"a"))
            .summary
            .answer
    };
    let mut facts = Facts::default();
    assert_eq!((ask(rule, &facts), ask(numa, &facts)), (Answer::Unknown, Answer::Unknown));
    facts.set("nfd", "pci-*", crate::facts::Fact::absent("/sys/bus/pci/devices"));
    facts.set("nfd", "memory-numa", crate::facts::Fact::absent("/sys/bus/node/devices"));
    facts.set("nfd", "memory-nv.present", crate::facts::Fact::known(true, "/sys"));
    assert_eq!((ask(rule, &facts), ask(numa, &facts)), (Answer::False, Answer::False));
    // Labels without the features that they are made of.
    facts.set("nfd", "pci-0302_10de.present", crate::facts::Fact::known(true, "/sys"));
    assert_eq!(ask(rule, &facts), Answer::Unknown);
}

/// NFD takes what could not be read for what is not there; an answer made of an error is none.
#[test]
fn strict_answers_are_not_made_of_read_errors() {
    for (feature, expressions, expected) in [
        ("kernel.config", "{X: {op: Exists}}", Answer::Unknown),
        ("kernel.version", "{nope: {op: DoesNotExist}}", Answer::Unknown),
        ("kernel.version", "{major: {op: In, value: ['5']}}", Answer::True),
        ("kernel.version", "{major: {op: In, value: ['6']}}", Answer::False),
    ] {
        let rule = format!("{{name: r, matchFeatures: [{{feature: {feature}, matchExpressions: {expressions}}}]}}");
        assert_eq!(says(&rules(&rule), Mode::Strict).summary.answer, expected, "{feature} {expressions}");
    }
    let first =
        "{name: f, vars: {a: true}, matchFeatures: [{feature: kernel.config, matchExpressions: {X: {op: Exists}}}]}";
    let back = "{name: back, matchFeatures: [{feature: rule.matched, matchExpressions: {a: {op: IsTrue}}}]}";
    let text = format!("compatibilities: [{{rules: [{first}]}}, {{rules: [{back}]}}]");
    assert_eq!(says(&read_sensible(text.as_bytes()).unwrap(), Mode::Strict).summary.answer, Answer::Unknown);
}
