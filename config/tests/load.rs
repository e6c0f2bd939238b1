//! What `load` makes of good and bad files, as exact text.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must stop")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use bestfit_config::{Config, Location, Mode, PullDeadline, load};
use bestfit_selector::nfd::Mode::{Lenient, Strict};
use bestfit_selector::policy::{Otherwise, Undeclared};

/// A directory with these files in it.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = dir.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    dir
}

fn location(dir: &Path, profile: Option<&str>) -> Location {
    Location { file: dir.join("config.toml"), profile: profile.map(str::to_owned) }
}

/// The report of all mistakes, with the directory's name cut away.
fn report(dir: &Path, profile: Option<&str>) -> String {
    let errors = load(&location(dir, profile)).expect_err("mistakes");
    assert!(!errors.problems().is_empty());
    errors.report().replace(&format!("{}/", dir.display()), "").replace(&dir.display().to_string(), "")
}

fn report_of(text: &str) -> String {
    report(directory(&[("config.toml", text)]).path(), None)
}

#[test]
fn without_any_file_the_defaults_hold() {
    let dir = directory(&[]);
    let loaded = load(&location(dir.path(), None)).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.files.is_empty() && loaded.origins.is_empty());
    assert_eq!(loaded.config.mode, Mode::Select);
    assert_eq!(loaded.config.selection.pull_deadline, PullDeadline::After(Duration::from_secs(90)));
    // A directory above that is missing is no file either.
    assert!(load(&location(&dir.path().join("missing"), None)).is_ok());
}

#[test]
fn every_key_is_read() {
    let dir = directory(&[(
        "config.toml",
        r#"
mode = "observe"
delegate = "/opt/shims/containerd-shim-kata-v2"
state = "/srv/state"
[namespaces."kube-system"]
mode = "off"
[selection]
on_no_fit = "deny"
on_error = "deny"
undeclared = "never"
platform_variants = true
decision_deadline = "250ms"
pull_deadline = "wait"
referrers_lifetime = "1h30m"
check = ["org.supercontainers/mpi.*"]
nfd = "strict"
vendor = "features"
[trust]
mode = "warn"
image = "index"
max_age = "12h"
revoked = []
image_verifiers = "none"
[schemas]
dir = "/srv/schemas"
[registries]
hosts_dir = "/certs"
plain_http = ["Registry.lan:5000", "[fd00::1]:80", "10.0.0.1"]
ports = [5001, 0x2328]
redirects = ["S3.lan:9000"]
docker_config = "none"
[cache]
dir = "/srv/cache"
max_bytes = "1GiB"
[log]
file = "/srv/log.jsonl"
max_bytes = 65536
journal = false
[decider]
uid = 900
gid = 0x385
"#,
    )]);
    let loaded = load(&location(dir.path(), None)).unwrap();
    let config = loaded.config;
    assert_eq!(config.mode, Mode::Observe);
    assert_eq!(config.namespaces["kube-system"], Mode::Off);
    assert_eq!(config.delegate, "/opt/shims/containerd-shim-kata-v2");
    assert_eq!(config.state, Path::new("/srv/state"));
    let selection = config.selection;
    assert_eq!((selection.policy.on_no_fit, selection.policy.on_error), (Otherwise::Deny, Otherwise::Deny));
    assert_eq!((selection.policy.undeclared, selection.policy.platform_variants), (Undeclared::Never, true));
    assert_eq!(selection.policy.nfd, bestfit_selector::nfd::Mode::Strict);
    assert_eq!(selection.decision_deadline, Duration::from_millis(250));
    assert_eq!(selection.pull_deadline, PullDeadline::Wait);
    assert_eq!(selection.referrers_lifetime, Duration::from_secs(5400));
    assert_eq!((selection.policy.check.len(), config.schemas.dir.as_path()), (1, Path::new("/srv/schemas")));
    assert_eq!(config.registries.hosts_dir, Path::new("/certs"));
    assert_eq!(config.registries.plain_http, ["registry.lan:5000", "[fd00::1]:80", "10.0.0.1"]);
    assert_eq!(config.registries.ports, [5001, 9000]);
    assert_eq!(config.registries.redirects, ["s3.lan:9000"]);
    assert_eq!(config.registries.docker_config, None);
    assert_eq!((config.cache.dir.as_path(), config.cache.max_bytes), (Path::new("/srv/cache"), 1 << 30));
    assert_eq!((config.log.max_bytes, config.log.journal), (65536, false));
    assert_eq!((config.decider.uid, config.decider.gid), (900, 901));
    // Each key of the table was in that file, so that this test has to grow with the table.
    assert_eq!(loaded.origins.len(), bestfit_config::keys::KEYS.len() + 1);
}

