//! The worked examples of matching.md §9, as far as this version covers them, by their numbers there.

use std::collections::BTreeSet;

use crate::decide::decide;
use crate::decision::{Decision, Evidence, HostPlatform, Inputs, Outcome, Verdict};
use crate::digest::Digest;
use crate::facts::{Fact, Facts};
use crate::microarch::{CpuDescription, Microarchitectures};
use crate::policy::{Otherwise, Undeclared};
use crate::testing::{Attach, attach, bare_inputs, facts, image, index, inputs, set, wrap};

/// The CPU facts of one of archspec's samples, without some flags.
fn cpu(sample: &str, hidden: &[&str]) -> Facts {
    let line = include_str!("../data/samples.tsv").lines().find(|line| line.starts_with(sample)).unwrap();
    let f: Vec<&str> = line.split('\t').collect();
    let features: BTreeSet<String> =
        f[6].split_whitespace().filter(|flag| !hidden.contains(flag)).map(str::to_owned).collect();
    let description = CpuDescription {
        arch: f[1].into(),
        vendor: f[2].into(),
        part: Some(f[3].to_owned()),
        features: features.clone(),
        ..CpuDescription::default()
    };
    let found = Microarchitectures::builtin().detect(&description).unwrap();
    facts(&[
        ("io.archspec", "cpu.target", found.target.as_str().into()),
        ("io.archspec", "cpu.vendor", f[2].into()),
        ("io.archspec", "cpu.candidates", found.candidates.into()),
        ("io.archspec", "cpu.features", features.into()),
    ])
}

fn host_a() -> Facts {
    let mut facts = cpu("linux-rocky9-zen5", &[]);
    facts.set("host", "cpu.level", Fact::known("v4", "cpuid"));
    facts.set("host", "kernel.version", Fact::known("5.14.0", "/proc/sys/kernel/osrelease"));
    facts.set("host", "page_size", Fact::known(4096, "auxv"));
    facts.set("host", "nvidia.cuda", Fact::absent("/sys/module/nvidia/version"));
    facts.set("nfd", "memory-numa", Fact::known(true, "/sys/bus/node/devices"));
    facts.set("nfd", "kernel-selinux.enabled", Fact::absent("/sys/fs/selinux"));
    facts.set("nfd", "kernel-version.major", Fact::known("5", "/proc/sys/kernel/osrelease"));
    facts.set("nfd", "cpu-pstate.turbo", Fact::absent("/sys/devices/system/cpu/intel_pstate"));
    facts.set("nfd", "cpu-cpuid.*", Fact::absent("cpuid"));
    facts.set("nfd", "cpu-cpuid.AVX2", Fact::known(true, "cpuid 7.0 ebx"));
    facts.set("nfd", "pci-*", Fact::absent("/sys/bus/pci/devices"));
    facts
}

fn host_b(cuda: &str) -> Facts {
    let mut facts = cpu("linux-unknown-sapphirerapids", &[]);
    facts.set("host", "nvidia.cuda", Fact::known(cuda, "/sys/module/nvidia/version"));
    facts.set("nfd", "pci-*", Fact::absent("/sys/bus/pci/devices"));
    facts.set("nfd", "pci-0302_10de.present", Fact::known(true, "/sys/bus/pci/devices/0000:17:00.0"));
    facts
}

