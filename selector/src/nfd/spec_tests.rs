use proptest::prelude::*;

use super::*;

const GOOD: &str = r#"
version: v1alpha1
compatibilities:
- description: example
  weight: 10
  tag: prefer
  rules:
  - name: kernel
    vars: {modern: true}
    matchFeatures:
    - feature: kernel.version
      matchExpressions:
        major: {op: In, value: ["5", "6"]}
    matchAny:
    - matchFeatures:
      - feature: cpu.cpuid
        matchName: {op: InRegexp, value: ["^AVX"]}
"#;

fn problem(text: &str) -> String {
    assert!(read(text.as_bytes()).is_ok(), "NFD accepts it");
    read_sensible(text.as_bytes()).unwrap_err().to_string()
}

/// A document with one term.
fn term(text: &str) -> String {
    format!("compatibilities: [{{rules: [{{matchFeatures: [{text}]}}]}}]")
}

#[test]
fn reads_a_document() {
    let spec = read_sensible(GOOD.as_bytes()).unwrap();
    let set = &spec.sets[0];
    assert_eq!((set.weight, set.tag.as_str(), spec.size()), (10, "prefer", 5));
    assert_eq!(set.rules[0].vars["modern"], "true");
    assert_eq!(set.rules[0].any[0][0].name.as_ref().unwrap().op, Op::InRegexp);
    assert_eq!(spec.groups().into_iter().collect::<Vec<_>>(), ["nfd:cpu", "nfd:kernel"]);
    assert!(spec.notes.is_empty(), "{:?}", spec.notes);
    let upper = GOOD.replace("matchExpressions", "MATCHEXPRESSIONS").replace("  op", "  OP");
    assert_eq!(read_sensible(upper.as_bytes()).unwrap(), spec);
    let json =
        r#"{"version":"v1alpha1","compatibilities":[{"rules":[{"name":"a","matchFeatures":[{"feature":"a.b"}]}]}]}"#;
    assert_eq!(read_sensible(json.as_bytes()).unwrap().size(), 1);
}

#[test]
fn what_nfd_would_let_pass_is_named() {
    let typo = GOOD.replace("matchExpressions", "matchExpresions");
    assert_eq!(
        problem(&typo),
        "line 13 column 9: matchFeatures has no field \"matchExpresions\"; did you mean \"matchExpressions\"?"
    );
    assert!(problem("compatibilites: []").contains("did you mean \"compatibilities\"?"));
    assert!(problem(&term("{feature: a.b, matchExpressions: {x: }}")).contains("NFD crashes"));
    assert!(problem(&term("{matchExpressions: {}}")).contains("is no feature"));
    assert!(problem(&term("{feature: a.b, matchName: {op: Is}}")).contains("\"Is\" is no operator"));
    assert!(problem(&term("{feature: a.b, feature: c.d}")).contains("twice"));
    assert!(problem("compatibilities: [{rules: [{matchAny: [{}]}]}]").contains("always matches"));
    assert!(problem("a: 1\n---\nb: 2\n").contains("a second document"));
}

#[test]
fn what_its_author_should_know_is_noted() {
    let spec =
        read_sensible(term("{feature: a.b, matchExpressions: {x: {op: In, value: [0300]}}}").as_bytes()).unwrap();
    assert_eq!(spec.notes, ["line 1 column 99: the unquoted value 0300 is read as \"192\"; quote it"]);
    let spec = read_sensible(b"compatibilities: [{rules: [{labels: {a: b}}], owner: me}]").unwrap();
    assert_eq!(spec.notes.len(), 2, "{:?}", spec.notes);
}

#[test]
fn what_nfd_refuses_is_refused() {
    let error = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
    assert!(
        error(&term("{feature: a.b, matchExpressions: {x: {op: In, value: \"5\"}}}")).ends_with("a list is expected")
    );
    assert!(error(&term("{feature: a.b, matchExpressions: [{key: x, op: In}]}")).contains("ocifit-k8s"));
    assert!(error("[]").contains("the document must be a mapping"));
    assert!(error("compatibilities: [{weight: 1.5}]").contains("a whole number is expected"));
    assert!(error("compatibilities: [{weight: \"5\"}]").contains("a whole number is expected"));
    assert!(error("x: .inf").contains("unsupported value") && error("~: 1").contains("unsupported map key"));
    let many = vec!["{feature: a.b}"; 1025].join(",");
    assert!(error(&term(&many)).contains("more than 1024 terms and expressions"));
    let listed = |op: &str, count: usize| {
        term(&format!("{{feature: a.b, matchName: {{op: {op}, value: [{}]}}}}", vec!["x"; count].join(",")))
    };
    assert!(error(&listed("InRegexp", 2000)).contains("more than 1024 terms and expressions"));
    assert!(error(&listed("In", 5000)).contains("more than 4096 values"));
    assert!(read(listed("In", 4000).as_bytes()).is_ok());
    assert!(read(b"").unwrap().sets.is_empty() && read(b"compatibilities: ~").unwrap().sets.is_empty());
}

#[test]
fn merge_keys_and_aliases_work_as_in_go_yaml() {
    let text = "x: &t {feature: a.b, matchName: {op: Exists}}\ncompatibilities: [{rules: [{matchFeatures: [{<<: *t, feature: c.d}]}]}]";
    let spec = read(text.as_bytes()).unwrap();
    let term = &spec.sets[0].rules[0].terms[0];
    assert_eq!((term.feature.as_str(), term.name.is_some()), ("c.d", true));
}

proptest! {
    #[test]
    fn never_panics(at in 0..GOOD.len(), text in "[-a-z:{}\\[\\],&*!|\"#%\\n 0-9.~<]{0,12}", cut in 0..20usize) {
        let end = (at + cut).min(GOOD.len());
        let changed = format!("{}{text}{}", &GOOD[..at], &GOOD[end..]);
        if let Ok(spec) = read(changed.as_bytes()) {
            let _ = super::super::evaluate(&spec, &crate::features::Features::default());
        }
    }
}
