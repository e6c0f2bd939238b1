//! One index whose entries are described in every form that is read, as `explain` shows it: golden text (matching.md §4).

use std::collections::BTreeMap;

use crate::decide::decide;
use crate::decision::{Answer, Decision, ImageConfig, ImageConfigs, Inputs, Outcome, Verdict};
use crate::digest::Digest;
use crate::facts::{Fact, Facts};
use crate::record::render_table;
use crate::testing::{Attach, attach, bare_inputs, facts, image, index, set};

/// compspec-go's form; a name that goes on where a known group ends, and a group that nobody knows.
const D: &str = r#"{"version": "0.0.0", "kind": "CompatibilitySpec", "metadata": {"name": "lammps"}, "compatibilities": [
    {"name": "io.archspec.cpu", "version": "0.0.0", "attributes": {"target": "amd64", "vendor": "GenuineIntel"}},
    {"name": "org.supercontainers", "version": "0.0.0", "annotations": {"mpi.implementation": "mpich"}},
    {"name": "org.blast", "version": "0.0.0", "attributes": {"db": "nt"}}]}"#;
/// The proposal's example, its commas put right.
const H: &str = r#"{"compatibilities": [
    {"oci.cpu.vendor": "GenuineIntel", "oci.cpu.features": "AVX512FP16,", "oci.kernel.selinux": "false",
     "oci.kernel.configurations": "PREEMPT,", "oci.kernel.versions": "[4.19, 5.16)", "oci.os.glibc": "[2.31, 2.37]",
     "oci.pci.devices": "15B3.020D,", "compatibility-score": 50},
    {"oci.cpu.vendor": "AuthenticAMD", "oci.cpu.features": "avx2, fma", "oci.kernel.versions": "[4.19, 5.16)",
     "oci.pci.devices": "1002.67ff", "annotation": "only work with AMD CPU and AMD GPU"}]}"#;
const NFD: &str = r#"{"compatibilities": [{"rules": [{"name": "new kernel", "matchFeatures": [
    {"feature": "kernel.version", "matchExpressions": {"full": {"op": "Ge", "value": ["6.1"], "type": "version"}}}]}]}]}"#;

/// An Intel host with a network card, PREEMPT, glibc 2.34.
fn host() -> Facts {
    let mut host = facts(&[
        ("host", "kernel.version", "5.14.0".into()),
        ("host", "glibc.version", "2.34".into()),
        ("host", "pci.devices", set("15b3:020d 8086:1572")),
        ("io.archspec", "cpu.target", "icelake".into()),
        ("io.archspec", "cpu.vendor", "GenuineIntel".into()),
        ("io.archspec", "cpu.features", set("avx avx2 fma")),
    ]);
    host.set("nfd", "kernel-selinux.enabled", Fact::absent("/sys/fs/selinux"));
    host.features.set_flags("cpu.cpuid", ["AVX512FP16".to_owned()]);
    host.features.set_attribute("kernel.config", "PREEMPT", "y");
    host.features.set_attribute("kernel.version", "full", "5.14.0-427.13.1.el9_4.x86_64");
    host
}

fn inputs(entries: &[(&str, Option<&str>)]) -> Inputs {
    let named: Vec<(&str, &str)> = entries.iter().map(|(name, _)| (*name, "linux/amd64")).collect();
    let mut inputs = bare_inputs(index(&named), host());
    for (name, document) in entries {
        let attached = document.map(|text| Attach::to(image(name)).document(text));
        attach(&mut inputs, name, attached.as_slice());
    }
    inputs
}

fn entry(document: &str) -> (Verdict, Vec<String>) {
    let decision = decide(&inputs(&[("a", Some(document))])).unwrap();
    let entry = &decision.entries[0];
    let open = entry.reasons.iter().filter(|reason| reason.answer != Answer::True);
    (entry.verdict, open.map(|reason| reason.text.clone()).collect())
}

