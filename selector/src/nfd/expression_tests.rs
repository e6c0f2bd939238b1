use super::*;

fn ask(op: &str, values: &[&str], kind: &str, value: Option<&str>) -> (Result<bool, String>, Answer) {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    let expression = Expression::new(Op::from(op), values, kind.to_owned());
    (expression.strict(value.is_some(), value), expression.lenient(value.is_some(), value).0)
}

/// `nfd-rules.md` §3, "verified".
#[test]
fn versions_of_real_kernels() {
    for (kernel, strict) in [
        ("5.15.0-91-generic", Some(true)),
        ("6.1.0-28-amd64", Some(true)),
        ("6.18.44-fc-v669", Some(true)),
        ("6.12-rc3", Some(true)),
        ("4.18.0", Some(false)),
        ("5.14.0-427.13.1.el9_4.x86_64", None),
        ("6.1.115-126.197.amzn2023.x86_64", None),
        ("5.15.153.1-microsoft-standard-WSL2", None),
        ("6.8.12-4-pve+", None),
    ] {
        let (found, lenient) = ask("Ge", &["5.10"], "version", Some(kernel));
        assert_eq!(found.ok(), strict, "{kernel}");
        assert_eq!(lenient, answer(strict.unwrap_or(true)), "{kernel}");
    }
    assert_eq!(ask("Ge", &["6.12"], "version", Some("6.12-rc3")).0, Ok(true));
    assert_eq!(ask("Lt", &["2"], "version", Some("v1.99.99")), (Ok(true), Answer::True));
    assert_eq!(ask("Ge", &["5"], "version", Some("weird")).1, Answer::Unknown);
    assert_eq!(ask("Ge", &["5"], "", Some("5.14")).1, Answer::Unknown);
    assert_eq!(semver("1.2.3-01"), None);
    assert_eq!(semver("01.2+0-1_"), None);
    assert_eq!(semver("01.2-a.b+c-d"), Some([1, 2, 0]));
}

#[test]
fn problems_are_seen_without_a_host() {
    let problem = |op: &str, values: &[&str], kind: &str| {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Expression::new(Op::from(op), values, kind.to_owned()).problem()
    };
    assert_eq!(problem("in", &["a"], "").unwrap(), "\"in\" is no operator of NFD's");
    assert_eq!(problem("In", &[], "").unwrap(), "In takes at least one value, not 0");
    assert_eq!(problem("Exists", &["a"], "").unwrap(), "Exists takes no value, not 1");
    assert_eq!(problem("Gt", &["a"], "").unwrap(), "\"a\" is no whole number");
    assert_eq!(problem("Gt", &["a"], "version").unwrap(), "\"a\" is no version");
    assert_eq!(problem("Gt", &["1"], "semver").unwrap(), "the type \"semver\" is not known; NFD knows \"version\"");
    assert!(problem("InRegexp", &["("], "").unwrap().contains("regular expression"));
    assert!(problem("GtLt", &["5", "5"], "").is_some() && problem("GeLe", &["5", "5"], "").is_none());
    assert!(problem("GeLe", &["6", "5"], "").is_some() && problem("Ge", &["5.14.0-427.el9_4"], "version").is_none());
}

/// NFD's own table; the file is not part of the repository.
#[test]
fn nfds_expression_cases() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/nfd-expression-cases.json");
    let Some(cases) = super::super::tests::shared(path) else { return };
    let cases: serde_json::Value = serde_json::from_str(&cases).unwrap();
    let mut compared = 0;
    for case in cases["cases"].as_array().unwrap() {
        let text = |name: &str| case[name].as_str().unwrap_or_default().to_owned();
        let values: Vec<String> =
            case["value"].as_array().into_iter().flatten().map(|value| value.as_str().unwrap().to_owned()).collect();
        let expression = Expression::new(Op::from(text("op").as_str()), values, text("type"));
        let key = text("key");
        let found = if let Some(keys) = case["input_keys"].as_array() {
            expression.strict(keys.iter().any(|name| name == key.as_str()), None)
        } else if let Some(input) = case["input_values"].as_object() {
            let value = input.get(&key).map(|value| value.as_str().unwrap());
            expression.strict(value.is_some(), value)
        } else {
            let input = &case["input"];
            let plain = input.as_str().map(str::to_owned).or_else(|| (!input.is_null()).then(|| input.to_string()));
            expression.strict(case["valid"].as_bool().unwrap(), plain.as_deref())
        };
        let wanted = if case["error"].as_bool().unwrap() { None } else { case["result"].as_bool() };
        assert_eq!(found.ok(), wanted, "{case}");
        compared += 1;
    }
    assert_eq!(compared, 209);
}