fn target(name: &str) -> String {
    format!(r#""io.archspec":{{"cpu.target":"{name}"}}"#)
}

/// Asks, and names what runs: `preferred[0]` or the default.
fn runs(inputs: &Inputs, names: &[&str]) -> (Decision, String) {
    let decision = decide(inputs).unwrap();
    let digest = match decision.outcome {
        Outcome::Swap => decision.preferred[0],
        Outcome::Default => decision.default.unwrap(),
        Outcome::Deny => return (decision, "denied".to_owned()),
    };
    let name = names.iter().find(|name| image(name) == digest).unwrap();
    (decision, (*name).to_owned())
}

fn verdict(decision: &Decision, position: usize) -> Verdict {
    decision.entries[position].verdict
}

fn reason(decision: &Decision, position: usize) -> &str {
    &decision.entries[position].reasons.last().unwrap().text
}

const TARGETS: [&str; 5] = ["plain", "x86_64_v3", "zen3", "skylake_avx512", "zen4"];

fn by_target(facts: Facts) -> Inputs {
    let documents: Vec<Option<String>> = TARGETS.iter().map(|name| (*name != "plain").then(|| target(name))).collect();
    let images: Vec<(&str, Option<&str>)> = TARGETS.into_iter().zip(documents.iter().map(Option::as_deref)).collect();
    inputs(&images, facts)
}

#[test]
fn example_1_the_deepest_ancestor_wins() {
    let (decision, name) = runs(&by_target(host_a()), &TARGETS);
    assert_eq!(name, "zen4");
    assert_eq!(verdict(&decision, 0), Verdict::Undeclared);
    assert_eq!(
        reason(&decision, 3),
        "io.archspec/cpu.target = skylake_avx512: this host is zen5, made by AuthenticAMD, not GenuineIntel (/test/cpu.target)"
    );
    let preferred: Vec<_> = ["zen4", "zen3", "x86_64_v3"].map(image).into();
    assert_eq!(decision.preferred, preferred);
}

#[test]
fn example_1_a_match_by_features_ranks_by_its_generic_ancestor() {
    let mut facts = host_a();
    let relaxed = set("x86_64 x86_64_v2 x86_64_v3 x86_64_v4 skylake_avx512 zen3 zen4 zen5");
    facts.set("io.archspec", "cpu.candidates", Fact::known(relaxed, "policy"));
    let (decision, name) = runs(&by_target(facts), &TARGETS);
    assert_eq!((name.as_str(), verdict(&decision, 3)), ("zen4", Verdict::Compatible));
    assert_eq!(decision.preferred[2], image("skylake_avx512"));
}

#[test]
fn example_2_a_masked_machine_gets_its_level_and_names_the_hidden_flags() {
    let (decision, name) = runs(&by_target(cpu("linux-rocky9-zen5", &["clzero"])), &TARGETS);
    assert_eq!(name, "x86_64_v3");
    for position in [2, 4] {
        assert_eq!(verdict(&decision, position), Verdict::Incompatible);
        assert!(reason(&decision, position).contains("this host is x86_64_v4, missing: clzero"));
    }
}

#[test]
fn example_3_an_unknown_target_is_undetermined() {
    let (decision, name) =
        runs(&inputs(&[("plain", None), ("new", Some(&target("zen9")))], host_a()), &["plain", "new"]);
    assert_eq!((name.as_str(), verdict(&decision, 1)), ("plain", Verdict::Undetermined));
    assert!(reason(&decision, 1).contains("update the archspec data"));
}

#[test]
fn example_4_absent_is_false_only_where_the_schema_says_so() {
    let images = [
        ("selinux", Some(r#""nfd":{"kernel-selinux.enabled":false}"#)),
        ("turbo", Some(r#""nfd":{"cpu-pstate.turbo":false}"#)),
    ];
    let (decision, name) = runs(&inputs(&images, host_a()), &["selinux", "turbo"]);
    assert_eq!(name, "selinux");
    assert_eq!((verdict(&decision, 0), verdict(&decision, 1)), (Verdict::Compatible, Verdict::Incompatible));
}

#[test]
fn example_5_a_label_compares_by_equality() {
    let nfd = r#""nfd":{"memory-numa":true,"kernel-version.major":4}"#;
    let (decision, _) = runs(&inputs(&[("four", Some(nfd))], host_a()), &["four"]);
    assert_eq!(verdict(&decision, 0), Verdict::Incompatible);
    let ranged = r#""host":{"kernel.version":">=4.18"}"#;
    let (decision, _) = runs(&inputs(&[("ranged", Some(ranged))], host_a()), &["ranged"]);
    assert_eq!(verdict(&decision, 0), Verdict::Compatible);
}

#[test]
fn example_7_alternatives() {
    let amd = wrap(r#""io.archspec":{"cpu.vendor":"AMD"},"host":{"amd.gfx":"gfx942"}"#);
    let intel = wrap(r#""io.archspec":{"cpu.vendor":"Intel"},"host":{"nvidia.cuda":">=12.4"}"#);
    let ask = |facts: Facts| {
        let mut inputs = inputs(&[("either", None)], facts);
        attach(
            &mut inputs,
            "either",
            &[Attach::to(image("either")).alternative("amd", &amd).alternative("intel", &intel)],
        );
        verdict(&decide(&inputs).unwrap(), 0)
    };
    assert_eq!(ask(host_b("12.4")), Verdict::Compatible);
    let (mut without, mut unreadable) = (host_a(), host_a());
    without.set("host", "amd.gfx", Fact::absent("/sys/class/kfd"));
    unreadable.set("host", "amd.gfx", Fact::unknown("EACCES", "/sys/class/kfd"));
    assert_eq!(ask(without), Verdict::Incompatible);
    assert_eq!(ask(unreadable), Verdict::Undetermined);
}

#[test]
fn example_8_one_real_requirement_beats_twenty_trivial_ones() {
    let trivial = (0..20).map(|at| format!(r#""cpu-cpuid.NO{at}":false"#)).collect::<Vec<_>>().join(",");
    let trivial = format!(r#""nfd":{{{trivial}}}"#);
    let names = ["I1", "I2", "I3"];
    let images = [
        (names[0], Some(r#""host":{"nvidia.cuda":">=12.0"}"#)),
        (names[1], Some(r#""host":{"nvidia.cuda":">=13.0"}"#)),
        (names[2], Some(trivial.as_str())),
    ];
    let with = |mut facts: Facts| {
        facts.set("nfd", "cpu-cpuid.*", Fact::absent("cpuid"));
        runs(&inputs(&images, facts), &names).1
    };
    assert_eq!([with(host_b("12.4")), with(host_a()), with(host_b("13.0"))], ["I1", "I3", "I2"]);
}

#[test]
fn example_9_facts_of_the_image_are_not_checked() {
    let image_side = r#""org.supercontainers":{"os.name":"Ubuntu 22.04.3 LTS","mpi.implementation":"openmpi"}"#;
    let decision = decide(&inputs(&[("a", Some(image_side))], host_a())).unwrap();
    assert_eq!((verdict(&decision, 0), decision.outcome), (Verdict::Undeclared, Outcome::Default));
}

#[test]
fn example_10_page_sizes_are_any_of() {
    let mut facts = cpu("linux-rhel9-neoverse_v2", &[]);
    facts.set("host", "page_size", Fact::known(65536, "auxv"));
    let names = ["plain", "small", "both"];
    let images: Vec<(&str, &str)> = names.iter().map(|name| (*name, "linux/arm64")).collect();
    let mut inputs = bare_inputs(index(&images), facts);
    inputs.host = HostPlatform { os: "linux".into(), architecture: "arm64".into() };
    let ask = |name: &str, value: &str| {
        Attach::to(image(name)).document(&wrap(&format!(r#""host":{{"page_size":{value}}}"#)))
    };
    attach(&mut inputs, "plain", &[]);
    attach(&mut inputs, "small", &[ask("small", "4096")]);
    attach(&mut inputs, "both", &[ask("both", r#"["4096","65536"]"#)]);
    assert_eq!(runs(&inputs, &names).1, "both");
}

#[test]
fn example_11_equals_go_by_position_and_keys_have_no_order() {
    let one = r#""nfd":{"memory-numa":true,"cpu-cpuid.AVX2":true}"#;
    let other = r#""nfd":{"cpu-cpuid.AVX2":true,"memory-numa":true}"#;
    for (second, third) in [(one, other), (other, one)] {
        let images = [("plain", None), ("second", Some(second)), ("third", Some(third))];
        let (decision, name) = runs(&inputs(&images, host_a()), &["plain", "second", "third"]);
        assert_eq!(name, "second");
        let texts = |at: usize| decision.entries[at].reasons.iter().map(|reason| &reason.text).collect::<Vec<_>>();
        assert_eq!(texts(1), texts(2));
    }
}

#[test]
fn example_13_notes_remove_no_requirement() {
    let mut inputs = inputs(&[("plain", None), ("noted", None)], host_a());
    let vendor =
        Attach::to(image("noted")).document(&wrap(r#""nfd":{"memory-numa":false}"#)).created("2024-01-01T00:00:00Z");
    let notes =
        Attach::to(image("noted")).document(&wrap(r#""org.blast":{"db":"nt"}"#)).created("2025-01-01T00:00:00Z");
    attach(&mut inputs, "noted", &[vendor, notes]);
    let decision = decide(&inputs).unwrap();
    assert_eq!(verdict(&decision, 1), Verdict::Incompatible);
    assert_eq!(decision.notes, ["group \"org.blast\" is not known here: ignored"]);
}

/// Default needs a GPU, the second a level that the host lacks, the third nothing; on a v2 host without GPU.
fn gpu_v4_plain(variant: &str) -> Inputs {
    let second = format!("linux/amd64{variant}");
    let mut host = cpu("linux-rhel7-ivybridge", &[]);
    host.set("host", "cpu.level", Fact::known("v2", "cpuid"));
    host.set("nfd", "pci-*", Fact::absent("/sys/bus/pci/devices"));
    let mut inputs = bare_inputs(index(&[("gpu", "linux/amd64"), ("v4", &second), ("plain", "linux/amd64")]), host);
    inputs.default = Some(image("gpu"));
    let document = |name: &str, text: &str| [Attach::to(image(name)).document(&wrap(text))];
    attach(&mut inputs, "gpu", &document("gpu", r#""nfd":{"pci-0302_10de.present":true}"#));
    attach(&mut inputs, "v4", &document("v4", &target("x86_64_v4")));
    attach(&mut inputs, "plain", &[]);
    inputs
}

#[test]
fn example_14_a_silent_entry_stands_in_for_a_default_that_does_not_fit() {
    let names = ["gpu", "v4", "plain"];
    assert_eq!(runs(&gpu_v4_plain(""), &names).1, "plain");
    let mut malformed = gpu_v4_plain("");
    attach(&mut malformed, "v4", &[Attach::to(image("v4")).document("{\"compatibilities\": {")]);
    let (decision, name) = runs(&malformed, &names);
    assert_eq!((name.as_str(), verdict(&decision, 1)), ("plain", Verdict::Undetermined));
    assert!(reason(&decision, 1).contains("layer 0: line 1 column 21: EOF"), "{}", reason(&decision, 1));
    for (variant, expected) in [("/v4", "plain"), ("", "v4")] {
        let mut hidden = gpu_v4_plain(variant);
        attach(&mut hidden, "v4", &[]);
        assert_eq!(runs(&hidden, &names).1, expected);
    }
    let mut never = gpu_v4_plain("");
    never.policy.undeclared = Undeclared::Never;
    assert_eq!(runs(&never, &names).1, "gpu");
    never.policy.on_no_fit = Otherwise::Deny;
    assert_eq!(runs(&never, &names).1, "denied");
}

#[test]
fn example_15_layers_add_up() {
    let ask = |second: &str| {
        let mut inputs = inputs(&[("a", None)], host_a());
        let attached = Attach::to(image("a")).document(&wrap(r#""nfd":{"memory-numa":true}"#)).document(&wrap(second));
        attach(&mut inputs, "a", &[attached]);
        verdict(&decide(&inputs).unwrap(), 0)
    };
    assert_eq!(ask(r#""host":{"page_size":4096}"#), Verdict::Compatible);
    assert_eq!(ask(r#""host":{"page_size":65536}"#), Verdict::Incompatible);
}

#[test]
fn example_16_another_platform_changes_nothing() {
    let mut inputs = bare_inputs(index(&[("amd", "linux/amd64"), ("arm", "linux/arm64")]), host_a());
    attach(&mut inputs, "amd", &[]);
    attach(&mut inputs, "arm", &[Attach::to(image("arm")).document(&wrap(&target("aarch64")))]);
    let (decision, name) = runs(&inputs, &["amd", "arm"]);
    assert_eq!((name.as_str(), verdict(&decision, 1)), ("amd", Verdict::Skipped));
    assert_eq!(decision.why, "no entry has a compatibility artifact");
}

#[test]
fn variants_alone_do_not_steer() {
    let mut inputs = bare_inputs(index(&[("plain", "linux/amd64"), ("v3", "linux/amd64/v3")]), host_a());
    attach(&mut inputs, "plain", &[]);
    attach(&mut inputs, "v3", &[]);
    assert_eq!(runs(&inputs, &["plain", "v3"]).1, "plain");
    attach(&mut inputs, "plain", &[Attach::to(image("plain")).document(&wrap(""))]);
    let (decision, name) = runs(&inputs, &["plain", "v3"]);
    assert_eq!((name.as_str(), verdict(&decision, 1)), ("plain", Verdict::Undeclared));
}

#[test]
fn what_could_not_be_read_is_not_absent() {
    let lose = |inputs: &mut Inputs, digest: Digest| {
        inputs.evidence.insert(digest, Evidence::Unread { why: "503".into() });
    };
    let names = ["plain", "zen4"];
    let build = || inputs(&[("plain", None), ("zen4", Some(&target("zen4")))], host_a());
    let mut lost = build();
    lose(&mut lost, image("zen4"));
    let (decision, name) = runs(&lost, &names);
    assert_eq!((name.as_str(), verdict(&decision, 1)), ("plain", Verdict::Undetermined));
    lost.policy.on_error = Otherwise::Deny;
    assert_eq!(runs(&lost, &names).1, "denied");
    let mut default_lost = build();
    lose(&mut default_lost, image("plain"));
    assert_eq!(runs(&default_lost, &names).1, "zen4");
    let mut index_lost = build();
    let digest = Digest::of(&index_lost.index);
    lose(&mut index_lost, digest);
    assert_eq!(runs(&index_lost, &names).1, "plain");
    let mut not_asked = build();
    not_asked.evidence.remove(&image("zen4"));
    assert_eq!(runs(&not_asked, &names).1, "plain");
}

#[test]
fn an_artifact_of_the_index_holds_for_every_entry() {
    let mut inputs = inputs(&[("plain", None), ("zen4", Some(&target("zen4")))], host_a());
    let subject = Digest::of(&inputs.index);
    let artifacts = vec![Attach::to(subject).document(&wrap(r#""nfd":{"pci-0302_10de.present":true}"#)).artifact()];
    inputs.evidence.insert(subject, Evidence::Read { list: None, artifacts });
    let decision = decide(&inputs).unwrap();
    assert_eq!((verdict(&decision, 0), verdict(&decision, 1)), (Verdict::Incompatible, Verdict::Incompatible));
}

#[test]
fn a_typing_error_never_passes() {
    let (decision, _) = runs(&inputs(&[("a", Some(r#""nfd":{"memory-num":true}"#))], host_a()), &["a"]);
    assert_eq!(verdict(&decision, 0), Verdict::Undetermined);
    assert_eq!(reason(&decision, 0), "nfd/memory-num = true: no known key; did you mean \"memory-numa\"?");
}

#[test]
fn an_index_may_carry_its_artifacts() {
    use base64::Engine as _;
    let document = wrap(&target("zen4"));
    let data = base64::engine::general_purpose::STANDARD.encode(&document);
    let images = index(&[("plain", "linux/amd64"), ("zen4", "linux/amd64")]);
    let inline = |subject: &str| {
        format!(
            r#"{{"mediaType":"{}","artifactType":"{}","digest":"{}","size":1,"data":"{data}","annotations":{{"io.bestfit.subject":"{subject}"}}}}"#,
            crate::artifact::LAYER_TYPE,
            crate::index::ARTIFACT_TYPE,
            Digest::of(document.as_bytes()),
        )
    };
    let with = |entry: String| {
        let text = String::from_utf8(images.clone()).unwrap();
        let mut inputs = bare_inputs(format!("{},{entry}]}}", text.strip_suffix("]}").unwrap()).into_bytes(), host_a());
        inputs.evidence.clear();
        runs(&inputs, &["plain", "zen4"])
    };
    let (decision, name) = with(inline(&image("zen4").to_string()));
    assert_eq!((name.as_str(), verdict(&decision, 2)), ("zen4", Verdict::Skipped));
    let (decision, name) = with(inline("nothing"));
    assert_eq!((name.as_str(), verdict(&decision, 1)), ("plain", Verdict::Undetermined));
}

#[test]
fn a_flood_of_requirements_is_not_evaluated() {
    let many: Vec<String> = (0..900).map(|at| format!("\"memory-num{at}\":true")).collect();
    let many = format!("\"nfd\":{{{}}}", many.join(","));
    let flood = Attach::to(image("flood")).document(&wrap(&many)).document(&wrap(&many.replace("memory", "kernel")));
    let mut inputs = inputs(&[("plain", None), ("flood", None)], host_a());
    attach(&mut inputs, "flood", &[flood]);
    let decision = decide(&inputs).unwrap();
    assert_eq!((verdict(&decision, 1), decision.entries[1].reasons.len()), (Verdict::Undetermined, 1));
    assert_eq!(reason(&decision, 1), "its artifacts ask for more than 1024 things");
}