#[test]
fn each_form_in_its_own_words() {
    let f = r#"{"compatibilities": {"host": {"kernel.version": ">=5.10"}}}"#;
    let entries = [("plain", None), ("f", Some(f)), ("d", Some(D)), ("h", Some(H)), ("nfd", Some(NFD))];
    insta::assert_snapshot!(render_table(&decide(&inputs(&entries)).unwrap()), @r#"
         #  platform     digest               verdict
      *  0  linux/amd64  sha256:be329575236f  undeclared
         1  linux/amd64  sha256:031e4b1d3164  compatible
         2  linux/amd64  sha256:dbb3c1c1c430  compatible
    ->   3  linux/amd64  sha256:2fed78c719ba  compatible
         4  linux/amd64  sha256:6261973011c3  incompatible

    0 sha256:be329575236f undeclared
      note    no artifact says anything about it

    1 sha256:031e4b1d3164 compatible
      asked   sha256:a06e9314414d: Proposal F
      yes     host/kernel.version = >=5.10: this host has 5.14.0 (/test/kernel.version)

    2 sha256:dbb3c1c1c430 compatible
      asked   sha256:b47c0d559a87: Proposal D
      yes     io.archspec/cpu.target = amd64: this host is icelake (/test/cpu.target)
      yes     io.archspec/cpu.vendor = GenuineIntel: this host has GenuineIntel (/test/cpu.vendor)
      note    group "org.blast" is not known here: ignored
      note    org.supercontainers/mpi.implementation = mpich: a fact of the image, not checked

    3 sha256:2fed78c719ba compatible
      asked   sha256:42bf8ac50c59: Proposal H
      yes     [set 1] oci/cpu.features = [AVX512FP16]: this host has it (/test/cpu.features)
      yes     [set 1] oci/cpu.vendor = GenuineIntel: this host has GenuineIntel (/test/cpu.vendor)
      yes     [set 1] oci/kernel.configurations = [PREEMPT]: this host has PREEMPT (kernel.config)
      yes     [set 1] oci/kernel.selinux = false: absent on this host (/sys/fs/selinux)
      yes     [set 1] oci/kernel.versions = [4.19, 5.16): this host has 5.14.0 (/test/kernel.version)
      yes     [set 1] oci/os.glibc = [2.31, 2.37]: this host has 2.34 (/test/glibc.version)
      yes     [set 1] oci/pci.devices = [15b3:020d]: this host has 15b3:020d 8086:1572 (/test/pci.devices)
      yes     [set 2: only work with AMD CPU and AMD GPU] oci/cpu.features = [avx2, fma]: this host has all of them (/test/cpu.features)
      no      [set 2: only work with AMD CPU and AMD GPU] oci/cpu.vendor = AuthenticAMD: this host has GenuineIntel (/test/cpu.vendor)
      yes     [set 2: only work with AMD CPU and AMD GPU] oci/kernel.versions = [4.19, 5.16): this host has 5.14.0 (/test/kernel.version)
      no      [set 2: only work with AMD CPU and AMD GPU] oci/pci.devices = 1002:67ff: this host has 15b3:020d 8086:1572 (/test/pci.devices)

    4 sha256:6261973011c3 incompatible
      asked   sha256:11857e776d40: NFD v1alpha1
      no      nfd rule new kernel: kernel.version/full Ge 6.1 (version): the host has "5.14.0-427.13.1.el9_4.x86_64"

    swap: sha256:2fed78c719ba fits this host best
      entry 3 goes before entry 2 by author weight: 50 against 0
    note: group "org.blast" is not known here: ignored
    "#);
}

#[test]
fn what_cannot_be_mapped_is_said() {
    let table = [
        (
            r#"{"compatibilities": [{"oci.kernel.version": "[4.19, 5.16)"}]}"#,
            Verdict::Undetermined,
            "[set 1] oci/kernel.version = [4.19, 5.16): no known key; did you mean \"kernel.versions\"?",
        ),
        (
            r#"{"compatibilities": [{"com.example.license": "yes"}]}"#,
            Verdict::Undetermined,
            "[set 1] oci/com.example.license = yes: no known key",
        ),
        (
            r#"{"compatibilities": [{"oci.cpu.features": "avx2,axv512f"}]}"#,
            Verdict::Undetermined,
            "[set 1] oci/cpu.features = [avx2, axv512f]: axv512f: no processor feature that is known here (/test/cpu.features)",
        ),
        (
            r#"{"compatibilities": [{"oci.os.glibc": "two"}]}"#,
            Verdict::Undetermined,
            "[set 1] oci/os.glibc = two: two is no version or range (/test/glibc.version)",
        ),
        (
            r#"{"compatibilities": [{"oci.pci.devices": "10DE.2330,15B3.020D"}]}"#,
            Verdict::Incompatible,
            "[set 1] oci/pci.devices = [10de:2330, 15b3:020d]: this host has 15b3:020d 8086:1572 (/test/pci.devices)",
        ),
        (
            r#"{"compatibilities": [{"name": "io.archspec", "attributes": {"cpu.tarket": "zen4"}}]}"#,
            Verdict::Undetermined,
            "io.archspec/cpu.tarket = zen4: no known key; did you mean \"cpu.target\"?",
        ),
        (
            r#"{"compatibilities": [{"name": "io.archspec.cpu.x", "attributes": {"y": "zen4"}}]}"#,
            Verdict::Undetermined,
            "io.archspec/cpu.x.y = zen4: no known key",
        ),
        (
            r#"{"compatibilities": [{"name": "org.blast", "attributes": {"db": "nt"}}]}"#,
            Verdict::Undeclared,
            "group \"org.blast\" is not known here: ignored",
        ),
    ];
    for (document, verdict, reason) in table {
        assert_eq!(entry(document), (verdict, vec![reason.to_owned()]), "{document}");
    }
}

#[test]
fn a_document_of_no_form_leaves_it_open() {
    for document in ["{}", "[]", r#"{"compatibilities": [{"a": {}}]}"#, r#"{"compatibilities": []}"#] {
        let (verdict, reasons) = entry(document);
        assert_eq!(verdict, Verdict::Undetermined, "{document}");
        assert!(reasons[0].contains("layer 0: line 1 column "), "{document}: {reasons:?}");
    }
}

/// Beside an alternative that the host fails, one in which nothing can be checked is no proof that the image fits.
#[test]
fn an_alternative_that_says_nothing_is_not_known_to_hold() {
    let fails = r#"{"compatibilities": {"host": {"amd.gfx": "gfx942"}}}"#;
    let fits = r#"{"compatibilities": {"host": {"kernel.version": ">=5.10"}}}"#;
    let ask = |first: &str, second: &str| {
        let mut inputs = inputs(&[("a", None)]);
        inputs.facts.set("host", "amd.gfx", Fact::absent("/sys/class/kfd"));
        attach(&mut inputs, "a", &[Attach::to(image("a")).alternative("1", first).alternative("2", second)]);
        decide(&inputs).unwrap().entries.swap_remove(0)
    };
    let silent = [
        r#"{"compatibilities": {"org.unknown": {"x": 1}}}"#,
        r#"{"compatibilities": {"org.supercontainers": {"mpi.implementation": "mpich"}}}"#,
        r#"{"compatibilities": {"host": {"kernel.version": "5.10"}, "io.bestfit": {"level:host/*": "preferred"}}}"#,
    ];
    for silent in silent {
        for (one, other) in [(fails, silent), (silent, fails)] {
            let entry = ask(one, other);
            assert_eq!(entry.verdict, Verdict::Undetermined, "{silent}");
            let why = "an alternative in which nothing can be checked is not known to hold";
            assert!(entry.reasons.iter().any(|reason| reason.text == why), "{:?}", entry.reasons);
        }
        assert_eq!(ask(silent, fits).verdict, Verdict::Compatible, "the other one is enough");
        assert_eq!(ask(silent, silent).verdict, Verdict::Undeclared);
    }
    assert_eq!(ask(fails, r#"{"compatibilities": {}}"#).verdict, Verdict::Compatible, "it says: anywhere");
    let mut nfd = inputs(&[("a", None)]);
    let empty = NFD.replacen('[', r#"[{"tag": "none"}, "#, 1);
    attach(&mut nfd, "a", &[Attach::to(image("a")).document(&empty)]);
    assert_eq!(decide(&nfd).unwrap().entries[0].verdict, Verdict::Undetermined, "a set without rules");
}

const GPU: [(&str, &str); 3] =
    [("nvidia.cuda", "12.4"), ("nvidia.driver.version", "550.54.15"), ("nvidia.compute_capability", "9.0")];

/// `plain`, then images whose configs require something; each fits by its artifact.
fn cuda(configs: &[(&str, Option<&str>)], user: &[&str]) -> Inputs {
    let fits = r#"{"compatibilities": {"host": {"kernel.version": ">=5.10"}}}"#;
    let entries: Vec<(&str, Option<&str>)> = configs.iter().map(|(name, _)| (*name, Some(fits))).collect();
    let mut inputs = inputs(&entries);
    for (key, value) in GPU {
        inputs.facts.set("host", key, Fact::known(value, "/test/gpu"));
    }
    let config = |env: &Option<&str>| {
        let bytes = serde_json::json!({"config": {"Env": env.iter().collect::<Vec<_>>()}}).to_string().into_bytes();
        ImageConfig { digest: Some(Digest::of(&bytes)), read: Ok(bytes) }
    };
    let of: BTreeMap<_, _> = configs.iter().map(|(name, env)| (image(name), config(env))).collect();
    inputs.images = Some(ImageConfigs { user: user.iter().map(|text| (*text).to_owned()).collect(), of });
    inputs
}

fn reason(decision: &Decision, at: usize) -> &str {
    let mut reasons = decision.entries[at].reasons.iter().filter(|reason| reason.text.starts_with("image config"));
    reasons.next().map_or("", |reason| &reason.text)
}

#[test]
fn what_a_config_requires_of_the_driver() {
    let long = "cuda>=13.0 brand=tesla,driver>=470,driver<471 brand=tesla,driver>=535,driver<536";
    let table = [
        ("cuda>=12.0", Verdict::Compatible, "asks for cuda>=12.0: this host has 12.4 (/test/gpu)"),
        ("cuda>=13.0", Verdict::Incompatible, "asks for cuda>=13.0: this host has 12.4 (/test/gpu)"),
        (
            long,
            Verdict::Incompatible,
            "asks for cuda>=13.0: this host has 12.4 (/test/gpu); none of 2 alternatives holds either",
        ),
        (
            "cuda>=13.0 brand=tesla,driver>=550,driver<551",
            Verdict::Undetermined,
            "asks for brand=tesla: the brand of this host's GPUs is not known; none of 1 alternatives is known to hold",
        ),
        ("arch!=9.0", Verdict::Incompatible, "asks for arch!=9.0: this host has 9.0 (/test/gpu)"),
        ("arch!=8.0,driver=550.54.15", Verdict::Compatible, "asks for arch!=8.0: this host has 9.0 (/test/gpu)"),
        ("driver>=550.54.15", Verdict::Compatible, "asks for driver>=550.54.15: this host has 550.54.15 (/test/gpu)"),
        ("cuda>=12.0 bogus", Verdict::Compatible, "asks for cuda>=12.0: this host has 12.4 (/test/gpu)"),
        (
            "cuda>=13.0 bogus cuda>=12.0",
            Verdict::Undetermined,
            "asks for \"bogus\" compares nothing: nobody can read it; none of 1 alternatives is known to hold",
        ),
        ("cudnn>=9", Verdict::Undetermined, "asks for cudnn>=9: nobody knows what \"cudnn\" is"),
        ("cuda>=new", Verdict::Undetermined, "asks for cuda>=new: >=new is no version or range (/test/gpu)"),
    ];
    for (value, verdict, expected) in table {
        let decision = decide(&cuda(&[("a", Some(&format!("NVIDIA_REQUIRE_CUDA={value}")))], &[])).unwrap();
        let expected = format!("image config: NVIDIA_REQUIRE_CUDA {expected}");
        assert_eq!((decision.entries[0].verdict, reason(&decision, 0)), (verdict, expected.as_str()), "{value}");
    }
}

#[test]
fn configs_rule_out_and_choose_nothing_alone() {
    let configs = [("new", Some("NVIDIA_REQUIRE_CUDA=cuda>=13.0")), ("old", Some("NVIDIA_REQUIRE_CUDA=cuda>=12.0"))];
    let decision = decide(&cuda(&configs, &[])).unwrap();
    assert_eq!((decision.outcome, decision.preferred), (Outcome::Swap, vec![image("old")]));
    // The container's user says that nothing is required; no GPU given, nothing asked.
    assert_eq!(decide(&cuda(&configs, &["NVIDIA_DISABLE_REQUIRE=1"])).unwrap().outcome, Outcome::Default);
    let none = Inputs { images: None, ..cuda(&configs, &[]) };
    assert_eq!(decide(&none).unwrap().outcome, Outcome::Default);
    // No artifact: the default, untouched, whatever configs say.
    let mut bare = cuda(&configs, &[]);
    ["new", "old"].iter().for_each(|name| attach(&mut bare, name, &[]));
    let decision = decide(&bare).unwrap();
    assert_eq!((decision.outcome, decision.why.as_str()), (Outcome::Default, "no entry has a compatibility artifact"));
}

#[test]
fn a_config_that_could_not_be_read_is_not_one_without_requirements() {
    type Break = fn(&mut ImageConfigs);
    let table: [(Break, &str); 5] = [
        (|images| drop(images.of.remove(&image("a"))), "image config: it was not asked for"),
        (
            |images| images.of.get_mut(&image("a")).unwrap().read = Err("503".into()),
            "image config: it could not be read: 503",
        ),
        (|images| images.of.get_mut(&image("a")).unwrap().digest = None, "image config: it does not have its digest"),
        (
            |images| {
                let config = b"{\"config\": [}".to_vec();
                images.of.insert(image("a"), ImageConfig { digest: Some(Digest::of(&config)), read: Ok(config) });
            },
            "image config: line 1 column 13: expected value",
        ),
        (
            |images| images.user.push("NVIDIA_REQUIRE_X=x".into()),
            "image config: NVIDIA_REQUIRE_X: \"x\" compares nothing",
        ),
    ];
    for (damage, expected) in table {
        let mut inputs = cuda(&[("a", None)], &[]);
        damage(inputs.images.as_mut().unwrap());
        let decision = decide(&inputs).unwrap();
        assert_eq!((decision.entries[0].verdict, reason(&decision, 0)), (Verdict::Undetermined, expected));
    }
}
