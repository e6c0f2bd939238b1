//! Random questions for the properties: hosts whose facts are known, absent, unknown or not told, indexes with artifacts of
//! every kind, policies. A case is data, so that a property can change one thing and build it again.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use crate::decision::{Evidence, Inputs};
use crate::digest::Digest;
use crate::facts::{Fact, Facts, Value};
use crate::policy::{Action, Otherwise, Policy, Rule, Undeclared};
use crate::schema::{Level, SchemaFile};
use crate::testing::{Attach, bare_inputs, image, index, set};
use crate::trust::{Signer, Standing, TrustMode};

pub(super) const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const PLATFORMS: [&str; 6] =
    ["linux/amd64", "linux/amd64", "linux/amd64/v3", "linux/amd64/v4", "linux/386", "linux/arm64"];

/// What hosts are asked about; text with spaces is a set.
const FACTS: [(&str, &str, [&str; 2]); 16] = [
    ("nfd", "memory-numa", ["true", "false"]),
    ("nfd", "cpu-cpuid.AVX2", ["true", "true"]),
    ("nfd", "pci-*", ["", ""]),
    ("nfd", "pci-0302_10de.present", ["true", "true"]),
    ("io.archspec", "cpu.target", ["zen3", "icelake"]),
    ("io.archspec", "cpu.candidates", ["x86_64 x86_64_v2 x86_64_v3 zen2 zen3", "x86_64 x86_64_v2"]),
    ("host", "kernel.version", ["5.14.0", "4.18.0"]),
    ("host", "page_size", ["4096", "65536"]),
    ("host", "nvidia.cuda", ["12.4", "13.0"]),
    ("host", "amd.gfx", ["gfx942", "gfx90a gfx942"]),
    ("host", "mpi.implementation", ["mpich mpich-abi", "openmpi openmpi"]),
    ("org.lab", "queue", ["gpu", "cpu"]),
    ("org.free", "db", ["nt", "nr"]),
    ("org.lab", "fast", ["true", "false"]),
    ("org.lab", "quiet", ["true", "false"]),
    ("org.lab", "slow", ["true", "false"]),
];
/// From here on the site's schema derives facts from others: a host that contradicts the schema is no host to learn from.
const DERIVED: usize = 13;

