use super::*;

fn site(nodes: &str) -> SchemaFile {
    site_of("nfd", nodes, "")
}

fn site_of(group: &str, nodes: &str, edges: &str) -> SchemaFile {
    let text = format!(
        "{{\"graph\": {{\n  \"id\": \"{group}\",\n  \"version\": \"1\",\n  \"nodes\": {{\n{nodes}\n  }},\n  \"edges\": [\n{edges}\n  ]\n}}}}"
    );
    SchemaFile { name: "site.json".into(), text }
}

fn refused(file: &SchemaFile) -> Vec<String> {
    Schemas::with(std::slice::from_ref(file)).unwrap_err().0.iter().map(Finding::to_string).collect()
}

#[test]
fn the_builtin_schemas_are_valid_and_documented() {
    for (name, text) in BUILTIN {
        let (parsed, findings) = file::read(name, text);
        let findings = findings.into_iter().chain(lint::inside(name, text, &parsed, None));
        assert_eq!(findings.map(|finding| finding.to_string()).collect::<Vec<_>>(), [""; 0]);
    }
    for group in Schemas::builtin().groups() {
        for (name, key) in group.keys() {
            assert!(!key.doc.is_empty(), "{}/{name} has no doc", group.id);
            assert!(!key.source.is_empty(), "{}/{name} has no source: where does a host say it?", group.id);
            assert!(!key.examples.is_empty(), "{}/{name} has no examples: what do authors write?", group.id);
            assert!(!group.keys().any(|(other, _)| key.aliases.iter().any(|alias| alias == other)), "{name}");
        }
    }
}

#[test]
fn finds_keys_by_name_alias_and_family() {
    let nfd = Schemas::builtin().group("feature.node.kubernetes.io").unwrap();
    assert_eq!(nfd.id, "nfd");
    let (name, key) = nfd.key("feature.node.kubernetes.io/cpu-cpuid.AVX2").unwrap();
    assert_eq!((name, key.kind, key.absent), ("cpu-cpuid.AVX2", Type::Bool, Absent::False));
    assert_eq!(nfd.key("cpu-cpuid.X86_64_V3").unwrap().1.specificity, 2);
    assert!(nfd.key("cpu-cpuid.").is_none() && nfd.key("memory-num").is_none());
    assert_eq!(nfd.nearest("memory-num"), Some("memory-numa"));
    assert_eq!(nfd.nearest("something-else-altogether"), None);
    assert_eq!(Schemas::builtin().group("io.archspec").unwrap().key("target").unwrap().0, "cpu.target");
    let schemas = Schemas::builtin();
    assert!(schemas.group("org.blast").is_none() && schemas.nearest("org.blast").is_none());
    assert_eq!([schemas.nearest("hots"), schemas.nearest("io.archspce")], [Some("host"), Some("io.archspec")]);
}

#[test]
fn edit_distance() {
    let distance = |a, b| distance(a, b, 3);
    assert_eq!([distance("kitten", "sitting"), distance("", "ab"), distance("a", "a")], [Some(3), Some(2), Some(0)]);
    assert_eq!([distance("hots", "host"), distance("ab", ""), distance("abcd", "efgh")], [Some(1), Some(2), None]);
    assert_eq!(distance("a", "abcde"), None);
}

