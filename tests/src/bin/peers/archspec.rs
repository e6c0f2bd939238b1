//! Holds our microarchitectures against archspec's own code: what it says about every target of the data, and which target
//! it detects on its samples, on samples of which parts were taken away, and on this host.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bestfit_hostprobe::cpu::cpuid::CpuidDump;
use bestfit_hostprobe::cpu::{describe_cpuid, describe_cpuinfo};
use bestfit_hostprobe::{HostRoot, probe};
use bestfit_selector::facts::{State, Value};
use bestfit_selector::microarch::{CpuDescription, GENERIC, Microarchitectures, Target};
use serde::Deserialize;
use serde_json::json;

/// How many cases are made of the samples; `CASES` in the environment chooses another number.
const CASES: usize = 10_000;
/// The seed they are made from; `SEED` chooses another.
const SEED: u64 = 20_260_101;

/// Flags of x86 that archspec's table of CPUID bits lacks though its targets ask for them; ours has them (docs/peers.md).
const NOT_IN_CPUID_JSON: [&str; 6] =
    ["avx_ne_convert", "avx_vnni_int16", "avx_vnni_int8", "clzero", "flush_l1d", "tsc_adjust"];

/// What archspec says about one target.
#[derive(Deserialize)]
struct About {
    name: String,
    vendor: String,
    generation: u32,
    part: String,
    parents: Vec<String>,
    ancestors: BTreeSet<String>,
    family: String,
    generic: String,
    features: BTreeSet<String>,
    has: Vec<String>,
    has_not: Vec<String>,
    runs: BTreeSet<String>,
}

/// What it detects.
#[derive(Deserialize)]
struct Detected {
    target: String,
    #[serde(default)]
    candidates: BTreeSet<String>,
    #[serde(default)]
    features: BTreeSet<String>,
}

/// One machine: the question to archspec, and what we make of the same bytes.
struct Case {
    name: String,
    /// The target that the sample is named after, where it is whole.
    expected: Option<String>,
    question: serde_json::Value,
    ours: CpuDescription,
}

pub(crate) fn compare() -> Result<(), String> {
    let Some(oracle) = Oracle::find() else { return Ok(()) };
    let graph = Microarchitectures::builtin();
    let mut wrong = compare_targets(&oracle, graph)?;
    let samples = samples(&oracle, graph)?;
    wrong += compare_cases("samples", &samples, &oracle, graph)?;
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let seed = number("SEED", SEED);
    let count = usize::try_from(number("CASES", CASES as u64)).unwrap_or(CASES);
    println!("seed {seed}");
    let changed = changed(&samples, count, seed);
    wrong += compare_cases("samples of which parts were taken away", &changed, &oracle, graph)?;
    wrong += compare_host(&oracle)?;
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} differences that docs/peers.md does not name")) }
}

/// archspec's own code.
struct Oracle {
    package: PathBuf,
}

impl Oracle {
    fn find() -> Option<Self> {
        let package = bestfit_tests::peers::peers_dir().join("archspec");
        if !package.join("archspec").is_dir() {
            println!("SKIP: no {}: `make setup` fetches archspec", package.display());
            return None;
        }
        if Command::new("python3").arg("--version").output().is_err() {
            println!("SKIP: no python3 here");
            return None;
        }
        Some(Self { package })
    }

    /// Runs one command of the script and reads the lines of its answer.
    fn ask<T: for<'de> Deserialize<'de>>(&self, command: &str, input: &str) -> Result<Vec<T>, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/archspec/oracle.py");
        let mut child = Command::new("python3")
            .arg(script)
            .arg(command)
            .env("PYTHONPATH", &self.package)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("python3: {error}"))?;
        let mut stdin = child.stdin.take().ok_or("python3 has no input")?;
        let input = input.to_owned();
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().map_err(|error| format!("python3: {error}"))?;
        if !output.status.success() || !matches!(writer.join(), Ok(Ok(()))) {
            return Err(format!("oracle.py {command}: {}", output.status));
        }
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        lines.lines().map(|line| serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))).collect()
    }
}