const ASKS: [(&str, &str, &str); 36] = [
    ("nfd", "memory-numa", "true"),
    ("nfd", "memory-numa", "false"),
    ("nfd", "memory-num", "true"),
    ("nfd", "cpu-cpuid.AVX2", "true"),
    ("nfd", "cpu-cpuid.AVX512F", "false"),
    ("nfd", "pci-0302_10de.present", "true"),
    ("nfd", "pci-0300_8086.present", "false"),
    ("io.archspec", "cpu.target", r#""zen3""#),
    ("io.archspec", "cpu.target", r#"["zen2","icelake"]"#),
    ("io.archspec", "cpu.target", r#""zen9""#),
    ("io.archspec", "cpu.target", r#""x86_64_v3""#),
    ("host", "kernel.version", r#"">=5.10,<6""#),
    ("host", "kernel.version", r#""4.1""#),
    ("host", "kernel.version", r#"">=""#),
    ("host", "page_size", r#"["4096"]"#),
    ("host", "page_size", "[4096,65536]"),
    ("host", "nvidia.cuda", r#"">=12""#),
    ("host", "nvidia.cuda", r#"">=13.0""#),
    ("host", "nvidia.gpu.count", r#""<1""#),
    ("host", "amd.gfx", r#""gfx942""#),
    ("host", "amd.gfx", r#"["gfx9-4-generic","gfx90a"]"#),
    ("org.supercontainers", "mpi.implementation", r#""openmpi""#),
    ("org.supercontainers", "mpi.implementation", r#""mpich-abi""#),
    ("org.lab", "queue", r#""gpu""#),
    ("org.lab", "queue", r#""any""#),
    ("org.lab", "fast", "true"),
    ("org.lab", "quiet", "true"),
    ("org.lab", "slow", "false"),
    ("org.free", "db", r#""nt""#),
    ("org.free", "release", r#""2""#),
    ("org.blast", "db", r#""nt""#),
    // Most of what is asked holds on most hosts, so that there are winners.
    ("nfd", "memory-numa", "true"),
    ("nfd", "cpu-cpuid.AVX2", "true"),
    ("host", "kernel.version", r#"">=4.1""#),
    ("io.archspec", "cpu.target", r#""x86_64""#),
    ("org.lab", "queue", r#""any""#),
];

/// NFD's rules over the features below.
const RULES: [&str; 4] = [
    "{name: a, matchFeatures: [{feature: cpu.cpuid, matchExpressions: {AVX2: {op: Exists}}}]}",
    "{name: a, matchFeatures: [{feature: kernel.version, matchExpressions: {major: {op: In, value: ['5']}}}]}",
    "{name: a, matchAny: [{matchFeatures: [{feature: cpu.cpuid, matchName: {op: In, value: [AVX9]}}]}, \
     {matchFeatures: [{feature: kernel.version, matchExpressions: {major: {op: Gt, value: ['3']}}}]}]}",
    "{name: a, vars: {x: '1'}, matchFeatures: [{feature: cpu.cpuid, matchExpressions: {AVX: {op: DoesNotExist}}}]}, \
     {name: b, matchFeatures: [{feature: rule.matched, matchExpressions: {x: {op: Exists}}}]}",
];

const LAB: &str = r#"{"graph": {"id": "org.lab", "version": "1", "nodes": {
    "queue": {"metadata": {"type": "dag", "doc": "x"}}, "queue=gpu": {}, "queue=cpu": {}, "queue=any": {},
    "fast": {"metadata": {"type": "bool", "doc": "x"}}, "quiet": {"metadata": {"type": "bool", "doc": "x"}},
    "slow": {"metadata": {"type": "bool", "doc": "x"}}},
  "edges": [{"source": "queue=gpu", "target": "queue=any", "relation": "satisfies"},
    {"source": "queue=cpu", "target": "queue=any", "relation": "satisfies"},
    {"source": "queue=gpu", "target": "fast", "relation": "implies"},
    {"source": "fast", "target": "quiet", "relation": "implies"},
    {"source": "fast", "target": "slow", "relation": "conflicts"}]}}"#;

/// One question.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) host: Vec<State>,
    /// cpu.cpuid and kernel.version are known.
    pub(super) features: [bool; 2],
    pub(super) images: Vec<Image>,
    /// About the index itself.
    pub(super) shared: Vec<Artifact>,
    default: usize,
    policy: Vec<usize>,
    /// Without dates two artifacts that name the same groups go by their digests, which change with every byte.
    pub(super) dated: bool,
    /// The site has schemas.
    lab: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Known(usize),
    Absent,
    Unknown,
    NotTold,
}

#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) name: &'static str,
    platform: usize,
    pub(super) artifacts: Vec<Artifact>,
    pub(super) unread: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Artifact {
    pub(super) layers: Vec<Layer>,
    signer: u32,
    day: usize,
    rules: Option<usize>,
    pub(super) broken: Option<usize>,
}

#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) asks: Vec<usize>,
    alternative: bool,
    reserved: usize,
}

/// The position of a weight alone.
const WEIGHT: usize = 3;
const RESERVED: [&str; 6] = [
    "",
    "",
    "",
    r#""io.bestfit":{"weight":7}"#,
    r#""io.bestfit":{"level:nfd/*":"preferred","weight":-3}"#,
    r#""io.bestfit":{"level:host/*":"info","level:host/kernel*":"preferred"}"#,
];

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        12 => (0..2_usize).prop_map(State::Known),
        1 => Just(State::Absent),
        2 => Just(State::Unknown),
        1 => Just(State::NotTold)
    ]
}

fn artifacts(most: usize) -> impl Strategy<Value = Vec<Artifact>> {
    let layer = (prop::collection::vec(0..ASKS.len(), 0..3), prop::bool::weighted(0.3), 0..RESERVED.len()).prop_map(
        |(asks, alternative, reserved)| {
            // Only a document with nothing at all in it says "runs anywhere": most of those without a key are such.
            let reserved = if asks.is_empty() && reserved != WEIGHT { 0 } else { reserved };
            Layer { asks, alternative, reserved }
        },
    );
    let rules = prop::option::weighted(0.1, 0..RULES.len());
    let artifact = (prop::collection::vec(layer, 1..3), 0..3_u32, rules).prop_map(|(layers, signer, rules)| Artifact {
        layers,
        signer,
        day: 0,
        rules,
        broken: None,
    });
    prop::collection::vec(artifact, 0..=most)
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    let image = (0..PLATFORMS.len(), artifacts(2), prop::bool::weighted(0.05));
    let host = prop::collection::vec(state(), FACTS.len());
    let policy = prop::collection::vec(0..POLICIES, 0..3);
    let images = prop::collection::vec(image, 2..=NAMES.len());
    let shared = prop_oneof![3 => Just(Vec::new()), 1 => artifacts(1)];
    let index = (images, shared, 0..2_usize);
    let flags = any::<(bool, bool, bool, bool)>();
    (host, index, policy, flags).prop_map(|(host, index, policy, (cpu, kernel, dated, lab))| {
        let features = [cpu, kernel];
        let (images, shared, default) = index;
        let images = NAMES.iter().zip(images);
        let images = images.map(|(name, (platform, artifacts, unread))| Image { name, platform, artifacts, unread });
        let mut case = Case { host, features, images: images.collect(), shared, default, policy, dated, lab };
        let every = case.images.iter_mut().flat_map(|image| &mut image.artifacts).chain(&mut case.shared);
        every.enumerate().for_each(|(day, artifact)| artifact.day = day + 1);
        case
    })
}

/// Half of them change nothing.
const POLICIES: usize = 20;

fn apply(policy: &mut Policy, which: usize) {
    let rule = |action, key: &str, value: &str| Rule {
        action,
        score: 10,
        host: [(key.to_owned(), vec![value.to_owned()])].into(),
        asks: vec!["*".to_owned()],
        ..Rule::default()
    };
    let mut add = |name: &str, rule: Rule| drop(policy.rules.insert(name.to_owned(), rule));
    match which {
        0 => policy.trust.mode = TrustMode::Enforce,
        1 => policy.trust.mode = TrustMode::Require,
        2 => policy.on_no_fit = Otherwise::Deny,
        3 => policy.on_error = Otherwise::Deny,
        4 => policy.undeclared = Undeclared::Never,
        5 => drop(policy.levels.insert("host/*".to_owned(), Level::Preferred)),
        6 => policy.check.push("org.supercontainers/mpi.*".to_owned()),
        7 => add("p", rule(Action::Prefer, "nfd/memory-numa", "true")),
        8 => add("q", rule(Action::Avoid, "host/page_size", "4096")),
        9 => add("r", rule(Action::Deny, "org.lab/queue", "cpu")),
        _ => {}
    }
}

impl Case {
    /// The facts, by number: what the schema does not derive from others can be learned without contradicting it.
    pub(super) fn derived(at: usize) -> bool {
        at >= DERIVED
    }

    /// Whether a fact is of the group that the site's schema derives in, and the host says something else than is derived. To
    /// be told `slow` where `fast` says that it is not is no learning.
    pub(super) fn contradicts_itself(&self, at: usize) -> bool {
        let told = |at: usize| !matches!(self.host[at], State::Unknown | State::NotTold);
        let other = |at: usize, derived: usize| told(at) && self.host[at] != State::Known(derived);
        let [queue, fast, quiet, slow] = [11, 13, 14, 15];
        let gpu = self.host[queue] == State::Known(0);
        let runs_fast = self.host[fast] == State::Known(0) || gpu && !told(fast);
        let contradicts = gpu && other(fast, 0) || runs_fast && (other(quiet, 0) || other(slow, 1));
        self.lab && FACTS[at].0 == "org.lab" && contradicts
    }

    /// Whether some schema, or another fact of the host, makes the group of a fact known.
    pub(super) fn group_is_known(&self, at: usize) -> bool {
        let group = FACTS[at].0;
        let told = |(other, state): (usize, &State)| FACTS[other].0 == group && *state != State::NotTold;
        !(group == "org.free" || group == "org.lab" && !self.lab) || self.host.iter().enumerate().any(told)
    }

    pub(super) fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        for ((group, key, values), state) in FACTS.iter().zip(&self.host) {
            let fact = match state {
                State::Known(which) if !values[*which].is_empty() => Fact::known(value(values[*which]), "/test"),
                State::Known(_) | State::Absent => Fact::absent("/test"),
                State::Unknown => Fact::unknown("EACCES", "/test"),
                State::NotTold => continue,
            };
            facts.set(group, *key, fact);
        }
        let features = &mut facts.features;
        match self.features[0] {
            true => features.set_flags("cpu.cpuid", ["AVX2".to_owned()]),
            false => features.set_unknown("cpu.cpuid", "EACCES"),
        }
        match self.features[1] {
            true => features.set_attribute("kernel.version", "major", "5"),
            false => features.set_unknown("kernel.version", "EACCES"),
        }
        facts
    }

    /// The default is one of the candidates, else nothing that containerd would have chosen.
    pub(super) fn default(&self) -> Option<Digest> {
        let candidates = self.images.iter().filter(|image| PLATFORMS[image.platform] != "linux/arm64");
        candidates.map(|found| image(found.name)).nth(self.default.min(1))
    }

    pub(super) fn build(&self) -> Inputs {
        self.build_in(false)
    }

    /// The inputs; `turned` writes everything but the positions of entries in another order.
    pub(super) fn build_in(&self, turned: bool) -> Inputs {
        let named: Vec<_> = self.images.iter().map(|image| (image.name, PLATFORMS[image.platform])).collect();
        let mut inputs = bare_inputs(index(&named), self.facts());
        inputs.default = self.default();
        if self.lab {
            let files = [("a.json", LAB.to_owned()), ("b.json", weight(40)), ("c.json", weight(60))];
            inputs.schemas = files.map(|(name, text)| SchemaFile { name: name.to_owned(), text }).to_vec();
        }
        let policies = self.policy.iter().filter(|which| self.lab || **which != 9);
        policies.for_each(|which| apply(&mut inputs.policy, *which));
        let whole = Digest::of(&inputs.index);
        self.attach(&mut inputs, whole, &self.shared, turned);
        for found in &self.images {
            self.attach(&mut inputs, image(found.name), &found.artifacts, turned);
            if found.unread {
                inputs.evidence.insert(image(found.name), Evidence::Unread { why: "503".to_owned() });
            }
        }
        if turned {
            inputs.schemas.reverse();
            let facts = serde_json::to_value(&inputs.facts).unwrap();
            inputs.facts = serde_json::from_str(&reversed(facts).to_string()).unwrap();
        }
        inputs
    }

    fn attach(&self, inputs: &mut Inputs, subject: Digest, artifacts: &[Artifact], turned: bool) {
        let mut built = Vec::new();
        for artifact in artifacts {
            let mut made = artifact.attach(subject, self.dated, turned).artifact();
            if artifact.signer > 0 {
                let (rank, name) = (artifact.signer, format!("signer {}", artifact.signer));
                inputs.standings.insert(made.digest, Standing::Trusted(Signer { rank, name }));
            }
            match artifact.broken {
                Some(0) => made.manifest = Err("503".to_owned()),
                Some(1) => made.layers.clear(),
                Some(2) => made.layers.values_mut().for_each(|layer| *layer = Ok(b"{".to_vec())),
                Some(_) => made.layers.values_mut().for_each(|layer| *layer = Err("429".to_owned())),
                None => {}
            }
            built.push(made);
        }
        if turned {
            built.reverse();
        }
        inputs.evidence.insert(subject, Evidence::Read { list: None, artifacts: built });
    }
}

impl Artifact {
    /// The groups that its documents name.
    pub(super) fn groups(&self) -> BTreeSet<&'static str> {
        match self.rules {
            Some(_) => BTreeSet::new(),
            None => self.layers.iter().flat_map(|layer| &layer.asks).map(|ask| ASKS[*ask].0).collect(),
        }
    }

    fn attach(&self, subject: Digest, dated: bool, turned: bool) -> Attach {
        let mut attach = Attach::to(subject);
        if dated {
            attach = attach.created(&format!("2025-01-{:02}T00:00:00Z", self.day));
        }
        if let Some(rules) = self.rules {
            return attach.document(&format!("compatibilities: [{{rules: [{}]}}]", RULES[rules])).nfd();
        }
        let mut layers: Vec<&Layer> = self.layers.iter().collect();
        if turned {
            layers.reverse();
        }
        layers.into_iter().fold(attach, |attach, layer| match layer.alternative {
            true => attach.alternative("x", &layer.document(turned)),
            false => attach.document(&layer.document(turned)),
        })
    }
}

impl Layer {
    /// Whether another ask says something about a key that this layer says nothing about.
    pub(super) fn lacks(&self, ask: usize) -> bool {
        !self.asks.iter().any(|other| (ASKS[*other].0, ASKS[*other].1) == (ASKS[ask].0, ASKS[ask].1))
    }

    /// The asks about one of some groups.
    pub(super) fn about(groups: &BTreeSet<&'static str>) -> Vec<usize> {
        (0..ASKS.len()).filter(|ask| groups.contains(ASKS[*ask].0)).collect()
    }

    fn document(&self, turned: bool) -> String {
        let mut groups: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        for ask in &self.asks {
            let (group, key, value) = ASKS[*ask];
            groups.entry(group).or_default().entry(key).or_insert(value);
        }
        let group = |(name, keys): (&&str, &BTreeMap<&str, &str>)| {
            let mut keys: Vec<String> = keys.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            if turned {
                keys.reverse();
            }
            format!("\"{name}\":{{{}}}", keys.join(","))
        };
        let mut groups: Vec<String> = groups.iter().map(group).collect();
        groups.extend(Some(RESERVED[self.reserved].to_owned()).filter(|text| !text.is_empty()));
        if turned {
            groups.reverse();
        }
        format!("{{\"compatibilities\":{{{}}}}}", groups.join(","))
    }
}

fn value(text: &str) -> Value {
    match text {
        "true" | "false" => (text == "true").into(),
        text if text.contains(' ') => set(text),
        text => text.parse::<i64>().map_or_else(|_| text.into(), Value::Int),
    }
}

/// A site's schema that says how much a key counts: the last one by name holds.
fn weight(weight: u32) -> String {
    format!(
        r#"{{"graph":{{"id":"nfd","version":"1","nodes":{{"memory-numa":{{"metadata":{{"weight":{weight}}}}}}}}}}}"#
    )
}

fn reversed(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(map) => {
            serde_json::Value::Object(map.into_iter().rev().map(|(name, value)| (name, reversed(value))).collect())
        }
        value => value,
    }
}