#[test]
fn a_site_may_tighten_and_extend() {
    let files = [
        site(
            r#""memory-numa": {"metadata": {"weight": 99}}, "cpu-cpuid.AVX2": {"metadata": {"weight": 30}}, "new": {"metadata": {"type": "bool", "doc": "x"}}"#,
        ),
        site_of("org.lab", r#""queue": {"metadata": {"type": "enum", "doc": "x"}}, "queue=gpu": {}"#, ""),
    ];
    let schemas = Schemas::with(&files).unwrap();
    let nfd = schemas.group("nfd").unwrap();
    let (_, avx2) = nfd.key("cpu-cpuid.AVX2").unwrap();
    assert_eq!((avx2.weight, avx2.kind, avx2.absent), (30, Type::Bool, Absent::False));
    assert_eq!((nfd.key("memory-numa").unwrap().1.weight, nfd.key("new").unwrap().1.kind), (99, Type::Bool));
    assert_eq!(nfd.files, ["nfd.json", "site.json"]);
    assert!(schemas.group("org.lab").unwrap().key("queue").unwrap().1.values.is_some());
    assert_ne!(schemas.digest(), Schemas::builtin().digest());
}

#[test]
fn the_order_of_the_files_is_that_of_their_names() {
    let named = |name: &str, weight: u32| {
        let text = site(&format!(r#""memory-numa": {{"metadata": {{"weight": {weight}}}}}"#)).text;
        SchemaFile { name: name.into(), text }
    };
    let (first, last) = (named("a.json", 40), named("b.json", 60));
    let straight = Schemas::with(&[first.clone(), last.clone()]).unwrap();
    let turned = Schemas::with(&[last, first]).unwrap();
    assert_eq!(straight.digest(), turned.digest());
    for schemas in [straight, turned] {
        assert_eq!(schemas.group("nfd").unwrap().key("memory-numa").unwrap().1.weight, 60);
    }
}

#[test]
fn a_site_weakens_only_where_it_says_so() {
    let weak = r#""memory-numa": {"metadata": {"level": "preferred", "role": "info"}}"#;
    assert_eq!(
        refused(&site(weak)),
        [
            "site.json:5:1: error: memory-numa: weakens a built-in requirement: no requirement any more, a lower level: say \"override\": true"
        ]
    );
    let meant = weak.replace("\"role\"", "\"override\": true, \"role\"");
    let schemas = Schemas::with(&[site(&meant)]).unwrap();
    assert_eq!(schemas.group("nfd").unwrap().key("memory-numa").unwrap().1.level, Level::Preferred);
    let family = site(r#""cpu-cpuid.AVX2": {"metadata": {"absent": "mismatch"}}"#);
    assert!(refused(&family)[0].contains("another meaning of absent"), "{:?}", refused(&family));
    let any = site_of("host", r#""amd.gfx": {"metadata": {"several": "any"}}"#, "");
    assert!(refused(&any)[0].contains("any of several is enough"), "{:?}", refused(&any));
    let edge = r#"{"source": "mpi.implementation=openmpi", "target": "mpi.implementation=mpich-abi", "relation": "satisfies"}"#;
    assert!(refused(&site_of("org.supercontainers", "", edge))[0].contains("weakens a built-in requirement"));
    let meant = edge.replace('}', r#", "metadata": {"override": true}}"#);
    assert!(Schemas::with(&[site_of("org.supercontainers", "", &meant)]).is_ok());
}

#[test]
fn a_field_beside_the_metadata_is_reported() {
    let found = lint::check(&site_of("org.lab", r#""k": {"type": "bool", "metadata": {"doc": "x"}}"#, ""));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].to_string().ends_with("warning: k: \"type\" stands beside \"metadata\", not in it: ignored"),
        "{}",
        found[0]
    );
}

/// Ways around the word of the built-in schemas that no single node or edge shows.
#[test]
fn a_built_in_requirement_is_not_weakened_by_a_detour() {
    let by = |group: &str, nodes: &str, edges: &str| refused(&site_of(group, nodes, edges));
    let alias = by("host", r#""selinux": {"metadata": {"value_aliases": {"permissive": "enforcing"}}}"#, "");
    assert!(alias[0].contains("permissive is read as enforcing: say"), "{alias:?}");
    let is = r#"{"source": "kernel.version", "target": "numa.nodes", "relation": "is"}"#;
    let key = by("host", "", is);
    assert!(key.iter().any(|line| line.contains(": kernel.version means another key")), "{key:?}");
    let taken = r#""mine": {"metadata": {"type": "bool", "doc": "x", "aliases": ["nvidia.cuda.max"]}}"#;
    let taken = by("host", taken, "");
    assert!(
        taken[0].contains("nvidia.cuda: weakens a built-in requirement: nvidia.cuda.max means another key"),
        "{taken:?}"
    );
    let hops = r#"{"source": "mpi.implementation=openmpi", "target": "mpi.implementation=bridge", "relation": "satisfies"},
        {"source": "mpi.implementation=bridge", "target": "mpi.implementation=mpich-abi", "relation": "satisfies"}"#;
    let hops = by("host", r#""mpi.implementation=bridge": {}"#, hops);
    assert!(hops[0].contains("openmpi satisfies mpich-abi"), "{hops:?}");
    let family = r#""mine": {"metadata": {"type": "bool", "doc": "x", "aliases": ["cpu-cpuid.AVX2"]}}"#;
    let family = by("nfd", family, "");
    assert!(family[0].contains("cpu-cpuid.AVX2 means another key"), "{family:?}");
    let within = r#""cpu-cpuid.SSE2": {"metadata": {"aliases": ["cpu-cpuid.AVX512F"]}}"#;
    let within = by("nfd", within, "");
    assert!(within[0].contains("cpu-cpuid.*: weakens a built-in requirement: cpu-cpuid.AVX512F means"), "{within:?}");
    let values = r#""cpu.target=zen4": {}, "cpu.target=skylake_avx512": {}"#;
    let edge = r#"{"source": "cpu.target=zen4", "target": "cpu.target=skylake_avx512", "relation": "satisfies"}"#;
    let values = by("io.archspec", values, edge);
    assert!(values[0].contains("cpu.target: weakens a built-in requirement: its values are those of"), "{values:?}");
    // What the built-in schemas do not speak of is the site's.
    let new = r#""mpi.implementation=newmpi": {}"#;
    let edge =
        r#"{"source": "mpi.implementation=newmpi", "target": "mpi.implementation=mpich-abi", "relation": "satisfies"}"#;
    assert!(Schemas::with(&[site_of("host", new, edge)]).is_ok());
}

/// A prefix that is stripped turns one key into another.
#[test]
fn a_site_strips_no_prefix_of_a_built_in_key() {
    let strip = |group: &str, prefix: &str| {
        let node = r#""10de.present": {"metadata": {"type": "bool", "role": "info", "doc": "x"}}"#;
        let text = site_of(group, node, "").text;
        let with = format!("\"id\": \"{group}\",\n\"metadata\": {{\"strip\": [\"{prefix}\"]}},");
        let text = text.replace(&format!("\"id\": \"{group}\","), &with);
        Schemas::with(&[SchemaFile { name: "site.json".into(), text }])
    };
    for (group, prefix) in [("nfd", "pci-0302_"), ("nfd", "pci-"), ("nfd", "memory-"), ("host", "__cu"), ("nfd", "")] {
        let error = strip(group, prefix).unwrap_err().to_string();
        assert!(error.contains("takes names away from the built-in") && error.starts_with("site.json:"), "{error}");
    }
    assert!(strip("nfd", "example.org/").is_ok() && strip("org.lab", "pci-").is_ok());
}

#[test]
fn everything_that_is_wrong_is_found_at_once_with_its_place() {
    let nodes = r#"    "a": {"metadata": {"type": "strng", "doc": "x", "wieght": 3}},
    "b": {"metadata": {"type": "int", "compare": "same-major", "doc": "x", "examples": ["many"]}},
    "c": {"metadata": {"type": "string"}},
    "d": {"metadata": {"type": "bool", "doc": "x", "aliases": ["c"], "fact": "nowhere"}},
    "e": {"metadata": {"type": "dag", "doc": "x"}},
    "e=1": {}, "e=2": {}, "f=1": {}"#;
    let edges = r#"    {"source": "a", "target": "z", "relation": "implies"},
    {"source": "e=1", "target": "e=2", "relation": "satisfies"},
    {"source": "e=2", "target": "e=1", "relation": "satisfies"},
    {"source": "a", "target": "b", "relation": "satisfies"},
    {"source": "a", "target": "b", "relation": "likes"},
    {"source": "a"}"#;
    let found: Vec<String> = lint::check(&site_of("org.lab", nodes, edges)).iter().map(Finding::to_string).collect();
    insta::assert_snapshot!(found.join("\n"), @r#"
    site.json:5:24: error: a, "type": unknown variant `strng`, expected one of `untyped`, `bool`, `int`, `quantity`, `version`, `string`, `enum`, `set`, `flags`, `dag`
    site.json:5:53: error: a, "wieght": unknown field `wieght`, expected one of `type`, `compare`, `role`, `level`, `weight`, `dimension`, `absent`, `several`, `specificity`, `aliases`, `value_aliases`, `doc`, `source`, `examples`, `fact`, `instead`, `override`
    site.json:6:5: error: b: an example cannot be read: many is no number or range
    site.json:6:5: error: b: its type cannot be compared that way
    site.json:7:5: warning: c: nothing says what it means: give it a "doc"
    site.json:8:5: error: d: "fact" names no GROUP/KEY
    site.json:8:5: error: d: its alias "c" is a key
    site.json:10:27: error: f=1: a value of "f", which is no key
    site.json:13:5: error: the edge "a" implies "z" dangles: "z" is no node
    site.json:14:5: error: a cycle: "e=1" satisfies itself, through "e=2"
    site.json:16:5: error: the edge "a" satisfies "b" must be between two values of one key
    site.json:17:6: warning: an edge "likes" is ignored; known are contains, is, satisfies, implies, conflicts
    site.json:18:6: error: an edge needs "source", "target" and "relation"
    "#);
    let broken = SchemaFile { name: "x.json".into(), text: "{\"graph\": {,".into() };
    assert_eq!(lint::check(&broken)[0].to_string(), "x.json:1:12: error: key must be a string");
    let empty = SchemaFile { name: "x.json".into(), text: "{}".into() };
    assert!(lint::check(&empty)[0].message.starts_with("no object \"graph\""));
}

#[test]
fn the_head_of_a_file_is_looked_at_as_well() {
    for (head, said) in [
        (r#""id": "org.lab", "version": "1""#, None),
        (r#""id": "org.lab", "version": "1.2", "directed": true"#, None),
        (r#""id": "org.lab", "version": "1.x""#, Some("error: the version \"1.x\" is no MAJOR.MINOR")),
        (r#""id": "org.lab", "version": "1.""#, Some("error: the version \"1.\" is no MAJOR.MINOR")),
        (r#""id": "io.bestfit", "version": "1""#, Some("error: the group \"io.bestfit\" is bestfit's own")),
        (
            r#""id": "org.lab", "version": "1", "lable": "x""#,
            Some("warning: \"graph\" has no field \"lable\": ignored; did you mean \"label\"?"),
        ),
        (
            r#""id": "org.lab", "version": "1", "edges": [{"source": "k", "target": "k", "relation": "satisfys"}]"#,
            Some("error: no edge is \"satisfys\"; did you mean \"satisfies\"?"),
        ),
    ] {
        let text = format!(r#"{{"graph": {{{head}, "nodes": {{"k": {{"label": "x"}}}}}}}}"#);
        let found: Vec<String> =
            lint::check(&SchemaFile { name: "x.json".into(), text }).iter().map(Finding::to_string).collect();
        assert_eq!(found.len(), usize::from(said.is_some()), "{head}: {found:?}");
        assert!(said.is_none_or(|said| found[0].ends_with(said)), "{head}: {found:?}");
    }
}

/// Proposal D's own schema: untyped nodes, labels, and an edge to `hardware.gpu.version`, which is no node.
const PROPOSAL_D: &str = r#"{
  "graph": {
    "id": "org.compspec",
    "type": "compspec",
    "label": "compatibilities",
    "nodes": {
      "mpi": {"label": "message passing interface (mpi)"},
      "mpi.implementation": {"label": "mpi implementation"},
      "hardware.gpu": {"label": "gpu hardware"}
    },
    "edges": [
      {"source": "mpi", "target": "mpi.implementation", "relation": "contains"},
      {"source": "hardware.gpu", "target": "hardware.gpu.version", "relation": "contains"}
    ],
    "metadata": {"version": "0.0.0", "source": "https://github.com/supercontainers/compspec"}
  }
}"#;

#[test]
fn proposal_ds_untyped_schema_is_usable_and_its_dangling_edge_is_found() {
    let file = SchemaFile { name: "compspec.json".into(), text: PROPOSAL_D.into() };
    let schemas = Schemas::with(std::slice::from_ref(&file)).unwrap();
    let (_, key) = schemas.group("org.compspec").unwrap().key("mpi.implementation").unwrap();
    assert_eq!((key.kind, key.doc.as_str()), (Type::Untyped, "mpi implementation"));
    let found: Vec<String> = lint::check(&file).iter().map(Finding::to_string).collect();
    assert_eq!(
        found,
        [
            "compspec.json:13:7: warning: the edge \"hardware.gpu\" contains \"hardware.gpu.version\" dangles: \"hardware.gpu.version\" is no node"
        ]
    );
}

#[test]
fn values_are_ordered_by_what_they_satisfy() {
    let nodes = r#""k": {"metadata": {"type": "dag", "doc": "x"}}, "k=a": {}, "k=b": {}, "k=c": {}, "k=A": {}"#;
    let edges = r#"{"source": "k=c", "target": "k=b", "relation": "satisfies"},
        {"source": "k=b", "target": "k=a", "relation": "satisfies"}, {"source": "k=A", "target": "k=a", "relation": "is"}"#;
    let schemas = Schemas::with(&[site_of("org.lab", nodes, edges)]).unwrap();
    let key = schemas.group("org.lab").unwrap().key("k").unwrap().1;
    let values = key.values.as_ref().unwrap();
    assert_eq!([values.depth("a"), values.depth("b"), values.depth("c")], [Some(0), Some(1), Some(2)]);
    assert!(values.satisfies("c", "a") && !values.satisfies("a", "c") && values.depth("A").is_none());
    assert_eq!(key.value_aliases["A"], "a");
}

#[test]
fn archspec_data_of_the_site_stands_for_the_built_in_data() {
    let data = |text: &str| SchemaFile { name: "/etc/bestfit/microarchitectures.json".into(), text: text.to_owned() };
    let newer = data(
        r#"{"version":"9","microarchitectures":{"x86_64":{"from":[],"vendor":"generic","features":[]},"zen9":{"from":["x86_64"],"vendor":"AuthenticAMD","features":["f9"]}}}"#,
    );
    let schemas = Schemas::with(&[site(r#""memory-numa": {"metadata": {"weight": 99}}"#), newer.clone()]).unwrap();
    assert!(schemas.targets().get("zen9").is_some() && schemas.targets().get("zen4").is_none());
    assert_ne!(
        schemas.digest(),
        Schemas::with(&[site(r#""memory-numa": {"metadata": {"weight": 99}}"#)]).unwrap().digest()
    );
    assert!(Schemas::builtin().targets().get("zen4").is_some());
    let broken = data(r#"{"microarchitectures":{"a":{"from":["b"],"vendor":"generic","features":[]}}}"#);
    assert_eq!(
        refused(&broken),
        [
            "/etc/bestfit/microarchitectures.json: error: in the archspec data \"a\" descends from \"b\", which is no target"
        ]
    );
    assert_eq!(
        refused(&data("{}")),
        ["/etc/bestfit/microarchitectures.json:1:2: error: missing field `microarchitectures`"]
    );
    let twice = Schemas::with(&[newer.clone(), newer]).unwrap_err().to_string();
    assert_eq!(twice, "/etc/bestfit/microarchitectures.json: error: there is archspec data already");
}
