//! Holds our strict evaluation of NFD's rules against NFD's own validator: random documents over random features, the
//! whole output compared. `SEED=…` and `CASES=…` in the environment choose other ones.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use bestfit_selector::features::{Features, Instance};
use bestfit_selector::nfd::{self, Stop};
use serde_json::{Value, json};

/// How many documents are compared.
const CASES: u64 = 20_000;
/// The first state of the generator.
const SEED: u64 = 0x5eed_2026;
/// The most differences that are printed.
const PRINTED: usize = 20;

const ELEMENTS: [&str; 5] = ["a", "b", "AVX2", "vendor", "5"];
const HOST: [&str; 16] = [
    "true",
    "false",
    "5",
    "-3",
    "+7",
    "5.10",
    "v1.2",
    "1.2.3-rc1",
    "5.14.0-427.el9_4",
    "1.2.3.4",
    "x",
    "AVX512F",
    "",
    "10de",
    "99999999999999999999",
    "6.12+b-1",
];
/// As they are written into YAML.
const WRITTEN: [&str; 34] = [
    "\"5\"",
    "5",
    "0200",
    "5.10",
    "yes",
    "'^a'",
    "\"[0-9]+$\"",
    "\"(\"",
    "null",
    "1e3",
    "~",
    "'x'",
    "\"true\"",
    "10de",
    "-3",
    "\"4\"",
    "\"6\"",
    "\"7\"",
    "v1.2",
    "1.2.3",
    "\"AVX\"",
    "'\\d'",
    "\"\"",
    "0x10",
    "1_000",
    "\"^(5|x)\"",
    "\"a*\"",
    "'5.14.0-427.el9_4'",
    "08",
    ".5",
    "\"\\\\p{Lu}\"",
    "\"(?i)avx\"",
    "off",
    "12:30",
];
const OPS: [&str; 44] = [
    "In",
    "In",
    "In",
    "In",
    "In",
    "In",
    "In",
    "NotIn",
    "NotIn",
    "NotIn",
    "NotIn",
    "NotIn",
    "InRegexp",
    "InRegexp",
    "InRegexp",
    "InRegexp",
    "InRegexp",
    "Exists",
    "Exists",
    "Exists",
    "Exists",
    "Exists",
    "Exists",
    "DoesNotExist",
    "DoesNotExist",
    "DoesNotExist",
    "DoesNotExist",
    "IsTrue",
    "IsTrue",
    "IsTrue",
    "IsFalse",
    "IsFalse",
    "",
    "",
    "Gt",
    "Ge",
    "Lt",
    "Le",
    "GtLt",
    "GeLe",
    "Exists",
    "DoesNotExist",
    "In",
    "NotIn",
];
const FEATURES: [&str; 12] = [
    "one.flag",
    "one.attr",
    "one.inst",
    "one.both",
    "two.all",
    "two.none",
    "two.empty",
    "two.noinst",
    "One.Attr",
    "ONE.flag",
    "one.attr",
    "one.inst",
];