#[test]
fn drop_ins_go_over_the_main_file_in_the_order_of_their_names() {
    let dir = directory(&[
        ("config.toml", "mode = \"off\"\n[log]\njournal = false\n"),
        ("conf.d/20-b.toml", "mode = \"observe\"\n"),
        ("conf.d/10-a.toml", "mode = \"select\"\n"),
        ("conf.d/.30-swap.toml", "nonsense"),
        ("conf.d/README", "nonsense"),
    ]);
    let loaded = load(&location(dir.path(), None)).unwrap();
    assert_eq!((loaded.config.mode, loaded.config.log.journal), (Mode::Observe, false));
    let names: Vec<_> = loaded.files.iter().map(|file| file.strip_prefix(dir.path()).unwrap()).collect();
    assert_eq!(names, ["config.toml", "conf.d/10-a.toml", "conf.d/20-b.toml"].map(Path::new));
    let origin = &loaded.origins["mode"];
    assert_eq!((origin.file.ends_with("20-b.toml"), origin.line), (true, 1));
}

#[test]
fn a_profile_tightens() {
    let dir = directory(&[
        ("config.toml", "mode = \"observe\"\n[namespaces.a]\nmode = \"off\"\n"),
        (
            "profiles/strict.toml",
            "mode = \"select\"\n[namespaces]\na.mode = \"select\"\nb.mode = \"off\"\n[selection]\non_error = \"deny\"\n",
        ),
    ]);
    let config = load(&location(dir.path(), Some("strict"))).unwrap().config;
    assert_eq!((config.mode, config.namespaces["a"], config.namespaces["b"]), (Mode::Observe, Mode::Off, Mode::Off));
    assert_eq!(config.selection.policy.on_error, Otherwise::Deny);
    assert_eq!(load(&location(dir.path(), None)).unwrap().config.selection.policy.on_error, Otherwise::RunDefault);
}

#[test]
fn a_profile_that_loosens_is_an_error() {
    for (key, tight, loose) in [
        ("on_error", "deny", "run-default"),
        ("on_no_fit", "deny", "run-default"),
        ("undeclared", "never", "fallback"),
        ("nfd", "strict", "lenient"),
        ("vendor", "strict", "features"),
    ] {
        let section = |value: &str| format!("[selection]\n{key} = \"{value}\"\n");
        let loads = |base: &str, profile: &str| {
            let dir = directory(&[("config.toml", &section(base)), ("profiles/p.toml", &section(profile))]);
            load(&location(dir.path(), Some("p"))).is_ok()
        };
        assert!(loads(loose, tight) && loads(tight, tight) && loads(loose, loose), "{key}");
        let dir = directory(&[("config.toml", &section(tight)), ("profiles/lax.toml", &section(loose))]);
        assert_eq!(
            report(dir.path(), Some("lax")),
            format!(
                "profiles/lax.toml:2:1: selection.{key}: a profile may only tighten what the other files say\n  \
                 hint: remove the key here, or loosen it in the main file\n"
            )
        );
    }
}

/// What the main file leaves at its default may be tightened, and a profile that says nothing keeps what is tight.
#[test]
fn a_profile_keeps_nfds_rules_strict() {
    let mode = |base: &str, profile: &str| {
        let dir = directory(&[("config.toml", base), ("profiles/p.toml", profile)]);
        load(&location(dir.path(), Some("p"))).unwrap().config.selection.policy.nfd
    };
    let strict = "[selection]\nnfd = \"strict\"\n";
    assert_eq!((mode("", ""), mode("", strict), mode(strict, "")), (Lenient, Strict, Strict));
}

#[test]
fn a_profile_needs_its_file_and_a_name() {
    let dir = directory(&[]);
    assert_eq!(
        report(dir.path(), Some("signed")),
        "profiles/signed.toml: the profile has no file\n  \
         hint: create it (it may be empty), or remove the handler that names this profile\n"
    );
    for name in ["", "../x", "a/b", ".hidden", "ä"] {
        assert!(report(dir.path(), Some(name)).contains("is no name of a profile"), "{name}");
    }
}

