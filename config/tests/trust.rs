//! What `[trust]` may say, whose files it reads, and what a profile may not take back, as exact text.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must stop")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bestfit_config::{Config, ConfigErrors, Location, load};
use bestfit_selector::trust::{By, ImageSigned, KeylessTime, TrustMode};

const KEY: &str = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
const ROOTS: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

/// A site: keys, and files in which `DIR` stands for its directory.
struct Site(tempfile::TempDir);

impl Site {
    fn new(files: &[(&str, &str)]) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        for (name, text) in [("vendor.pub", KEY), ("lab.pub", KEY), ("roots.pem", ROOTS), ("root.json", "{}")] {
            site.write(name, text);
        }
        files.iter().for_each(|(name, text)| site.write(name, text));
        site
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.dir().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text.replace("DIR", &self.dir().display().to_string())).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn load(&self, profile: Option<&str>) -> Result<Config, ConfigErrors> {
        let location = Location { file: self.dir().join("config.toml"), profile: profile.map(str::to_owned) };
        load(&location).map(|loaded| loaded.config)
    }

    fn report(&self, profile: Option<&str>) -> String {
        let report = self.load(profile).expect_err("mistakes").report();
        report.replace(&format!("{}/", self.dir().display()), "")
    }
}

const ACCEPT: &str = r#"
[trust]
mode = "enforce"
image = "index-or-entry"
max_age = "90d"
revoked = ["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "DIR/revoked"]
image_verifiers = "/opt/verifiers"
[[trust.accept]]
key = "DIR/vendor.pub"
scopes = ["registry.example/hpc/*"]
[[trust.accept]]
certificates = { roots = "DIR/roots.pem", identities = ["*@example.com"], tsa = "DIR/roots.pem" }
[[trust.accept]]
name = "ci"
[trust.accept.keyless]
issuer = "https://issuer"
subject = "https://github.com/example/*"
trusted_root = "DIR/root.json"
time = "tsa"
[[trust.accept]]
name = "notary"
notation.roots = "DIR/roots.pem"
"#;

#[test]
fn signers_keep_their_order_and_files_become_their_contents() {
    let site = Site::new(&[("config.toml", ACCEPT), ("revoked", &format!("# lost\nsha256:{} why\n", "b".repeat(64)))]);
    let config = site.load(None).unwrap();
    let trust = config.selection.policy.trust;
    assert_eq!(
        (trust.mode, trust.image, trust.max_age),
        (TrustMode::Enforce, ImageSigned::IndexOrEntry, Some(7_776_000))
    );
    let names: Vec<&str> = trust.accept.iter().map(|accept| accept.name.as_str()).collect();
    assert_eq!(names, ["vendor.pub", "roots.pem", "ci", "notary"]);
    assert_eq!(trust.accept[0].by, By::Key { pem: KEY.to_owned() });
    assert_eq!(trust.accept[0].scopes, ["registry.example/hpc/*"]);
    let identities = vec!["*@example.com".to_owned()];
    let tsa = Some(ROOTS.to_owned());
    assert_eq!(trust.accept[1].by, By::Certificates { roots: ROOTS.to_owned(), identities, tsa });
    assert!(
        matches!(&trust.accept[2].by, By::Keyless { trusted_root, time: KeylessTime::Tsa, .. } if trusted_root == "{}")
    );
    assert!(matches!(&trust.accept[3].by, By::Notation { tsa: None, .. }));
    let revoked: Vec<String> = trust.revoked_digests.iter().map(|digest| digest.hex()[..1].to_owned()).collect();
    assert_eq!((revoked, trust.revoked_keys.len()), (vec!["a".to_owned(), "b".to_owned()], 2));
    assert_eq!(config.trust.image_verifiers.as_deref(), Some(Path::new("/opt/verifiers")));
}

#[test]
fn what_is_revoked_or_replaced_counts_at_the_next_load() {
    let site = Site::new(&[("config.toml", "[trust]\nrevoked = \"DIR/revoked\"\n"), ("revoked", "")]);
    let before = site.load(None).unwrap().selection.policy;
    site.write("revoked", &format!("sha256:{}\n", "c".repeat(64)));
    let after = site.load(None).unwrap().selection.policy;
    assert_ne!(before, after, "the policy, and with it the place of every remembered decision, is another one");
    let site = Site::new(&[("config.toml", "[[trust.accept]]\nkey = \"DIR/vendor.pub\"\n")]);
    let before = site.load(None).unwrap().selection.policy;
    site.write("vendor.pub", &KEY.replace("AAAA", "BBBB"));
    assert_ne!(before, site.load(None).unwrap().selection.policy);
}

#[test]
fn every_mistake_is_reported_with_its_line() {
    let site = Site::new(&[(
        "config.toml",
        r#"[trust]
mode = "enforced"
acept = []
revoked = "yesterday"
max_age = "1s"
[[trust.accept]]
kee = "/x"
[[trust.accept]]
[[trust.accept]]
key = "DIR/vendor.pub"
notation = { roots = "DIR/roots.pem" }
[[trust.accept]]
keyless = { isuer = "x" }
[[trust.accept]]
keyless = { issuer = "x" }
[[trust.accept]]
scopes = ["https://registry.example/x"]
[[trust.accept]]
notation = "DIR/roots.pem"
"#,
    )]);
    assert_eq!(
        site.report(None),
        r#"config.toml:2:8: trust.mode: "enforced" is none of the known values
  hint: did you mean "enforce"?
config.toml:3:1: unknown key "acept" in [trust]
  hint: did you mean "accept"?
config.toml:4:11: trust.revoked: "yesterday" is neither a digest nor an absolute path
  hint: expected a list of digests ("sha256:…") and of absolute paths of files with one digest per line, or one of them
config.toml:5:11: trust.max_age: "1s" is out of range, which is "1m" to "3650d"
  hint: expected a duration from "1m" to "3650d", such as "90d", or "none"
config.toml:7:1: unknown key "kee" in [trust.accept[0]]
  hint: did you mean "key"?
config.toml:8:1: trust.accept[1]: it does not say who is trusted: one of key, certificates, keyless or notation is missing
  hint: known here: name, scopes, key, certificates, keyless, notation
config.toml:9:1: trust.accept[2]: more than one of key, certificates, keyless or notation: write an entry for each
  hint: known here: name, scopes, key, certificates, keyless, notation
config.toml:13:13: unknown key "isuer" in [trust.accept[3].keyless]
  hint: did you mean "issuer"?
config.toml:14:1: trust.accept[4]: keyless.subject is missing
  hint: known here: name, scopes, key, certificates, keyless, notation
config.toml:14:1: trust.accept[4]: keyless.trusted_root is missing
  hint: known here: name, scopes, key, certificates, keyless, notation
config.toml:17:10: trust.accept[5].scopes: "https://registry.example/x" is no pattern of repositories
  hint: write host/repository, such as "registry.example/hpc/*"
config.toml:19:12: trust.accept[6].notation: expected a table, found a value
  hint: write notation = { roots = …, identities = …, tsa = … }
"#
    );
}

#[test]
fn files_that_are_no_keys_are_never_off() {
    let private = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n";
    let site = Site::new(&[
        (
            "config.toml",
            "[trust]\nmode = \"require\"\nrevoked = \"DIR/revoked\"\n[[trust.accept]]\nkey = \"DIR/missing.pub\"\n\
             [[trust.accept]]\nkey = \"DIR/cosign.key\"\n[[trust.accept]]\nkey = \"DIR/roots.pem\"\nname = \"cosign.key\"\n",
        ),
        ("cosign.key", private),
        ("revoked", "\nmy key\n"),
    ]);
    assert_eq!(
        site.report(None),
        r#"config.toml:8:1: trust.accept[2]: another signer is called "cosign.key", too
  hint: give each entry a name of its own
config.toml:5:1: trust.accept[0].key: missing.pub: cannot be read: No such file or directory (os error 2)
config.toml:7:1: trust.accept[1].key: cosign.key: a private key
  hint: name the public key here, and keep the private one off this node
config.toml:9:1: trust.accept[2].key: roots.pem: no public key in PEM
  hint: `cosign public-key --key cosign.key` prints one
config.toml:3:1: trust.revoked: revoked:2: "my" is no digest
  hint: write sha256: and 64 lower-case hex digits, one per line
"#
    );
    assert!(site.load(None).unwrap_err().deny("default", None), "it says require");
    // An entry that is refused keeps its place.
    let site = Site::new(&[(
        "config.toml",
        "[[trust.accept]]\nkee = \"/x\"\n[[trust.accept]]\n\nkey = \"DIR/missing.pub\"\n",
    )]);
    let report = site.report(None);
    assert!(report.contains("config.toml:5:1: trust.accept[1].key: missing.pub: "), "{report}");
}

#[test]
fn a_broken_configuration_refuses_only_where_it_says_require() {
    let denies = |files: &[(&str, &str)], profile: Option<&str>| {
        let errors = Site::new(files).load(profile).unwrap_err();
        (errors.deny("default", None), errors.deny("k8s.io", Some("kube-system")))
    };
    let require = "[trust]\nmode = \"require\"\n";
    let off = "[trust]\nmode = \"require\"\n[namespaces.kube-system]\nmode = \"off\"\n";
    assert_eq!(denies(&[("config.toml", "nonsense = 1")], None), (false, false));
    assert_eq!(denies(&[("config.toml", require), ("conf.d/a.toml", "nonsense = 1")], None), (true, true));
    assert_eq!(
        denies(&[("config.toml", off), ("conf.d/a.toml", "mode = ")], None),
        (true, false),
        "the kill switch holds"
    );
    let base = |text| [("config.toml", text), ("profiles/p.toml", "[trust]\nmode = \"off\"\n")];
    assert_eq!(denies(&base(require), Some("p")), (true, true), "a profile that loosens");
    assert_eq!(denies(&[("config.toml", ""), ("profiles/p.toml", "nonsense = 1")], Some("p")), (false, false));
    assert_eq!(denies(&[("config.toml", require)], Some("p")), (true, true), "no such profile");
    let many: String = (0..200).map(|number| format!("k{number} = 1\n")).collect();
    let after = format!("{many}{off}");
    assert_eq!(denies(&[("config.toml", &after)], None), (true, false), "after any number of mistakes");
    assert_eq!(denies(&[("config.toml", &many), ("conf.d/a.toml", off)], None), (true, false), "in another file");
    // What is no TOML switches nothing off that the rest of the same file says.
    for typo in
        ["mode = \n", "mode = \"select\n", "[cache\n", "log = { file = }\n", "a = 1\na = 2\n", "= 3\n", "x = 08\n"]
    {
        assert_eq!(denies(&[("config.toml", &format!("{typo}{off}"))], None), (true, false), "{typo:?} before");
        assert_eq!(denies(&[("config.toml", &format!("{off}[log]\n{typo}"))], None), (true, false), "{typo:?} after");
    }
}

#[test]
fn a_broken_configuration_still_says_where_the_state_lies() {
    for text in ["state = \"/s\"\nnonsense = 1\n", "state = \"/s\"\nmode = \n", "mode = \nstate = \"/s\"\n"] {
        let errors = Site::new(&[("config.toml", text)]).load(None).unwrap_err();
        assert_eq!(errors.state(), Path::new("/s"), "{text:?}");
    }
    let errors = Site::new(&[("config.toml", "state = 1")]).load(None).unwrap_err();
    assert_eq!(errors.state(), Config::default().state);
}

#[test]
fn a_profile_narrows_and_adds_revocations() {
    let revoked = format!("[trust]\nrevoked = [\"sha256:{}\"]\n", "a".repeat(64));
    let site = Site::new(&[
        (
            "config.toml",
            &format!("{revoked}[[trust.accept]]\nkey = \"DIR/vendor.pub\"\n[[trust.accept]]\nkey = \"DIR/lab.pub\"\n"),
        ),
        (
            "profiles/signed.toml",
            &format!(
                "[trust]\nmode = \"require\"\nrevoked = [\"sha256:{}\"]\n[[trust.accept]]\nkey = \"DIR/lab.pub\"\nscopes = [\"r.example/lab/*\"]\n",
                "b".repeat(64)
            ),
        ),
    ]);
    let trust = site.load(Some("signed")).unwrap().selection.policy.trust;
    assert_eq!((trust.mode, trust.accept.len(), trust.revoked_digests.len()), (TrustMode::Require, 1, 2));
    let base = site.load(None).unwrap().selection.policy.trust;
    assert_eq!((base.mode, base.accept.len(), base.revoked_digests.len()), (TrustMode::Off, 2, 1));
}

#[test]
fn a_profile_trusts_nobody_where_the_site_trusts_nobody() {
    for (base, allowed) in [
        ("", true),
        ("[trust]\nmode = \"warn\"\n", true),
        ("[trust]\nmode = \"enforce\"\n", false),
        ("[trust]\nmode = \"require\"\n", false),
        ("[trust]\nimage = \"index\"\n", false),
    ] {
        let profile = format!("{base}[[trust.accept]]\nkey = \"DIR/lab.pub\"\n");
        let site = Site::new(&[("config.toml", base), ("profiles/p.toml", &profile)]);
        let loaded = site.load(Some("p")).map_err(|errors| errors.to_string());
        let loosened = loaded.as_ref().is_err_and(|why| why.contains("trust.accept: a profile may only tighten"));
        assert_eq!((loaded.is_ok(), loosened), (allowed, !allowed), "{base:?}: {loaded:?}");
    }
}

#[test]
fn a_profile_keeps_the_order_of_the_signers() {
    let list = |names: &[&str]| -> String {
        names.iter().map(|name| format!("[[trust.accept]]\nkey = \"DIR/{name}.pub\"\n")).collect()
    };
    for (names, allowed) in [
        (&["vendor", "lab", "site"][..], true),
        (&["vendor", "site"], true),
        (&["site", "lab"], false),
        (&["lab", "vendor"], false),
    ] {
        let (base, profile) = (list(&["vendor", "lab", "site"]), list(names));
        let site = Site::new(&[("site.pub", KEY), ("config.toml", &base), ("profiles/p.toml", &profile)]);
        assert_eq!(site.load(Some("p")).is_ok(), allowed, "{names:?}");
    }
}

#[test]
fn a_profile_that_loosens_trust_is_an_error() {
    let site = Site::new(&[
        (
            "config.toml",
            "[trust]\nmode = \"enforce\"\nimage = \"index\"\nmax_age = \"1d\"\nimage_verifiers = \"/opt/v\"\n[[trust.accept]]\n\
             key = \"DIR/vendor.pub\"\nscopes = [\"r.example/a\"]\n",
        ),
        (
            "profiles/lax.toml",
            "[trust]\nmode = \"warn\"\nimage = \"index-or-entry\"\nmax_age = \"2d\"\nimage_verifiers = \"none\"\n[[trust.accept]]\n\
             key = \"DIR/vendor.pub\"\n",
        ),
    ]);
    let report = site.report(Some("lax"));
    let lines: Vec<&str> = report.lines().filter(|line| !line.starts_with("  hint")).collect();
    let loosens = |place: &str, key: &str| {
        format!("profiles/lax.toml:{place}: trust.{key}: a profile may only tighten what the other files say")
    };
    assert_eq!(
        lines,
        [
            loosens("2:1", "mode"),
            loosens("3:1", "image"),
            loosens("4:1", "max_age"),
            loosens("6:1", "accept"),
            loosens("5:1", "image_verifiers"),
        ]
    );
}