/// xorshift64*: the same seed gives the same cases everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn features(&mut self) -> Features {
        let mut features = Features::default();
        for name in ["one.flag", "one.both", "two.all"] {
            let flags: Vec<String> =
                ELEMENTS.iter().filter(|_| self.one_in(2)).map(|name| (*name).to_owned()).collect();
            features.set_flags(name, flags);
        }
        for name in ["one.attr", "one.both", "two.all", "two.empty"] {
            features.attributes.insert(name.to_owned(), Default::default());
            for element in ELEMENTS.iter().filter(|_| name != "two.empty") {
                if self.one_in(2) {
                    features.set_attribute(name, element, self.pick(&HOST));
                }
            }
        }
        for name in ["one.inst", "two.all", "two.noinst"] {
            let many = if name == "two.noinst" { 0 } else { self.below(4) };
            let instances: Vec<Instance> = (0..many).map(|_| self.instance()).collect();
            features.set_instances(name, instances);
        }
        features
    }

    fn instance(&mut self) -> Instance {
        let mut attributes = BTreeMap::new();
        for element in ELEMENTS {
            if self.one_in(2) {
                attributes.insert(element.to_owned(), self.pick(&HOST).to_owned());
            }
        }
        Instance { attributes }
    }

    fn document(&mut self) -> String {
        let sets: Vec<String> = (0..1 + self.below(2)).map(|_| self.set()).collect();
        format!("version: v1alpha1\ncompatibilities: [{}]\n", sets.join(",\n "))
    }

    fn set(&mut self) -> String {
        let rules: Vec<String> = (0..1 + self.below(3)).map(|_| self.rule()).collect();
        let weight = self.pick(&["", ", weight: 10", ", weight: 0x10, tag: 5.10", ", description: yes"]);
        format!("{{rules: [{}]{weight}}}", rules.join(",\n  "))
    }

    fn rule(&mut self) -> String {
        let mut rule = format!("name: r{}", self.below(9));
        if self.one_in(2) {
            rule.push_str(&format!(", vars: {{a: {}, b: x}}", self.pick(&WRITTEN)));
        }
        if self.one_in(6) {
            let template = self.pick(&[
                "{{ range .one.attr }}{{ .Name }}={{ .Value }}\\n{{ end }}",
                "{{ range .one.flag }}\\n{{- .Name }}=true\\n{{ end -}}\\n",
                "n={{ .one.inst | len }}",
                "{{ range .one.inst }}a={{ .vendor }}\\n{{ end }}",
                "text without value",
                "a=true",
                "a={{ (.one.inst | first).vendor | trim | substr 0 2 }}",
                "a={{ (index .one.inst 1).vendor | upper }}",
                "a={{ if gt (len .one.inst) 1 }}true{{ else if .one.flag }}b{{ else }}{{ len .one.attr }}{{ end }}",
                "{{ range .one.attr }}{{ if eq .Name \\\"a\\\" }}a={{ .Value | lower | replace \\\".\\\" \\\"-\\\" }}{{ end }}\\n{{ end }}",
                "{{ range .one.flag }}{{ .Name | trimPrefix \\\"A\\\" }}={{ and (hasPrefix \\\"A\\\" .Name) (ne .Name \\\"a\\\") }}\\n{{ else }}a=b{{ end }}",
                "a={{ list \\\"t\\\" \\\"rue\\\" | join \\\"\\\" }}\\nb={{ substr 2 1 \\\"abc\\\" }}",
                "{{ range .one.attr }}{{ .Name }}={{ default \\\"x\\\" .Value | substr 1 -1 }}\\n{{ end }}",
                "a={{ eq 1 \\\"1\\\" }}",
            ]);
            rule.push_str(&format!(", varsTemplate: \"{template}\""));
        }
        if !self.one_in(4) {
            rule.push_str(&format!(", matchFeatures: [{}]", self.terms()));
        }
        if self.one_in(3) {
            let any: Vec<String> =
                (0..1 + self.below(3)).map(|_| format!("{{matchFeatures: [{}]}}", self.terms())).collect();
            rule.push_str(&format!(", matchAny: [{}]", any.join(", ")));
        }
        format!("{{{rule}}}")
    }

    fn terms(&mut self) -> String {
        let terms: Vec<String> = (0..1 + self.below(3)).map(|_| self.term()).collect();
        terms.join(", ")
    }

    fn term(&mut self) -> String {
        let feature = if self.one_in(8) { "rule.matched" } else { self.pick(&FEATURES) };
        let mut term = format!("feature: {feature}");
        if !self.one_in(5) {
            let field = if self.one_in(20) { "MatchExpressions" } else { "matchExpressions" };
            let mut expressions: Vec<String> = Vec::new();
            for element in ELEMENTS {
                if self.one_in(4) {
                    expressions.push(format!("{element}: {}", self.expression()));
                }
            }
            term.push_str(&format!(", {field}: {{{}}}", expressions.join(", ")));
        }
        if self.one_in(4) {
            term.push_str(&format!(", matchName: {}", self.expression()));
        }
        format!("{{{term}}}")
    }

    fn expression(&mut self) -> String {
        if self.one_in(200) {
            return "null".to_owned();
        }
        let op = if self.one_in(300) { "in" } else { self.pick(&OPS) };
        let right = match op {
            "In" | "NotIn" | "InRegexp" | "in" => 1 + self.below(3),
            "Gt" | "Ge" | "Lt" | "Le" => 1,
            "GtLt" | "GeLe" => 2,
            _ => 0,
        };
        let count = if self.one_in(40) { self.below(4) } else { right };
        // Mostly values that an ordered operator takes, or else every other document would end in an error.
        let ordered = matches!(op, "Gt" | "Ge" | "Lt" | "Le" | "GtLt" | "GeLe");
        let tame = ordered && !self.one_in(10);
        let numbers = ["\"3\"", "5", "\"6\"", "-3", "0200", "'+7'"];
        let mut values: Vec<&str> = (0..count).map(|_| self.pick(if tame { &numbers } else { &WRITTEN })).collect();
        if op == "InRegexp" && !values.is_empty() && self.one_in(40) {
            values[0] = self.pick(&["\"(\"", "\"a**\"", "\"[b-a]\"", "'\\y'", "\"x{1001}\""]);
        }
        let kind = match self.below(if ordered { 4 } else { 30 }) {
            0 | 1 => ", type: version",
            2 if self.one_in(20) => ", type: semver",
            _ => "",
        };
        let op = if op.is_empty() { String::new() } else { format!("op: {op}, ") };
        format!("{{{op}value: [{}]{kind}}}", values.join(", "))
    }
}