#[test]
fn all_mistakes_of_all_files_come_at_once() {
    let dir = directory(&[
        (
            "config.toml",
            "mode = \"selct\"\ndelgate = \"x\"\non_error = \"deny\"\n[selection]\ndecison_deadline = \"3s\"\n\
             pull_deadline = \"3 parsecs\"\n[log]\njournal = \"yes\"\n[signatures]\nmode = \"require\"\n",
        ),
        ("conf.d/10-broken.toml", "mode = \n"),
        ("conf.d/20-late.toml", "[decider]\nuid = 0\n"),
    ]);
    assert_eq!(
        report(dir.path(), None),
        r#"config.toml:1:8: mode: "selct" is none of the known values
  hint: did you mean "select"?
config.toml:2:1: unknown key "delgate"
  hint: did you mean "delegate"?
config.toml:3:1: unknown key "on_error"
  hint: "on_error" belongs in [selection]
config.toml:5:1: unknown key "decison_deadline" in [selection]
  hint: did you mean "decision_deadline"?
config.toml:6:17: selection.pull_deadline: "3 parsecs" is no duration
  hint: expected a duration from "1ms" to "1h", such as "90s", or "wait"
config.toml:8:11: log.journal: expected true or false, found the text "yes"
  hint: expected true or false
config.toml:9:2: unknown key "signatures"
  hint: known here: mode, delegate, state, selection, trust, registries, cache, schemas, log, decider, namespaces, levels, rules, hooks; what this version does not know it refuses rather than ignores
conf.d/10-broken.toml:1:8: not valid TOML: string values must be quoted, expected literal string
conf.d/20-late.toml:2:7: decider.uid: 0 is root, which reads nothing from outside
  hint: expected a user id other than 0 that nothing else on this node uses
"#
    );
}

#[test]
fn values_are_refused_with_what_is_expected() {
    for (text, expected) in [
        (
            "mode = 3",
            "config.toml:1:8: mode: expected text in quotes, found the number 3\n  hint: expected \"off\", \"observe\" or \"select\"\n",
        ),
        (
            "selection = 1",
            "config.toml:1:13: selection: expected a table, found a value\n  hint: write [selection] on a line of its own, and its keys below it\n",
        ),
        (
            "namespaces = []",
            "config.toml:1:14: namespaces: expected a table, found a value\n  hint: write [namespaces] on a line of its own, and its keys below it\n",
        ),
        (
            "[namespaces]\na = \"off\"",
            "config.toml:2:5: namespaces.\"a\": expected a table, found a value\n  hint: write [namespaces.\"a\"] on a line of its own, and its keys below it\n",
        ),
        (
            "[namespaces.a]\nmod = \"off\"",
            "config.toml:2:1: unknown key \"mod\" in [namespaces.\"a\"]\n  hint: the only key here is \"mode\"\n",
        ),
        (
            "[selection]\ndecision_deadline = 3",
            "config.toml:2:21: selection.decision_deadline: expected a duration in quotes, found the number 3\n  hint: expected a duration from \"1ms\" to \"1m\", such as \"250ms\" or \"3s\"\n",
        ),
        (
            "[selection]\ndecision_deadline = \"1h\"",
            "config.toml:2:21: selection.decision_deadline: \"1h\" is out of range, which is \"1ms\" to \"1m\"\n  hint: expected a duration from \"1ms\" to \"1m\", such as \"250ms\" or \"3s\"\n",
        ),
        ("state = \"var\"", "config.toml:1:9: state: \"var\" is no absolute path\n  hint: expected an absolute path\n"),
        (
            "delegate = \"containerd-shim-bestfit-v1\"",
            "config.toml:1:12: delegate: \"containerd-shim-bestfit-v1\" is bestfit itself\n  hint: name the shim that really runs the container, such as \"containerd-shim-runc-v2\"\n",
        ),
        (
            "registries.plain_http = [\"http://r.lan:5000/v2\"]",
            "config.toml:1:25: registries.plain_http: \"http://r.lan:5000/v2\" is a URL, not a host\n  hint: write the host alone: \"r.lan:5000\"\n",
        ),
        ("mode = \"off\"\nmode = \"off\"", "config.toml:2:1: not valid TOML: duplicate key\n"),
    ] {
        assert_eq!(report_of(text), expected, "{text}");
    }
}

