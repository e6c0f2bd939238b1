//! The worked examples of matching.md §9 by their numbers there: what runs, and the text that says why. The hosts are
//! built from archspec's samples and the facts that the examples name.

use std::collections::BTreeSet;

use crate::compiled::Meaning;
use crate::decide::decide;
use crate::decision::{Decision, Evidence, HostPlatform, Inputs, Outcome, Verdict};
use crate::digest::Digest;
use crate::evidence::Sources;
use crate::facts::{Fact, Facts};
use crate::index::Index;
use crate::microarch::{CpuDescription, Microarchitectures};
use crate::policy::{Action, Otherwise, Policy, Rule, Undeclared};
use crate::target::Vendor;
use crate::testing::{Attach, attach, bare_inputs, facts, image, index, inputs, set, wrap};
use crate::trust::{Signer, Standing, TrustMode};

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
    facts.set("host", "mpi.implementation", Fact::known(set("mpich mpich-abi"), "/etc/ld.so.cache"));
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
    facts.set("host", "nvidia.driver.version", Fact::known("550.54.15", "/sys/module/nvidia/version"));
    facts.set("host", "os.id", Fact::known("ubuntu", "/etc/os-release"));
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

/// A decision in words: every entry by its name with its verdict and reasons, then what runs and why.
fn story(decision: &Decision, names: &[&str]) -> String {
    let mut text = String::new();
    let named = |text: &str| names.iter().fold(text.to_owned(), |text, name| text.replace(&image(name).short(), name));
    for (entry, name) in decision.entries.iter().zip(names) {
        text.push_str(&format!("{name}: {:?}\n", entry.verdict));
        entry.reasons.iter().for_each(|reason| text.push_str(&format!("  {}\n", named(&reason.text))));
    }
    text.push_str(&format!("{:?}: {}", decision.outcome, named(&decision.why)));
    decision.notes.iter().for_each(|note| text.push_str(&format!("\nnote: {}", named(note))));
    text
}