/// Compares and prints; an error where anything differs.
pub(crate) fn compare() -> Result<(), String> {
    let Some(program) = bestfit_tests::nfd::program("rules")? else { return Ok(()) };
    let number = |name: &str, or: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or);
    let (seed, cases) = (number("SEED", SEED), number("CASES", CASES));
    let mut random = Random(seed.max(1));
    let cases: Vec<(String, Features)> = (0..cases).map(|_| (random.document(), random.features())).collect();
    let answers = ask(&program, &cases)?;
    let (mut equal, mut stopped, mut matches, mut differences) = (0, 0, 0, 0);
    for ((text, features), theirs) in cases.iter().zip(&answers) {
        let ours = match nfd::read(text.as_bytes()) {
            Ok(spec) => match nfd::evaluate(&spec, features) {
                Ok(status) => serde_json::to_value(status).map_err(|error| error.to_string())?,
                Err(stop @ Stop::Unsupported(_)) => Value::String(stop.to_string()),
                Err(Stop::Error(_)) => Value::Null,
            },
            Err(_) => Value::Null,
        };
        let theirs_stops = theirs.get("error").is_some() || theirs.get("panic").is_some();
        if ours == theirs["status"] && ours.is_null() == theirs_stops {
            equal += 1;
            stopped += u32::from(theirs_stops);
            matches += u32::from(theirs.to_string().contains("\"isMatch\":true"));
            continue;
        }
        differences += 1;
        if differences <= PRINTED {
            println!("DIFFERENT\n{text}features {}\nNFD     {theirs}\nbestfit {ours}", json!(features));
        }
    }
    println!(
        "seed {seed:#x}: {} documents compared, {equal} equal ({stopped} of them end in an error, {matches} match somewhere), {differences} different",
        cases.len()
    );
    if differences == 0 { Ok(()) } else { Err(format!("{differences} differences")) }
}

/// Asks NFD about all cases.
fn ask(program: &Path, cases: &[(String, Features)]) -> Result<Vec<Value>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", program.display());
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let (Some(mut questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("no pipes".to_owned());
    };
    let lines: Vec<String> =
        cases.iter().map(|(spec, features)| json!({"spec": spec, "features": features}).to_string()).collect();
    let writer = std::thread::spawn(move || lines.iter().try_for_each(|line| writeln!(questions, "{line}")));
    let mut read = Vec::new();
    for line in BufReader::new(answers).lines() {
        let line = line.map_err(failed)?;
        read.push(serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))?);
    }
    let _ = writer.join();
    let status = child.wait().map_err(failed)?;
    match status.success() && read.len() == cases.len() {
        true => Ok(read),
        false => Err(format!("NFD answered {} of {} questions: {status}", read.len(), cases.len())),
    }
}