#[test]
fn no_nonsense_is_a_value() {
    for (key, values) in [
        (
            "selection.referrers_lifetime",
            &[
                "\"\"",
                "\"3\"",
                "\"s\"",
                "\"-3s\"",
                "\"3s \"",
                "\"1.5s\"",
                "\"99999999999999999999s\"",
                "\"999999999999999d\"",
                "1979-05-27",
            ][..],
        ),
        (
            "cache.max_bytes",
            &[
                "0",
                "-1",
                "1.5",
                "\"12\"",
                "\"MiB\"",
                "\"-1MiB\"",
                "\"+1MiB\"",
                "\"9999999999GiB\"",
                "1e9",
                "99999999999999999999999",
                "[]",
            ],
        ),
        ("decider.uid", &["-1", "65535", "4294967295", "4294967296", "\"nobody\""]),
        ("delegate", &["\"\"", "\"a b\"", "\"../x\"", "\"bin/x\"", "\"/\"", "\"/a/../b\"", "{}"]),
        ("registries.ports", &["443", "[\"a\"]", "[0]", "[65536]", "[-1]"]),
        ("registries.plain_http", &["\"a\"", "[1]", "[\"\"]", "[\"a/b\"]", "[\"a:b\"]", "[\"::1\"]", "[\"a:70000\"]"]),
        ("log.file", &["\"\"", "\"~/x\"", "\"/a/../b\"", "\"/a\\u0000b\"", "true"]),
    ] {
        for value in values {
            let report = report_of(&format!("{key} = {value}\n"));
            assert!(
                report.starts_with(&format!("config.toml:1:{}: {key}: ", key.len() + 4)),
                "{key} = {value}: {report}"
            );
        }
    }
}

#[test]
fn files_that_cannot_be_read_are_never_the_defaults() {
    let dir = directory(&[("config.toml/inner", "")]);
    assert_eq!(report(dir.path(), None), "config.toml: cannot be read: not a regular file\n");

    let dir = directory(&[("conf.d", "a file")]);
    assert_eq!(report(dir.path(), None), "conf.d: cannot be read: Not a directory (os error 20)\n");

    let dir = directory(&[]);
    std::os::unix::fs::symlink("config.toml", dir.path().join("config.toml")).unwrap();
    assert_eq!(
        report(dir.path(), None),
        "config.toml: cannot be read: Too many levels of symbolic links (os error 40)\n"
    );

    let dir = directory(&[]);
    std::os::unix::fs::symlink("nowhere", dir.path().join("config.toml")).unwrap();
    assert_eq!(
        report(dir.path(), None),
        "config.toml: cannot be read: No such file or directory (os error 2)\n  \
         hint: it is a link to a file that does not exist: remove or mend the link\n"
    );

    let dir = directory(&[("conf.d/a.toml", "")]);
    fs::write(dir.path().join("config.toml"), b"mode = \"off\"\n# \xff\n").unwrap();
    assert_eq!(report(dir.path(), None), "config.toml:2:3: not UTF-8 text\n");

    let dir = directory(&[("config.toml", "")]);
    fs::File::options().write(true).open(dir.path().join("config.toml")).unwrap().set_len(1 << 30).unwrap();
    assert_eq!(report(dir.path(), None), "config.toml: larger than 1024 KiB\n  hint: is this a configuration file?\n");
}

#[test]
fn hostile_toml_ends_in_an_error() {
    let brackets = format!("mode = {}", "[".repeat(200_000));
    let dots = format!("{}a = 1", "a.".repeat(200_000));
    let header = format!("[{}a]", "a.".repeat(200_000));
    let many: String = (0..50_000).map(|number| format!("k{number} = 1\n")).collect();
    let many_namespaces: String = (0..30_000).map(|number| format!("[namespaces.n{number}]\nmode = 1\n")).collect();
    for text in
        [brackets, dots, header, many, many_namespaces, "\0".to_owned(), "= = =\n".repeat(10_000), "{".to_owned()]
    {
        let dir = directory(&[("config.toml", &text)]);
        let errors = load(&location(dir.path(), None)).expect_err("mistakes");
        assert!(errors.problems().len() <= 100);
    }
}