/// Everything that the data says about every target.
fn compare_targets(oracle: &Oracle, graph: &Microarchitectures) -> Result<usize, String> {
    let theirs: Vec<About> = oracle.ask("targets", "")?;
    let (mut compared, mut wrong) = (0, 0);
    let mut check = |name: &str, what: &str, theirs: &dyn std::fmt::Debug, ours: &dyn std::fmt::Debug| {
        let (theirs, ours) = (format!("{theirs:?}"), format!("{ours:?}"));
        compared += 1;
        if theirs != ours {
            wrong += 1;
            println!("  {name}: {what}: archspec {theirs}, bestfit {ours}: NOT DOCUMENTED");
        }
    };
    let names = |targets: &mut dyn Iterator<Item = &Target>| targets.map(|target| target.name.clone()).collect();
    let (listed, ours): (BTreeSet<String>, BTreeSet<String>) =
        (theirs.iter().map(|about| about.name.clone()).collect(), names(&mut graph.targets().iter()));
    check("all", "targets", &listed, &ours);
    for about in &theirs {
        let name = about.name.as_str();
        let Some(target) = graph.get(name) else { continue };
        check(name, "vendor", &about.vendor, &target.vendor);
        check(name, "generation", &about.generation, &target.generation);
        check(name, "part", &about.part, &target.part.as_deref().unwrap_or_default());
        check(name, "parents", &about.parents, &target.parents);
        check(name, "ancestors", &about.ancestors, &graph.ancestors(target));
        check(name, "family", &about.family, &graph.family(target));
        check(name, "generic", &about.generic, &graph.generic(target).map_or("none", |generic| &generic.name));
        check(name, "features", &about.features, &target.features);
        for (features, has) in [(&about.has, true), (&about.has_not, false)] {
            features.iter().for_each(|feature| check(name, feature, &has, &graph.has_feature(target, feature)));
        }
        for other in graph.targets() {
            check(name, &other.name, &about.runs.contains(&other.name), &graph.runs(target, other));
        }
    }
    println!("data: {} targets, {compared} answers compared, {wrong} differ", theirs.len());
    Ok(wrong)
}

/// Detection on each case: the target, and every candidate.
fn compare_cases(what: &str, cases: &[Case], oracle: &Oracle, graph: &Microarchitectures) -> Result<usize, String> {
    let input: String = cases.iter().map(|case| format!("{}\n", case.question)).collect();
    let theirs: Vec<Detected> = oracle.ask("detect", &input)?;
    if theirs.len() != cases.len() {
        return Err(format!("{} answers to {} questions", theirs.len(), cases.len()));
    }
    let (mut wrong, mut ties) = (0, 0);
    for (case, theirs) in cases.iter().zip(&theirs) {
        let ours = graph.detect(&case.ours).ok_or_else(|| format!("{}: nothing fits", case.name))?;
        let named = case.expected.as_ref().is_none_or(|expected| *expected == ours.target);
        // archspec counts sse3 as there with ssse3, and has its aliases in a place of their own.
        let features = |all: &BTreeSet<String>| all.iter().filter(|flag| *flag != "sse3").cloned().collect::<Vec<_>>();
        let compares_features = ["amd64", "arm64"].contains(&case.ours.arch.as_str());
        let same_features = !compares_features || features(&case.ours.features) == features(&theirs.features);
        match ours.target == theirs.target {
            true if ours.candidates == theirs.candidates && named && same_features => {}
            false if ours.candidates == theirs.candidates && is_tie(graph, &ours.target, &theirs.target) => ties += 1,
            _ => {
                wrong += 1;
                let (name, target, of) = (&case.name, &theirs.target, &theirs.candidates);
                println!("  {name}: archspec {target} of {of:?}, bestfit {ours:?}: NOT DOCUMENTED");
            }
        }
    }
    let found: BTreeSet<&str> = theirs.iter().map(|theirs| theirs.target.as_str()).collect();
    println!(
        "{what}: {} compared, of {} targets, {ties} ties go the other way, {wrong} differ",
        cases.len(),
        found.len()
    );
    Ok(wrong)
}

/// Whether nothing but an order that means nothing tells two targets apart (docs/peers.md).
fn is_tie(graph: &Microarchitectures, one: &str, other: &str) -> bool {
    let rank = |name: &str| graph.get(name).map(|target| (graph.ancestors(target).len(), target.features.len()));
    rank(one) == rank(other) && one < other
}

fn compare_host(oracle: &Oracle) -> Result<usize, String> {
    let theirs: Vec<Detected> = oracle.ask("host", "")?;
    let theirs = theirs.first().map_or("nothing", |found| &found.target);
    let facts = probe(&HostRoot::running());
    let ours = match facts.get("io.archspec", "cpu.target").map(|fact| &fact.state) {
        Some(State::Known { value: Value::Text(target) }) => target.clone(),
        other => format!("{other:?}"),
    };
    let differs = theirs != ours;
    println!("this host: archspec {theirs}, bestfit {ours}{}", if differs { ": NOT DOCUMENTED" } else { "" });
    Ok(usize::from(differs))
}

/// The samples of the package, and those beside the repository where they are there; each content once.
fn samples(oracle: &Oracle, graph: &Microarchitectures) -> Result<Vec<Case>, String> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/archspec-targets");
    let (mut seen, mut cases, mut darwin) = (BTreeSet::new(), Vec::new(), 0);
    for dir in [oracle.package.join("archspec/json/tests/targets"), beside] {
        let Ok(entries) = fs::read_dir(&dir) else {
            println!("SKIP: no {}", dir.display());
            continue;
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            if name.starts_with("darwin-") {
                darwin += 1;
            } else if seen.insert((name.clone(), text.clone())) {
                cases.push(case(&name, &text, graph)?);
            }
        }
    }
    println!("{darwin} samples of sysctl on macOS are left out");
    Ok(cases)
}