/// The names of images in the order of the index, and the story that the test holds.
macro_rules! golden {
    ($inputs:expr, $names:expr, @$snapshot:literal) => {
        insta::assert_snapshot!(story(&decide($inputs).unwrap(), $names), @$snapshot)
    };
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
    golden!(&by_target(host_a()), &TARGETS, @r#"
        plain: Undeclared
          no artifact says anything about it
        x86_64_v3: Compatible
          io.archspec/cpu.target = x86_64_v3: this host is zen5 (/test/cpu.target)
        zen3: Compatible
          io.archspec/cpu.target = zen3: this host is zen5 (/test/cpu.target)
        skylake_avx512: Incompatible
          io.archspec/cpu.target = skylake_avx512: this host is zen5, made by AuthenticAMD, not GenuineIntel (/test/cpu.target)
        zen4: Compatible
          io.archspec/cpu.target = zen4: this host is zen5 (/test/cpu.target)
        Swap: zen4 fits this host best
        "#);
}

#[test]
fn example_1_a_match_by_features_ranks_by_its_generic_ancestor() {
    let mut inputs = by_target(host_a());
    inputs.policy.vendor = Vendor::Features;
    let (decision, name) = runs(&inputs, &TARGETS);
    assert_eq!((name.as_str(), verdict(&decision, 3)), ("zen4", Verdict::Compatible));
    assert_eq!(decision.preferred[2], image("skylake_avx512"));
    assert_eq!(
        reason(&decision, 3),
        "io.archspec/cpu.target = skylake_avx512: this host is zen5, has all its features, and selection.vendor asks for no \
         more (/test/cpu.target)"
    );
    // A flag that is hidden is missing for every vendor, and what the default of the site is stays.
    let mut masked = by_target(cpu("linux-rocky9-zen5", &["avx512f"]));
    masked.policy.vendor = Vendor::Features;
    assert_eq!(verdict(&runs(&masked, &TARGETS).0, 3), Verdict::Incompatible);
}

#[test]
fn example_2_a_masked_machine_gets_its_level_and_names_the_hidden_flags() {
    let (decision, name) = runs(&by_target(cpu("linux-rocky9-zen5", &["clzero"])), &TARGETS);
    assert_eq!(name, "x86_64_v3");
    for position in [2, 4] {
        assert_eq!(verdict(&decision, position), Verdict::Incompatible);
        assert!(reason(&decision, position).contains("this host is x86_64_v4, missing: clzero"));
    }
    golden!(&by_target(cpu("linux-rocky9-zen5", &["clzero"])), &TARGETS, @r#"
        plain: Undeclared
          no artifact says anything about it
        x86_64_v3: Compatible
          io.archspec/cpu.target = x86_64_v3: this host is x86_64_v4 (/test/cpu.target)
        zen3: Incompatible
          io.archspec/cpu.target = zen3: this host is x86_64_v4, missing: clzero (/test/cpu.target)
        skylake_avx512: Incompatible
          io.archspec/cpu.target = skylake_avx512: this host is x86_64_v4, made by AuthenticAMD, not GenuineIntel (/test/cpu.target)
        zen4: Incompatible
          io.archspec/cpu.target = zen4: this host is x86_64_v4, missing: clzero (/test/cpu.target)
        Swap: x86_64_v3 fits this host best
        "#);
}

#[test]
fn example_3_an_unknown_target_is_undetermined() {
    let (decision, name) =
        runs(&inputs(&[("plain", None), ("new", Some(&target("zen9")))], host_a()), &["plain", "new"]);
    assert_eq!((name.as_str(), verdict(&decision, 1)), ("plain", Verdict::Undetermined));
    assert!(reason(&decision, 1).contains("update the archspec data"));
    golden!(&inputs(&[("plain", None), ("new", Some(&target("zen9")))], host_a()), &["plain", "new"], @r#"
        plain: Undeclared
          no artifact says anything about it
        new: Undetermined
          io.archspec/cpu.target = zen9: zen9 is not in the archspec data 0.2.7: update the archspec data (/test/cpu.target)
        Default: no entry is known to fit, and nothing speaks against the default
        "#);
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
    golden!(&inputs(&images, host_a()), &["selinux", "turbo"], @r#"
        selinux: Compatible
          nfd/kernel-selinux.enabled = false: absent on this host (/sys/fs/selinux)
        turbo: Incompatible
          nfd/cpu-pstate.turbo = false: absent on this host (/sys/devices/system/cpu/intel_pstate)
        Default: the entry that containerd chose fits this host best
        "#);
}

#[test]
fn example_5_a_label_compares_by_equality() {
    let nfd = r#""nfd":{"memory-numa":true,"kernel-version.major":4}"#;
    let (decision, _) = runs(&inputs(&[("four", Some(nfd))], host_a()), &["four"]);
    assert_eq!(verdict(&decision, 0), Verdict::Incompatible);
    let ranged = r#""host":{"kernel.version":">=4.18"}"#;
    let (decision, _) = runs(&inputs(&[("ranged", Some(ranged))], host_a()), &["ranged"]);
    assert_eq!(verdict(&decision, 0), Verdict::Compatible);
    golden!(&inputs(&[("four", Some(nfd))], host_a()), &["four"], @r#"
        four: Incompatible
          nfd/kernel-version.major = 4: this host has 5 (/proc/sys/kernel/osrelease)
          nfd/memory-numa = true: this host has true (/sys/bus/node/devices)
        Default: no entry fits this host: the default runs
        note: nfd/kernel-version.major = 4 holds for nothing newer: better ask for "host": {"kernel.version": ">=4.18"}
        "#);
    golden!(&inputs(&[("ranged", Some(ranged))], host_a()), &["ranged"], @r#"
        ranged: Compatible
          host/kernel.version = >=4.18: this host has 5.14.0 (/proc/sys/kernel/osrelease)
        Default: the entry that containerd chose fits this host best
        "#);
}

#[test]
fn example_7_alternatives() {
    let amd = wrap(r#""io.archspec":{"cpu.vendor":"AMD"},"host":{"amd.gfx":"gfx942"}"#);
    let intel = wrap(r#""io.archspec":{"cpu.vendor":"Intel"},"host":{"nvidia.cuda":">=12.4"}"#);
    let build = |facts: Facts| {
        let mut inputs = inputs(&[("either", None)], facts);
        attach(
            &mut inputs,
            "either",
            &[Attach::to(image("either")).alternative("amd", &amd).alternative("intel", &intel)],
        );
        inputs
    };
    let ask = |facts: Facts| verdict(&decide(&build(facts)).unwrap(), 0);
    assert_eq!(ask(host_b("12.4")), Verdict::Compatible);
    let (mut without, mut unreadable) = (host_a(), host_a());
    without.set("host", "amd.gfx", Fact::absent("/sys/class/kfd"));
    unreadable.set("host", "amd.gfx", Fact::unknown("EACCES", "/sys/class/kfd"));
    golden!(&build(host_b("12.4")), &["either"], @r#"
        either: Compatible
          [alternative amd] host/amd.gfx = gfx942: this host's facts do not say
          [alternative amd] io.archspec/cpu.vendor = AMD: this host has GenuineIntel (/test/cpu.vendor)
          [alternative intel] host/nvidia.cuda = >=12.4: this host has 12.4 (/sys/module/nvidia/version)
          [alternative intel] io.archspec/cpu.vendor = Intel: this host has GenuineIntel (/test/cpu.vendor)
        Default: the entry that containerd chose fits this host best
        "#);
    golden!(&build(without.clone()), &["either"], @r#"
        either: Incompatible
          [alternative amd] host/amd.gfx = gfx942: absent on this host (/sys/class/kfd)
          [alternative amd] io.archspec/cpu.vendor = AMD: this host has AuthenticAMD (/test/cpu.vendor)
          [alternative intel] host/nvidia.cuda = >=12.4: absent on this host (/sys/module/nvidia/version)
          [alternative intel] io.archspec/cpu.vendor = Intel: this host has AuthenticAMD (/test/cpu.vendor)
        Default: no entry fits this host: the default runs
        "#);
    golden!(&build(unreadable.clone()), &["either"], @r#"
        either: Undetermined
          [alternative amd] host/amd.gfx = gfx942: cannot be seen: EACCES (/sys/class/kfd)
          [alternative amd] io.archspec/cpu.vendor = AMD: this host has AuthenticAMD (/test/cpu.vendor)
          [alternative intel] host/nvidia.cuda = >=12.4: absent on this host (/sys/module/nvidia/version)
          [alternative intel] io.archspec/cpu.vendor = Intel: this host has AuthenticAMD (/test/cpu.vendor)
        Default: no entry is known to fit, and nobody can tell about the default
        "#);
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
    let two = [images[0], images[1], (names[2], Some(r#""nfd":{"cpu-cpuid.NO0":false}"#))];
    golden!(&inputs(&two, host_b("12.4")), &names, @r#"
        I1: Compatible
          host/nvidia.cuda = >=12.0: this host has 12.4 (/sys/module/nvidia/version)
        I2: Incompatible
          host/nvidia.cuda = >=13.0: this host has 12.4 (/sys/module/nvidia/version)
        I3: Undetermined
          nfd/cpu-cpuid.NO0 = false: this host's facts do not say
        Default: the entry that containerd chose fits this host best
        "#);
    assert_eq!([with(host_b("12.4")), with(host_a()), with(host_b("13.0"))], ["I1", "I3", "I2"]);
}

#[test]
fn example_9_facts_of_the_image_are_checked_where_the_site_binds_its_own() {
    let image_side = r#""org.supercontainers":{"os.name":"Ubuntu 22.04.3 LTS","mpi.implementation":"openmpi"}"#;
    let mut asked = inputs(&[("a", Some(image_side))], host_a());
    let decision = decide(&asked).unwrap();
    assert_eq!((verdict(&decision, 0), decision.outcome), (Verdict::Undeclared, Outcome::Default));
    golden!(&asked, &["a"], @r#"
        a: Undeclared
          org.supercontainers/mpi.implementation = openmpi: a fact of the image, not checked
          org.supercontainers/os.name = Ubuntu 22.04.3 LTS: a fact of the image, not checked
        Default: no entry is known to fit, and nothing speaks against the default
        "#);
    asked.policy.check = vec!["org.supercontainers/mpi.implementation".into()];
    golden!(&asked, &["a"], @r#"
        a: Incompatible
          org.supercontainers/mpi.implementation = openmpi: this host has mpich mpich-abi (/etc/ld.so.cache)
          org.supercontainers/os.name = Ubuntu 22.04.3 LTS: a fact of the image, not checked
        Default: no entry fits this host: the default runs
        "#);
    let built_for = |what: &str| {
        let mut asked = asked.clone();
        let document = wrap(&image_side.replace("openmpi", what));
        attach(&mut asked, "a", &[Attach::to(image("a")).document(&document)]);
        verdict(&decide(&asked).unwrap(), 0)
    };
    // What was built with one MPI of the ABI runs with another, and with none that lacks it.
    for image in ["MPICH", "mpich-abi", "intel-mpi", "Intel MPI", "MVAPICH", "cray-mpich"] {
        assert_eq!(built_for(image), Verdict::Compatible, "{image}");
    }
    assert_eq!([built_for("openmpi-abi"), built_for("mpicc")], [Verdict::Incompatible, Verdict::Undetermined]);
    let on = |host: &str, built_for: &str| {
        let mut asked = asked.clone();
        asked.facts.set("host", "mpi.implementation", Fact::known(set(host), "/etc/ld.so.cache"));
        let document = wrap(&image_side.replace("openmpi", built_for));
        attach(&mut asked, "a", &[Attach::to(image("a")).document(&document)]);
        verdict(&decide(&asked).unwrap(), 0)
    };
    for image in ["mpich", "mpich-abi", "intel-mpi"] {
        assert_eq!(on("cray-mpich mpich-abi", image), Verdict::Compatible, "{image}");
        assert_eq!(on("cray-mpich", image), Verdict::Compatible, "{image}");
        assert_eq!(on("openmpi openmpi-abi", image), Verdict::Incompatible, "{image}");
    }
    assert_eq!([on("mpich", "mpich"), on("mpich", "mpich-abi")], [Verdict::Compatible, Verdict::Incompatible]);
}

#[test]
fn example_6_an_nfd_rule_compares_versions() {
    let mut facts = host_a();
    for (name, value) in [("full", "5.14.0-427.13.1.el9_4.x86_64"), ("major", "5"), ("minor", "14")] {
        facts.features.set_attribute("kernel.version", name, value);
    }
    let rule = "compatibilities: [{rules: [{name: kernel, matchFeatures: [{feature: kernel.version, matchExpressions: \
                {full: {op: Ge, value: [\"5.10\"], type: version}}}]}]}]";
    let mut inputs = inputs(&[("a", None)], facts);
    attach(&mut inputs, "a", &[Attach::to(image("a")).document(rule).nfd()]);
    golden!(&inputs, &["a"], @r#"
        a: Compatible
          nfd rule kernel: kernel.version/full Ge 5.10 (version): the host has "5.14.0-427.13.1.el9_4.x86_64"
        Default: the entry that containerd chose fits this host best
        "#);
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
    golden!(&inputs, &names, @r#"
        plain: Undeclared
          no artifact says anything about it
        small: Incompatible
          host/page_size = 4096: this host has 65536 (auxv)
        both: Compatible
          host/page_size = [4096, 65536]: this host has 65536 (auxv)
        Swap: both fits this host best
        "#);
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
    let images = [("plain", None), ("second", Some(one)), ("third", Some(other))];
    golden!(&inputs(&images, host_a()), &["plain", "second", "third"], @r#"
        plain: Undeclared
          no artifact says anything about it
        second: Compatible
          nfd/cpu-cpuid.AVX2 = true: this host has true (cpuid 7.0 ebx)
          nfd/memory-numa = true: this host has true (/sys/bus/node/devices)
        third: Compatible
          nfd/cpu-cpuid.AVX2 = true: this host has true (cpuid 7.0 ebx)
          nfd/memory-numa = true: this host has true (/sys/bus/node/devices)
        Swap: second fits this host best
        "#);
}

#[test]
fn example_12_what_nobody_signed_has_no_weight_where_trust_is_enforced() {
    let weighty = r#""io.bestfit":{"weight":100},"nfd":{"memory-numa":true}"#;
    let names = ["plain", "X", "Y"];
    let mut asked = inputs(
        &[(names[0], None), (names[1], Some(weighty)), (names[2], Some(r#""nfd":{"memory-numa":true}"#))],
        host_a(),
    );
    assert_eq!(runs(&asked, &names).1, "X");
    let Evidence::Read { artifacts, .. } = &asked.evidence[&image("Y")] else { unreachable!() };
    let signer = Signer { rank: 1, name: "vendor".into() };
    asked.standings.insert(artifacts[0].digest, Standing::Trusted(signer));
    assert_eq!(runs(&asked, &names).1, "X", "where trust is off, signatures are not looked at");
    asked.policy.trust.mode = TrustMode::Warn;
    assert_eq!(runs(&asked, &names).1, "Y", "the author's rank goes before the author's weight");
    asked.policy.trust.mode = TrustMode::Enforce;
    assert_eq!(runs(&asked, &names).1, "Y");
    golden!(&asked, &names, @r#"
        plain: Undeclared
          no artifact says anything about it
        X: Undeclared
          no artifact says anything about it
        Y: Compatible
          nfd/memory-numa = true: this host has true (/sys/bus/node/devices)
        Swap: Y fits this host best
        note: artifact sha256:80c049a23ad0: signed by nobody whom this site trusts: ignored
        "#);
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
    golden!(&inputs, &["plain", "noted"], @r#"
        plain: Undeclared
          no artifact says anything about it
        noted: Incompatible
          nfd/memory-numa = false: this host has true (/sys/bus/node/devices)
          group "org.blast" is not known here: ignored
        Default: no entry is known to fit, and nothing speaks against the default
        note: group "org.blast" is not known here: ignored
        "#);
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
    let mut enforced = gpu_v4_plain("");
    attach(&mut enforced, "v4", &[]);
    let Evidence::Read { artifacts, .. } = &enforced.evidence[&image("gpu")] else { unreachable!() };
    enforced.standings.insert(artifacts[0].digest, Standing::Trusted(Signer { rank: 1, name: "vendor".into() }));
    enforced.policy.trust.mode = TrustMode::Enforce;
    assert_eq!(runs(&enforced, &names).1, "gpu");
    golden!(&gpu_v4_plain(""), &names, @r#"
        gpu: Incompatible
          nfd/pci-0302_10de.present = true: absent on this host (/sys/bus/pci/devices)
        v4: Incompatible
          io.archspec/cpu.target = x86_64_v4: this host is ivybridge, missing: abm, avx2, avx512bw, avx512cd, avx512dq, avx512f, avx512vl, bmi1, … (/test/cpu.target)
        plain: Undeclared
          no artifact says anything about it
        Swap: no entry is known to fit, the default does not, and plain asks for nothing
        "#);
    golden!(&malformed, &names, @r#"
        gpu: Incompatible
          nfd/pci-0302_10de.present = true: absent on this host (/sys/bus/pci/devices)
        v4: Undetermined
          artifact sha256:1e7c04a8d1b4: layer 0: line 1 column 21: EOF while parsing an object
        plain: Undeclared
          no artifact says anything about it
        Swap: no entry is known to fit, the default does not, and plain asks for nothing
        "#);
    golden!(&enforced, &names, @r#"
        gpu: Incompatible
          nfd/pci-0302_10de.present = true: absent on this host (/sys/bus/pci/devices)
        v4: Undeclared
          no artifact says anything about it
        plain: Undeclared
          no artifact says anything about it
        Default: no entry fits this host: the default runs
        "#);
}

#[test]
fn example_15_layers_add_up() {
    let build = |second: &str| {
        let mut inputs = inputs(&[("a", None)], host_a());
        let attached = Attach::to(image("a")).document(&wrap(r#""nfd":{"memory-numa":true}"#)).document(&wrap(second));
        attach(&mut inputs, "a", &[attached]);
        inputs
    };
    let ask = |second: &str| verdict(&decide(&build(second)).unwrap(), 0);
    golden!(&build(r#""host":{"page_size":65536}"#), &["a"], @r#"
        a: Incompatible
          nfd/memory-numa = true: this host has true (/sys/bus/node/devices)
          host/page_size = 65536: this host has 4096 (auxv)
        Default: no entry fits this host: the default runs
        "#);
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
    golden!(&inputs, &["amd", "arm"], @r#"
        amd: Undeclared
          no artifact says anything about it
        arm: Skipped
          cannot run on linux/amd64
        Default: no entry has a compatibility artifact
        "#);
    let mut cuda = bare_inputs(index(&[("cuda", "linux/amd64"), ("arm", "linux/arm64")]), host_a());
    attach(&mut cuda, "cuda", &[]);
    attach(&mut cuda, "arm", &[]);
    golden!(&cuda, &["cuda", "arm"], @r#"
        cuda: Undeclared
          no artifact says anything about it
        arm: Skipped
          cannot run on linux/amd64
        Default: no entry has a compatibility artifact
        "#);
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

/// What a site's own files say about a host (NFD's features.d) is asked for by its name, whether or not a schema lists it.
#[test]
fn a_fact_of_exactly_that_name_answers_a_key_that_no_schema_lists() {
    let ask = |key: &str, value: &str| {
        let mut facts = host_a();
        facts.set("nfd", "vendor.io/x", Fact::known("fast", "/etc/features.d/x"));
        facts.set("nfd", "vendor.io/blind", Fact::unknown("EIO", "/etc/features.d/x"));
        let document = format!(r#""nfd":{{"{key}":"{value}"}}"#);
        verdict(&decide(&inputs(&[("a", Some(&document))], facts)).unwrap(), 0)
    };
    assert_eq!(ask("vendor.io/x", "fast"), Verdict::Compatible);
    assert_eq!(ask("vendor.io/x", "slow"), Verdict::Incompatible);
    assert_eq!(ask("vendor.io/blind", "fast"), Verdict::Undetermined);
    assert_eq!(ask("vendor.io/y", "fast"), Verdict::Undetermined);
}

/// A text that looks like a list is no list.
#[test]
fn a_list_of_targets_is_not_its_words() {
    let text = r#""io.archspec":{"cpu.target":"[zen3, zen4]"}"#;
    let list = r#""io.archspec":{"cpu.target":["zen3","zen4"]}"#;
    for (documents, expected) in [
        ([list, text], [Verdict::Compatible, Verdict::Undetermined]),
        ([text, list], [Verdict::Undetermined, Verdict::Compatible]),
    ] {
        let asked = inputs(&[("a", Some(documents[0])), ("b", Some(documents[1]))], host_a());
        let prepared = crate::decide::Prepared::new(&asked).unwrap();
        let host = prepared.on(&asked.facts);
        assert_eq!([0, 1].map(|at| host.rank(at).unwrap().0), expected);
    }
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
    // Nor compiled; what it asks about is known all the same, to the site's rules.
    let policy = Policy::default();
    let meaning = Meaning { schemas: crate::schema::Schemas::builtin(), policy: &policy };
    let index = Index::parse(&inputs.index).unwrap();
    let found = Sources::new(&inputs, &index, meaning).about(&image("flood"));
    assert!(!found.artifacts[0].is_compiled() && found.artifacts[0].names().contains("nfd/memory-num7"));
}

#[test]
fn site_rules_prefer_avoid_and_deny() {
    let images = [("plain", None), ("zen3", Some(target("zen3"))), ("zen4", Some(target("zen4")))];
    let images = images.each_ref().map(|(name, document)| (*name, document.as_deref()));
    let names = ["plain", "zen3", "zen4"];
    let with = |rules: &[(&str, Rule)]| {
        let mut asked = inputs(&images, host_a());
        asked.policy.rules = rules.iter().map(|(name, rule)| ((*name).to_owned(), rule.clone())).collect();
        asked
    };
    let on = |action, name: &str| Rule { action, score: 10, digests: vec![image(name)], ..Rule::default() };
    assert_eq!(runs(&with(&[]), &names).1, "zen4");
    assert_eq!(runs(&with(&[("a", on(Action::Prefer, "zen3"))]), &names).1, "zen3");
    assert_eq!(runs(&with(&[("a", on(Action::Avoid, "zen4"))]), &names).1, "zen3");
    // Preferring does not make an entry fit that nobody vouches for.
    assert_eq!(runs(&with(&[("a", on(Action::Prefer, "plain"))]), &names).1, "zen4");
    let old = |value: &str| Rule {
        host: [("host/kernel.version".into(), vec![value.to_owned()])].into(),
        ..on(Action::Deny, "zen4")
    };
    assert_eq!(runs(&with(&[("old", old("<5.0"))]), &names).1, "zen4");
    golden!(&with(&[("old", old("<5.15")), ("zen3 is slow here", on(Action::Avoid, "zen3"))]), &names, @r#"
        plain: Undeclared
          no artifact says anything about it
        zen3: Compatible
          io.archspec/cpu.target = zen3: this host is zen5 (/test/cpu.target)
          site rule "zen3 is slow here": avoided
        zen4: Incompatible
          io.archspec/cpu.target = zen4: this host is zen5 (/test/cpu.target)
          site rule "old": denied
        Swap: zen3 fits this host best
        "#);
    let asks = Rule { action: Action::Deny, asks: vec!["io.archspec/*".into()], ..Rule::default() };
    assert_eq!(runs(&with(&[("targets", asks)]), &names).1, "plain");
    golden!(&with(&[("no plain", on(Action::Deny, "plain")), ("3", on(Action::Deny, "zen3")), ("4", on(Action::Deny, "zen4"))]), &names, @r#"
        plain: Incompatible
          site rule "no plain": denied
        zen3: Incompatible
          io.archspec/cpu.target = zen3: this host is zen5 (/test/cpu.target)
          site rule "3": denied
        zen4: Incompatible
          io.archspec/cpu.target = zen4: this host is zen5 (/test/cpu.target)
          site rule "4": denied
        Deny: site rule "no plain" denies the entry that containerd chose, and no entry is known to fit: the container is refused
        "#);
    let unknown =
        Rule { host: [("host/amd.gfx".into(), vec!["gfx942".to_owned()])].into(), ..on(Action::Deny, "zen4") };
    assert_eq!(verdict(&decide(&with(&[("u", unknown)])).unwrap(), 2), Verdict::Undetermined);
}

#[test]
fn a_site_sets_levels_and_adds_schemas() {
    let document = r#""nfd":{"memory-numa":false},"org.lab":{"queue":"gpu"},"io.archspec":{"cpu.target":"zen4"}"#;
    let mut facts = host_a();
    facts.set("org.lab", "queue", Fact::known("gpu", "/etc/queue"));
    let mut asked = inputs(&[("plain", None), ("a", Some(document))], facts);
    assert_eq!(verdict(&decide(&asked).unwrap(), 1), Verdict::Incompatible);
    asked.policy.levels = [("nfd/*".to_owned(), crate::schema::Level::Preferred)].into();
    assert_eq!(runs(&asked, &["plain", "a"]).1, "a");
    let text = r#"{"graph": {"id": "org.lab", "version": "1", "nodes": {"queue": {"metadata": {"type": "enum", "doc": "x"}},
        "queue=cpu": {}, "queue=batch": {}, "queue=gpu": {}}, "edges": [
        {"source": "queue=gpu", "target": "queue=batch", "relation": "satisfies"}]}}"#;
    asked.schemas = vec![crate::schema::SchemaFile { name: "lab.json".into(), text: text.into() }];
    let batch = document.replace("\"gpu\"", "\"batch\"");
    attach(&mut asked, "a", &[Attach::to(image("a")).document(&wrap(&batch))]);
    golden!(&asked, &["plain", "a"], @r#"
        plain: Undeclared
          no artifact says anything about it
        a: Compatible
          io.archspec/cpu.target = zen4: this host is zen5 (/test/cpu.target)
          nfd/memory-numa = false: this host has true (/sys/bus/node/devices) [preferred]
          org.lab/queue = batch: this host has gpu (/etc/queue)
        Swap: a fits this host best
        "#);
    asked.schemas[0].text = "{".into();
    assert_eq!(
        decide(&asked).unwrap_err().to_string(),
        "the group schemas of this site: lab.json:1:1: error: EOF while parsing an object"
    );
}

/// `implies` and `conflicts` answer what the host's facts leave open, and never what they say.
#[test]
fn what_follows_from_known_facts_is_known() {
    let schema = r#"{"graph": {"id": "org.lab", "version": "1", "nodes": {
        "cluster": {"metadata": {"type": "enum", "doc": "x"}}, "cluster=a": {}, "ib": {"metadata": {"type": "bool", "doc": "x"}},
        "slow": {"metadata": {"type": "bool", "doc": "x"}}}, "edges": [
        {"source": "cluster=a", "target": "ib", "relation": "implies"},
        {"source": "ib", "target": "slow", "relation": "conflicts"}]}}"#;
    let ask = |known: &[(&str, &str, crate::facts::Value)], document: &str| {
        let mut asked = inputs(&[("a", Some(document))], facts(known));
        asked.schemas = vec![crate::schema::SchemaFile { name: "lab.json".into(), text: schema.into() }];
        verdict(&decide(&asked).unwrap(), 0)
    };
    let on_a = ("org.lab", "cluster", "a".into());
    assert_eq!(ask(&[], r#""org.lab":{"ib":true}"#), Verdict::Undetermined);
    assert_eq!(ask(std::slice::from_ref(&on_a), r#""org.lab":{"ib":true}"#), Verdict::Compatible);
    assert_eq!(ask(std::slice::from_ref(&on_a), r#""org.lab":{"slow":true}"#), Verdict::Incompatible);
    assert_eq!(ask(&[on_a, ("org.lab", "ib", false.into())], r#""org.lab":{"ib":true}"#), Verdict::Incompatible);
}

/// matching.md §6: an index without artifacts is left alone, unless the site lets variants decide there.
#[test]
fn variants_decide_alone_only_where_the_site_says_so() {
    let names = ["plain", "v3", "v4"];
    let ask = |level: &str, on: bool, document: Option<&str>| {
        let platforms = ["linux/amd64", "linux/amd64/v3", "linux/amd64/v4"];
        let named: Vec<(&str, &str)> = names.into_iter().zip(platforms).collect();
        let mut inputs = bare_inputs(index(&named), facts(&[("host", "cpu.level", level.into())]));
        inputs.default = Some(image("plain"));
        inputs.policy.platform_variants = on;
        names.iter().for_each(|name| attach(&mut inputs, name, &[]));
        if let Some(document) = document {
            attach(&mut inputs, "plain", &[Attach::to(image("plain")).document(&wrap(document))]);
        }
        runs(&inputs, &names).1
    };
    assert_eq!([ask("v4", false, None), ask("v4", true, None), ask("v3", true, None)], ["plain", "v4", "v3"]);
    assert_eq!([ask("v2", true, None), ask("v4", true, Some(""))], ["plain", "plain"]);
}