#[test]
fn the_values_in_force_can_be_read_again() {
    let dir = directory(&[(
        "config.toml",
        "[namespaces.\"a.b \\\"c\"]\nmode = \"off\"\n[selection]\nreferrers_lifetime = \"90s\"\n[registries]\nplain_http = [\"a:1\"]\n",
    )]);
    let first = load(&location(dir.path(), None)).unwrap();
    let text = bestfit_config::reference::effective(&first);
    assert!(
        text.contains(&format!("referrers_lifetime = \"90s\"  # {}/config.toml:4\n", dir.path().display())),
        "{text}"
    );
    assert!(text.contains("mode = \"select\"  # default\n"), "{text}");
    let again = directory(&[("config.toml", &text)]);
    assert_eq!(load(&location(again.path(), None)).unwrap().config, first.config);
}

#[test]
fn the_reference_page_is_the_one_of_the_code() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let expected = bestfit_config::reference::markdown();
    if std::env::var_os("BESTFIT_WRITE_DOCS").is_some() {
        fs::create_dir_all(page.parent().unwrap()).unwrap();
        fs::write(&page, &expected).unwrap();
    }
    let found = fs::read_to_string(&page).unwrap();
    assert!(
        found == expected,
        "docs/configuration.md is not what the code says: run BESTFIT_WRITE_DOCS=1 cargo test -p bestfit-config"
    );
}

const SITE: &str = "[levels]\n\"nfd/kernel-config.*\" = \"preferred\"\n\n[selection]\ncheck = [\"org.supercontainers/mpi.*\"]\n\n\
    [rules.\"old kernels\"]\naction = \"deny\"\nhost = { \"host/kernel.version\" = \"<5.10\" }\nasks = [\"nfd/*\"]\n\n\
    [rules.nightly]\naction = \"avoid\"\nscore = 5\nannotations = { \"org.opencontainers.image.version\" = \"*-nightly\" }\n";

#[test]
fn a_site_has_levels_checks_and_rules() {
    let dir = directory(&[("config.toml", SITE)]);
    let loaded = load(&location(dir.path(), None)).unwrap();
    let policy = &loaded.config.selection.policy;
    assert_eq!(policy.levels["nfd/kernel-config.*"], bestfit_selector::schema::Level::Preferred);
    assert_eq!(policy.check, ["org.supercontainers/mpi.*"]);
    assert_eq!((policy.rules["nightly"].score, policy.rules["old kernels"].score), (5, 10));
    assert_eq!(policy.rules["old kernels"].host["host/kernel.version"], ["<5.10"]);
    let text = bestfit_config::reference::effective(&loaded);
    let again = directory(&[("config.toml", &text)]);
    assert_eq!(load(&location(again.path(), None)).unwrap().config, loaded.config);
}

#[test]
fn mistakes_in_rules_and_levels_come_at_once() {
    let text = "[levels]\nnfd = \"preferred\"\n\"nfd/x\" = \"must\"\n[rules.a]\naktion = \"deny\"\nscore = 0\n\
        [rules.b]\naction = \"deny\"\nhost = { \"host/kernel.versio\" = \"5\", \"nothing/x\" = true, \"host/page_size\" = \"x\" }\n\
        [rules.c]\naction = \"prefer\"\n\
        [rules.d]\naction = \"deny\"\nhost = { \"host\" = \"5\" }\n\
        [rules.e]\naction = \"deny\"\n[rules.e.host]\n\n\"hots/kernel.version\" = \"5\"\n";
    let dir = directory(&[("config.toml", text)]);
    assert_eq!(
        report(dir.path(), None),
        "config.toml:2:7: levels.\"nfd\": \"nfd\" is no pattern of keys\n  \
         hint: write GROUP/KEY, such as \"nfd/memory-numa\" or \"nfd/*\"\n\
         config.toml:3:11: levels.\"nfd/x\": \"must\" is none of the known values\n  \
         hint: expected \"required\", \"preferred\" or \"info\"\n\
         config.toml:5:1: unknown key \"aktion\" in [rules.\"a\"]\n  hint: did you mean \"action\"?\n\
         config.toml:6:9: rules.\"a\".score: out of range\n  \
         hint: expected a number from 1 to 1000; 10 where it is not given\n\
         config.toml:4:8: rules.\"a\": it does not say what to do\n  \
         hint: add action = \"prefer\", \"avoid\" or \"deny\"\n\
         config.toml:4:8: rules.\"a\": it has no condition, and so speaks about no entry\n  \
         hint: add one of host, asks, annotations, digests\n\
         config.toml:10:8: rules.\"c\": it has no condition, and so speaks about no entry\n  \
         hint: add one of host, asks, annotations, digests\n\
         config.toml:14:19: rules.\"d\".host.\"host\": \"host\" is no GROUP/KEY\n  \
         hint: expected a table of \"GROUP/KEY\" and values as in artifacts, such as { \"host/kernel.version\" = \"<5.10\" }\n\
         config.toml:9:1: rules.\"b\".host.\"host/kernel.versio\": no known key; did you mean \"kernel.version\"?\n  \
         hint: `bestfit schema show` lists the groups and keys that are known\n\
         config.toml:9:1: rules.\"b\".host.\"host/page_size\": x is no number or range\n  \
         hint: `bestfit schema show` lists the groups and keys that are known\n\
         config.toml:9:1: rules.\"b\".host.\"nothing/x\": no schema knows the group \"nothing\"\n  \
         hint: `bestfit schema show` lists the groups and keys that are known\n\
         config.toml:19:1: rules.\"e\".host.\"hots/kernel.version\": no schema knows the group \"hots\"\n  \
         hint: `bestfit schema show` lists the groups and keys that are known\n"
    );
}