fn case(name: &str, text: &str, graph: &Microarchitectures) -> Result<Case, String> {
    let expected = name.splitn(3, '-').nth(2).unwrap_or_default();
    let target = graph.get(expected).ok_or_else(|| format!("{name}: no such target"))?;
    let machine = graph.family(target).to_owned();
    let case = |question, ours| Case { name: name.to_owned(), expected: Some(expected.to_owned()), question, ours };
    if name.starts_with("windows-cpuid-") {
        return Ok(case(json!({"machine": machine, "cpuid": leaves(text)?}), of_dump(text)?));
    }
    let ours = of_cpuinfo(text, &machine, graph).ok_or_else(|| format!("{name}: no core in it"))?;
    Ok(case(json!({"machine": machine, "cpuinfo": text}), ours))
}

/// archspec looks at the first core alone.
fn of_cpuinfo(text: &str, machine: &str, graph: &Microarchitectures) -> Option<CpuDescription> {
    let mut cpu = describe_cpuinfo(text, goarch(machine), graph).into_iter().next()?;
    // Without the line archspec takes the processor for generic.
    if cpu.vendor.is_empty() {
        cpu.vendor = GENERIC.to_owned();
    }
    Some(cpu)
}

fn of_dump(text: &str) -> Result<CpuDescription, String> {
    let mut cpu = describe_cpuid(&CpuidDump::parse(text, None).map_err(|error| error.to_string())?);
    cpu.features.retain(|flag| !NOT_IN_CPUID_JSON.contains(&flag.as_str()));
    Ok(cpu)
}

fn goarch(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn leaves(text: &str) -> Result<Vec<Vec<u32>>, String> {
    let number = |word: &str| word.trim().parse::<u32>().map_err(|error| format!("{word}: {error}"));
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| line.split(',').map(number).collect()).collect()
}

/// Cases made of the samples: of a text, words and lines are left out, or the vendor or part of another is put in; of a dump,
/// bits are cleared.
fn changed(samples: &[Case], count: usize, seed: u64) -> Vec<Case> {
    let graph = Microarchitectures::builtin();
    let mut dice = Dice(seed | 1);
    let mut cases = Vec::with_capacity(count);
    while cases.len() < count {
        let sample = &samples[dice.below(samples.len())];
        let machine = sample.question["machine"].as_str().unwrap_or_default();
        let (question, ours) = match sample.question["cpuinfo"].as_str() {
            Some(text) => {
                let donor = samples[dice.below(samples.len())].question["cpuinfo"].as_str().unwrap_or_default();
                let text = change_text(text, donor, &mut dice);
                let ours = of_cpuinfo(&text, machine, graph);
                (json!({"machine": machine, "cpuinfo": text}), ours)
            }
            None => {
                let text = change_dump(&sample.question["cpuid"], &mut dice);
                (json!({"machine": machine, "cpuid": leaves(&text).unwrap_or_default()}), of_dump(&text).ok())
            }
        };
        if let Some(ours) = ours {
            cases.push(Case { name: format!("{} {}", sample.name, cases.len()), expected: None, question, ours });
        }
    }
    cases
}

fn change_text(text: &str, donor: &str, dice: &mut Dice) -> String {
    // Without a line left there is nothing to compare: archspec ends in an error then.
    let first = text.lines().take_while(|line| line.contains(':') || line.trim().is_empty());
    let mut lines: Vec<String> = first.filter(|line| line.contains(':')).map(str::to_owned).collect();
    let keys = ["flags", "Features"];
    let rate = [0, 0, 1, 2, 5, 20][dice.below(6)];
    for line in &mut lines {
        let Some((key, words)) = line.split_once(':') else { continue };
        if keys.contains(&key.trim()) {
            let kept: Vec<&str> = words.split_whitespace().filter(|_| dice.below(100) >= rate).collect();
            *line = format!("{key}: {}", kept.join(" "));
        }
    }
    for key in ["vendor_id", "CPU implementer", "CPU part", "cpu", "uarch", "flags", "Features"] {
        let is_key = |line: &&str| line.split_once(':').is_some_and(|(name, _)| name.trim() == key);
        let Some(at) = lines.iter().position(|line| is_key(&line.as_str())) else { continue };
        match (dice.below(12), donor.lines().find(is_key)) {
            (0, Some(other)) => lines[at] = other.to_owned(),
            (1, _) => drop(lines.remove(at)),
            _ => {}
        }
    }
    lines.push("end : 1".to_owned());
    lines.join("\n") + "\n"
}

fn change_dump(leaves: &serde_json::Value, dice: &mut Dice) -> String {
    let rows = leaves.as_array().into_iter().flatten();
    let line = |row: &serde_json::Value| {
        let numbers = row.as_array().into_iter().flatten().filter_map(serde_json::Value::as_u64);
        let mut numbers: Vec<u64> = numbers.collect();
        // Neither the leaf's number nor the first leaf, which has the vendor.
        if ![0, 0x8000_0000].contains(&numbers[0]) {
            for number in numbers.iter_mut().skip(2) {
                if dice.below(3) == 0 {
                    *number &= !(1 << dice.below(32));
                }
            }
        }
        numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
    };
    rows.map(line).collect::<Vec<_>>().join("\n")
}

/// Numbers that are the same for the same seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) % limit as u64).unwrap_or(0)
    }
}
