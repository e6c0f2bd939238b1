//! The processor from both sides: CPUID against `/proc/cpuinfo` on the machine that runs the test, recorded CPUID leaves,
//! and archspec's samples where they are at hand.

#![expect(clippy::unwrap_used, reason = "the functions beside the tests are tests as well")]

use std::fs;
use std::path::Path;

use bestfit_hostprobe::cpu::cpuid::CpuidDump;
use bestfit_hostprobe::{HostRoot, probe};
use bestfit_selector::facts::{Facts, State, Value};

const SAMPLES: &str = "/work/shared/data/archspec-targets";

fn state(facts: &Facts, group: &str, key: &str) -> Option<State> {
    facts.get(group, key).map(|fact| fact.state.clone())
}

fn probe_cpuinfo(cpuinfo: &[u8]) -> Facts {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("proc")).unwrap();
    fs::write(dir.path().join("proc/cpuinfo"), cpuinfo).unwrap();
    probe(&HostRoot::at(&dir).unwrap())
}

/// What CPUID and cpuinfo both tell must be the same; what cpuinfo does not tell is unknown and so compared with nothing.
#[test]
fn cpuid_and_cpuinfo_agree_on_this_machine() {
    if !cfg!(target_arch = "x86_64") {
        eprintln!("SKIP: CPUID is an instruction of x86");
        return;
    }
    let by_cpuid = probe(&HostRoot::running());
    let by_cpuinfo = probe_cpuinfo(&fs::read("/proc/cpuinfo").unwrap());
    let mut compared = 0;
    let keys = by_cpuid.facts["nfd"].keys().chain(by_cpuinfo.facts["nfd"].keys());
    for key in keys.filter(|key| key.starts_with("cpu-cpuid.") && !key.ends_with('*')) {
        let (cpuid, cpuinfo) = (state(&by_cpuid, "nfd", key), state(&by_cpuinfo, "nfd", key));
        if !matches!(cpuinfo, Some(State::Unknown { .. })) {
            assert_eq!(cpuid, cpuinfo, "{key}");
            compared += 1;
        }
    }
    assert!(compared > 20, "only {compared} flags were compared");
    for (group, key) in
        [("host", "cpu.level"), ("nfd", "cpu-model.vendor_id"), ("nfd", "cpu-model.family"), ("nfd", "cpu-model.id")]
    {
        assert_eq!(state(&by_cpuid, group, key), state(&by_cpuinfo, group, key), "{key}");
    }
}

#[test]
fn recorded_leaves_give_the_level() {
    let path = Path::new(SAMPLES).join("windows-cpuid-icelake");
    let Ok(text) = fs::read_to_string(&path) else {
        eprintln!("SKIP: no {}", path.display());
        return;
    };
    let facts = |xcr0| {
        let mut facts = Facts::default();
        bestfit_hostprobe::cpu::of_processor(&CpuidDump::parse(&text, xcr0).unwrap(), &mut facts);
        facts
    };
    let level = |xcr0| state(&facts(xcr0), "host", "cpu.level");
    let known = |name: &str| Some(State::Known { value: name.into() });
    assert_eq!(level(Some(0xe7)), known("v4"));
    assert_eq!(level(Some(0x7)), known("v3"), "the operating system does not save AVX-512 state");
    assert_eq!(level(Some(0x3)), known("v2"));
    assert!(matches!(level(None), Some(State::Unknown { .. })), "the dump does not hold XCR0");
    let facts = facts(Some(0xe7));
    assert_eq!(state(&facts, "nfd", "cpu-model.vendor_id"), known("Intel"));
    assert_eq!(state(&facts, "nfd", "cpu-cpuid.AVX512VNNI"), known_true());
    assert_eq!(state(&facts, "nfd", "cpu-cpuid.SSE4A"), Some(State::Absent));
    assert_eq!(state(&facts, "nfd", "cpu-cpuid.AVX10_VERSION"), Some(State::Absent));
    assert!(is_unknown(&facts, "AVX512_VNNI"), "NFD's name is AVX512VNNI");
}

fn is_unknown(facts: &Facts, flag: &str) -> bool {
    matches!(state(facts, "nfd", &format!("cpu-cpuid.{flag}")), Some(State::Unknown { .. }))
}

/// NFD's table ends before the newest capabilities of the kernel.
#[test]
fn flags_that_nfd_does_not_have_are_open() {
    let text = "processor : 0\nFeatures : fp asimd sve sve2p1 mops\nCPU implementer : 0x41\nCPU architecture : 8\n";
    let facts = probe_cpuinfo(text.as_bytes());
    assert_eq!(state(&facts, "nfd", "cpu-cpuid.SVE"), known_true());
    assert_eq!(state(&facts, "nfd", "cpu-cpuid.SVE2"), Some(State::Absent));
    assert!(["SVE2P1", "MOPS", "SME2"].iter().all(|flag| is_unknown(&facts, flag)));
}

fn known_true() -> Option<State> {
    Some(State::Known { value: Value::Bool(true) })
}

/// The last part of a sample's name is the target that archspec detects. All samples: `ARCHSPEC_TARGETS=DIR`.
#[test]
fn archspec_samples_are_detected() {
    let given = std::env::var("ARCHSPEC_TARGETS").ok();
    for dir in [Some(SAMPLES.to_owned()), given].into_iter().flatten() {
        let Ok(entries) = fs::read_dir(&dir) else {
            eprintln!("SKIP: no samples in {dir}");
            continue;
        };
        let mut wrong = Vec::new();
        let mut right = 0;
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !name.starts_with("linux-") {
                continue;
            }
            let mut expected = name.splitn(3, '-').nth(2).unwrap().to_owned();
            // The file does not tell the byte order of POWER, and a root is taken for little-endian.
            if expected.starts_with("power") && !expected.ends_with("le") {
                expected.push_str("le");
            }
            let found = state(&probe_cpuinfo(&fs::read(&path).unwrap()), "io.archspec", "cpu.target");
            if found == Some(State::Known { value: expected.clone().into() }) {
                right += 1;
            } else {
                wrong.push(format!("{name}: {found:?}"));
            }
        }
        eprintln!("{right} of {} samples in {dir}", right + wrong.len());
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(right > 0, "no sample in {dir}");
    }
}