#[test]
fn what_was_hardly_meant_is_no_mistake_and_said() {
    let text = "[selection]\ncheck = [\"org.supercontainers/mpi.implementatoin\", \"org.lab/queue\", \"nfd/x*\"]\n\
        [levels]\n\"host/kernel.versoin\" = \"info\"\n\"hots/*\" = \"info\"\n\"nfd/cpu-cpuid.AVX2\" = \"info\"\n\
        [rules.a]\naction = \"deny\"\nasks = [\"host/page_sizes\"]\n\
        [hooks.\"org.lab\"]\ncommand = \"/x\"\n\
        [trust]\nmode = \"require\"\nimage = \"index\"\nimage_verifiers = \"/nonexistent\"\n";
    let dir = directory(&[("config.toml", text)]);
    let loaded = load(&location(dir.path(), None)).unwrap();
    let advice = bestfit_config::advice(&loaded).into_iter();
    let said: Vec<(String, String)> = advice
        .map(|said| {
            (said.to_string().replace(&format!("{}/", dir.path().display()), ""), said.hint.unwrap_or_default())
        })
        .collect();
    let said: Vec<(&str, &str)> = said.iter().map(|(what, hint)| (what.as_str(), hint.as_str())).collect();
    let accept = "add a [[trust.accept]]: docs/signed-artifacts-only.md shows how";
    assert_eq!(
        said,
        [
            (
                "config.toml:4:1: levels.\"host/kernel.versoin\": no schema knows the key \"host/kernel.versoin\"",
                "did you mean \"host/kernel.version\"?"
            ),
            ("config.toml:5:1: levels.\"hots/*\": no schema knows the group \"hots\"", "did you mean \"host/*\"?"),
            (
                "config.toml:2:1: selection.check: no schema lists the key \"org.supercontainers/mpi.implementatoin\"",
                "did you mean \"org.supercontainers/mpi.implementation\"?"
            ),
            (
                "config.toml:9:1: rules.\"a\".asks: no schema knows the key \"host/page_sizes\"",
                "did you mean \"host/page_size\"?"
            ),
            ("config.toml:13:1: trust.mode: nobody is trusted: every container with an index is refused", accept),
            (
                "config.toml:14:1: trust.image: nobody is trusted: no image counts as signed, and nothing is swapped",
                accept
            ),
            (
                "config.toml:15:1: trust.image_verifiers: /nonexistent: No such file or directory (os error 2)",
                "name the directory that containerd's image verifiers lie in"
            ),
        ]
    );
    let sound = directory(&[("config.toml", SITE)]);
    assert_eq!(bestfit_config::advice(&load(&location(sound.path(), None)).unwrap()), []);
}

#[test]
fn a_profile_adds_rules_and_changes_none() {
    let profile = "[levels]\n\"nfd/x\" = \"info\"\n\"nfd/y\" = \"required\"\n[rules.nightly]\naction = \"prefer\"\n\
        asks = [\"nfd/*\"]\n[rules.new]\naction = \"deny\"\nasks = [\"nfd/*\"]\n";
    let dir = directory(&[("config.toml", SITE), ("profiles/lax.toml", profile)]);
    let hint = "a profile may only tighten what the other files say\n  \
        hint: remove the key here, or loosen it in the main file\n";
    assert_eq!(
        report(dir.path(), Some("lax")),
        format!("profiles/lax.toml:4:1: rules.\"nightly\": {hint}profiles/lax.toml:2:1: levels.\"nfd/x\": {hint}")
    );
}

