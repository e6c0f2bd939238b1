use proptest::prelude::*;

use super::*;

fn matched() -> Matched {
    let element = |pairs: &[(&str, &str)]| -> Element {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let release = vec![element(&[("Name", "ID"), ("Value", "rocky")]), element(&[("Name", "V"), ("Value", "9")])];
    let devices = vec![
        element(&[("class", " 0200 "), ("device", "101d"), ("vendor", "15b3")]),
        element(&[("class", "0302"), ("device", "2330"), ("vendor", "10de")]),
    ];
    [
        ("system".to_owned(), [("osrelease".to_owned(), release)].into()),
        ("pci".to_owned(), [("device".to_owned(), devices), ("none".to_owned(), Vec::new())].into()),
    ]
    .into()
}

/// The vars as `key=value` lines.
fn run(template: &str) -> Result<String, TemplateError> {
    let vars = expand(template, &matched())?;
    Ok(vars.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "))
}

/// NFD's documentation, docs/usage/customization-guide.md, "Templating".
#[test]
fn expands_what_nfd_documents() {
    let table = [
        (
            "{{ range .pci.device }}vendor-{{ .vendor }}-{{ .device }}.present=true\n{{ end }}",
            "vendor-10de-2330.present=true vendor-15b3-101d.present=true",
        ),
        ("{{ range .system.osrelease }}system-{{ .Name }}={{ .Value }}\n{{ end }}", "system-ID=rocky system-V=9"),
        (
            "num={{ .pci.device | len }}\nfirst={{ (.pci.device | first).class | trim | substr 0 63 }}",
            "first=0200 num=2",
        ),
    ];
    table.iter().for_each(|(template, expected)| assert_eq!(run(template).unwrap(), *expected, "{template}"));
}

#[test]
fn expands_conditions_pipelines_and_functions() {
    let table = [
        ("{{/* c */}}n={{ .system.osrelease | len }}\n\n{{- /* d */ -}} \n", "n=2"),
        ("n={{ len .pci.device }}", "n=2"),
        ("n={{ len(.pci.device) }}", "n=2"),
        ("a={{ if .pci.none }}x{{ else }}y{{ end }}", "a=y"),
        ("a={{ if eq (len .pci.device) 1 }}one{{ else if eq (len .pci.device) 2 }}two{{ else }}more{{ end }}", "a=two"),
        ("{{ range .pci.device }}{{ if eq .vendor \"10de\" }}gpu={{ .device }}{{ end }}\n{{ end }}", "gpu=2330"),
        ("{{ range .pci.device }}{{ if ne .vendor \"10de\" \"x\" }}{{ end }}{{ end }}a=1", "!"),
        ("{{ range .pci.none }}a=1{{ else }}a=none{{ end }}", "a=none"),
        ("a={{ (.pci.device | last).vendor | upper }}", "a=10DE"),
        ("a={{ (index .pci.device 1).vendor }},{{ index (index .pci.device 0) \"nope\" }}", "a=10de,"),
        ("a={{ list \"x\" \"y\" | join \"-\" }}", "a=x-y"),
        ("a={{ join \",\" (list \"x\" \"y\") }}", "a=x,y"),
        ("a={{ \"1.2.3\" | replace \".\" \"_\" | trimPrefix \"1_\" | trimSuffix \"_3\" }}", "a=2"),
        ("a={{ and (hasPrefix \"a\" \"ab\") (contains \"b\" \"ab\") (not false) }}", "a=true"),
        ("a={{ or \"\" 0 \"z\" }},{{ and 1 \"\" }}", "a=z,"),
        ("a={{ \"\" | default \"d\" }},{{ default \"d\" \"e\" }}", "a=d,e"),
        ("a={{ substr 1 -1 \"abc\" }},{{ substr -1 2 \"abc\" }},{{ substr 0 9 \"abc\" }}", "a=bc,ab,abc"),
        ("{{ range .system.osrelease }}{{ if eq .Name \"ID\" }}n={{ len $.pci.device }}{{ end }}{{ end }}", "n=2"),
        ("a={{ first .pci.none }}", "a=<no value>"),
        ("a={{ lt 1 2 }},{{ ge \"a\" \"b\" }}", "a=true,false"),
    ];
    for (template, expected) in table {
        match run(template) {
            Ok(found) => assert_eq!(found, expected, "{template}"),
            Err(error) => assert_eq!(expected, "!", "{template}: {error:?}"),
        }
    }
}

#[test]
fn tells_failing_from_unsupported() {
    for fails in [
        "x",
        "{{",
        "{{ range .system.osrelease }}",
        "{{ end }}",
        "{{ range .a.b }}{{ end }}",
        "{{ range .system.osrelease }}{{ .no }}{{ end }}",
        "{{ if true }}a=1",
        "{{ if true }}a=1{{ else }}{{ else }}{{ end }}",
        "a={{ eq 1 \"1\" }}",
        "a={{ (.pci.none | first).class }}",
        "a={{ substr 3 1 \"abc\" }}",
        "a={{ index .pci.device 7 }}",
    ] {
        assert!(matches!(run(fails), Err(TemplateError::Fails(_))), "{fails}: {:?}", run(fails));
    }
    for other in [
        "{{ $x := 1 }}",
        "{{ .a-b }}",
        "{{ with .pci }}{{ end }}",
        "{{ range $i, $e := .pci.device }}{{ end }}",
        "{{ range .pci }}{{ end }}",
        "{{ define \"x\" }}{{ end }}",
        "a={{ .pci.device }}",
        "a={{ env \"HOME\" }}",
        "a={{ \"a\\x41\" }}",
        "a={{ 010 }}",
        "a={{ `raw` }}",
        "a={{ eq .pci.device .pci.device }}",
        "a={{ eq \"a\"\"a\" }}",
        "a={{ printf \"%s\" \"x\" }}",
    ] {
        assert!(matches!(run(other), Err(TemplateError::Unsupported(_))), "{other}: {:?}", run(other));
    }
    let deep = format!("{}{}", "{{ if true }}".repeat(99), "{{ end }}".repeat(99));
    assert!(run(&deep).is_err());
    assert!(run(&format!("a={{{{ {}1{} }}}}", "(".repeat(9999), ")".repeat(9999))).is_err());
}

/// A few bytes of template must not ask for gigabytes.
#[test]
fn what_a_template_makes_is_bounded() {
    let grown = (0..12).fold("\"a\"".to_owned(), |text, _| format!("({text} | replace \"a\" \"{}\")", "a".repeat(10)));
    let joined = format!("join \"{}\" (list {})", "s".repeat(9000), "\"x\" ".repeat(100));
    let many = format!("list {}", "(replace \"a\" \"aaaaaaaaaa\" \"aaaaaaaaaa\") ".repeat(900));
    let wide = format!("{{{{ range .pci.device }}}}x={{{{ \"{}\" | len }}}}\n{{{{ end }}}}", "a".repeat(60_000));
    for (template, expected) in [
        (format!("a={{{{ {grown} }}}}"), "it expands to more than 262144 bytes"),
        (format!("a={{{{ {joined} }}}}"), "it expands to more than 262144 bytes"),
        (format!("a={{{{ {many} | len }}}}"), "ok"),
        (wide, "ok"),
        ("{{ range .pci.device }}{{ end }}".repeat(1900), "ok"),
    ] {
        let shown = match run(&template) {
            Err(TemplateError::Unsupported(why) | TemplateError::Fails(why)) => why,
            Ok(_) => "ok".to_owned(),
        };
        assert_eq!(shown, expected, "{}", &template[..60]);
    }
    let element: Element = [("k".to_owned(), "a".repeat(1000))].into();
    let many: Matched = [("d".to_owned(), [("f".to_owned(), vec![element; 5000])].into())].into();
    let values = expand("{{ range .d.f }}{{ if eq .k \"b\" }}{{ end }}{{ end }}", &many);
    assert_eq!(values, Err(TemplateError::Unsupported("its values have more than 4194304 bytes".to_owned())));
    let steps = expand(&format!("{{{{ range .d.f }}}}{}{{{{ end }}}}", "{{ if true }}{{ end }}".repeat(20)), &many);
    assert_eq!(steps, Err(TemplateError::Unsupported("it takes more than 100000 steps".to_owned())));
}

proptest! {
    #[test]
    fn no_template_makes_it_panic(
        words in prop::collection::vec(prop::sample::select(vec![
            "{{", "}}", " ", "|", "(", ")", "range", "if", "else", "end", ".pci.device", ".", "$", "\"", "-", "len", "eq",
            "substr", "1", "-1", "first", ".class", "a=", "\n", "é", "/*", "*/", "index", "list", "join",
        ]), 0..40),
    ) {
        let _ = run(&words.concat());
    }
}