#[test]
fn a_site_adds_schemas() {
    let schema = |nodes: &str| format!(r#"{{"graph": {{"id": "org.lab", "version": "1", "nodes": {{{nodes}}}}}}}"#);
    let config = |dir: &Path| format!("[schemas]\ndir = \"{}\"\n", dir.join("schemas.d").display());
    let dir = directory(&[("schemas.d/lab.json", &schema(r#""queue": {"metadata": {"type": "string", "doc": "x"}}"#))]);
    fs::write(dir.path().join("schemas.d/README"), "no schema").unwrap();
    fs::write(dir.path().join("config.toml"), config(dir.path())).unwrap();
    let loaded = load(&location(dir.path(), None)).unwrap();
    assert_eq!(loaded.config.schemas.files.len(), 1);
    fs::write(dir.path().join("schemas.d/bad.json"), schema(r#""k": {"metadata": {"type": "strng"}}"#)).unwrap();
    fs::write(dir.path().join("schemas.d/worse.json"), "{").unwrap();
    assert_eq!(
        report(dir.path(), None),
        "schemas.d/bad.json:1:74: k, \"type\": unknown variant `strng`, expected one of `untyped`, `bool`, `int`, \
         `quantity`, `version`, `string`, `enum`, `set`, `flags`, `dag`\n\
         schemas.d/worse.json:1:1: EOF while parsing an object\n"
    );
}

#[test]
fn a_site_lists_hooks() {
    let text = "[hooks.\"org.lab\"]\ncommand = \"/usr/libexec/lab\"\ntimeout = \"500ms\"\n\
        [hooks.\"org.two\"]\ncommand = \"/usr/libexec/two\"\nuid = 4242\n";
    let dir = directory(&[("config.toml", text), ("profiles/p.toml", "[hooks.\"org.two\"]\ncommand = \"/other\"\n")]);
    let loaded = load(&location(dir.path(), None)).unwrap();
    let (lab, two) = (&loaded.config.hooks["org.lab"], &loaded.config.hooks["org.two"]);
    assert_eq!((lab.timeout.as_millis(), lab.uid), (500, 61_182));
    assert_eq!((two.timeout.as_secs(), two.uid, two.gid), (2, 4242, 61_182));
    let again = directory(&[("config.toml", &bestfit_config::reference::effective(&loaded))]);
    assert_eq!(load(&location(again.path(), None)).unwrap().config, loaded.config);
    assert_eq!(
        report(dir.path(), Some("p")),
        "profiles/p.toml:1:1: hooks.\"org.two\": a profile may only tighten what the other files say\n  \
         hint: remove the key here, or loosen it in the main file\n"
    );
}

#[test]
fn mistakes_in_hooks_come_at_once() {
    let text = "[hooks.host]\ncommand = \"/x\"\n[hooks.\"feature.node.kubernetes.io\"]\ncommand = \"/x\"\n\
        [hooks.lab]\ncomand = \"/x\"\ntimeout = \"5m\"\nuid = 0\n[hooks.\"org.compspec.*\"]\ncommand = \"x\"\n";
    let dir = directory(&[("config.toml", text)]);
    let hint = "hint: `bestfit schema show` lists the groups and keys that are known";
    let found = report(dir.path(), None);
    for line in [
        "config.toml:1:1: hooks.\"host\": what host says bestfit finds out itself".to_owned(),
        format!("hooks.\"feature.node.kubernetes.io\": what nfd says bestfit finds out itself\n  {hint}"),
        "config.toml:6:1: unknown key \"comand\" in [hooks.\"lab\"]\n  hint: did you mean \"command\"?".to_owned(),
        "hooks.\"lab\": it names no program".to_owned(),
        "hooks.\"lab\".timeout: ".to_owned(),
        "hooks.\"lab\".uid: 0 is root, which reads nothing from outside".to_owned(),
        "hooks.\"org.compspec.*\": no name of a group".to_owned(),
        "hooks.\"org.compspec.*\".command: ".to_owned(),
    ] {
        assert!(found.contains(&line), "{line}\n{found}");
    }
}
