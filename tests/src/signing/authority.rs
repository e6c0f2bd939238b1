//! Owns a small real certificate authority, made by `openssl`: a root, one below it, and leaves of any period.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{Algorithm, Desk, shown};

/// When a certificate is valid, in the form of `openssl ca`: `YYYYMMDDHHMMSSZ`.
#[derive(Debug, Clone)]
pub struct Valid {
    from: String,
    until: String,
}

impl Valid {
    /// For years, from the past.
    pub fn long() -> Self {
        Self::between("20200101000000Z", "20991231235959Z")
    }

    /// Over since 2021.
    pub fn over() -> Self {
        Self::between("20200101000000Z", "20210101000000Z")
    }

    /// Begins in 2098.
    pub fn not_yet() -> Self {
        Self::between("20980101000000Z", "20991231235959Z")
    }

    /// From the past until a point in time, in seconds since 1970 UTC.
    pub fn until(seconds: i64) -> Self {
        let text = bestfit_selector::time::Time { seconds, nanos: 0 }.to_string();
        let digits: String = text.chars().filter(|c| c.is_ascii_digit() || *c == 'Z').collect();
        Self::between("20200101000000Z", &digits)
    }

    fn between(from: &str, until: &str) -> Self {
        Self { from: from.to_owned(), until: until.to_owned() }
    }
}

/// The authority.
#[derive(Debug, Clone)]
pub struct Authority {
    dir: PathBuf,
    /// Its root certificate as PEM, for the policy.
    pub root: PathBuf,
}

/// A certificate for signing with its key.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The key as PKCS#8 PEM.
    pub(super) key: PathBuf,
    /// The same as cosign keeps it.
    pub(super) cosign_key: PathBuf,
    /// The certificate as PEM.
    pub certificate: PathBuf,
    /// What is above it, up to the root.
    pub(super) issuers: PathBuf,
    /// All of them.
    pub(super) chain: PathBuf,
}

impl Authority {
    /// The entry of a policy that trusts what is below it, in one of the forms `certificates` and `notation`.
    pub fn accepted(&self, form: &str) -> String {
        format!("[[trust.accept]]\n{form}.roots = {:?}\n", self.root)
    }
}

/// The name in every leaf: of `subjectAltName` the e-mail.
pub const IDENTITY: &str = "builder@vendor.example";

impl Desk {
    /// The authority of that name; it is made when it is asked for first.
    pub fn authority(&self, name: &str) -> Authority {
        let dir = self.dir.join(name);
        let root = dir.join("root.pem");
        if !root.exists() {
            std::fs::create_dir_all(&dir).expect("the authority's directory");
            std::fs::write(dir.join("openssl.cnf"), configuration(&shown(&dir))).expect("openssl's configuration");
            std::fs::write(dir.join("index.txt"), "").expect("the authority's list");
            std::fs::write(dir.join("serial"), "1000\n").expect("the first serial number");
            self.self_signed(&dir, name);
        }
        Authority { dir, root }
    }

    /// The root is older than any leaf: cosign holds a chain against the leaf's first day.
    fn self_signed(&self, dir: &Path, name: &str) {
        let file = |name: &str| shown(&dir.join(name));
        let (key, request, config) = (file("root.key"), file("root.csr"), file("openssl.cnf"));
        self.openssl(&[&["genpkey", "-out", &key], Algorithm::P256.options()].concat());
        let subject = subject(&format!("{name} root"));
        self.openssl(&["req", "-new", "-config", &config, "-key", &key, "-subj", &subject, "-out", &request]);
        let period = ["-startdate", "20150101000000Z", "-enddate", "20991231235959Z"];
        let args = ["ca", "-selfsign", "-batch", "-notext", "-config", &config, "-extensions", "root"];
        self.openssl(&[&args, period.as_slice(), &["-in", &request, "-out", &file("root.pem")]].concat());
    }

    /// A leaf for signing code directly below the root (cosign's bundles carry no chain).
    pub fn leaf(&self, authority: &Authority, name: &str, valid: &Valid) -> Leaf {
        self.issue(authority, name, "leaf", valid)
    }

    /// A leaf with the given extensions of the authority's configuration: `leaf`, `stamps`.
    pub(super) fn issue(&self, authority: &Authority, name: &str, extensions: &str, valid: &Valid) -> Leaf {
        let file = |kind: &str| authority.dir.join(format!("{name}.{kind}"));
        let leaf = Leaf {
            key: file("pkcs8"),
            cosign_key: file("key"),
            certificate: file("pem"),
            issuers: authority.root.clone(),
            chain: file("chain"),
        };
        if leaf.chain.exists() {
            return leaf;
        }
        let (request, config) = (shown(&file("csr")), shown(&authority.dir.join("openssl.cnf")));
        let (key, certificate) = (shown(&leaf.key), shown(&leaf.certificate));
        self.openssl(&[&["genpkey", "-out", &key], Algorithm::P256.options()].concat());
        let subject = subject(name);
        self.openssl(&["req", "-new", "-config", &config, "-key", &key, "-subj", &subject, "-out", &request]);
        let period = ["-startdate", &valid.from, "-enddate", &valid.until];
        let args = ["ca", "-batch", "-notext", "-config", &config, "-extensions", extensions];
        self.openssl(&[&args, period.as_slice(), &["-in", &request, "-out", &certificate]].concat());
        self.import(&leaf.key, &authority.dir.join(name));
        let read = |file: &PathBuf| std::fs::read_to_string(file).expect("a certificate");
        std::fs::write(&leaf.chain, read(&leaf.certificate) + &read(&authority.root)).expect("the chain");
        leaf
    }
}

/// notation wants country, state and organisation in the names that its trust policies compare.
fn subject(name: &str) -> String {
    format!("/C=US/ST=WA/O=Vendor/CN={name}")
}

fn configuration(dir: &str) -> String {
    let mut text = String::from("[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = unused\n");
    let ca = "policy = any\ndefault_md = sha256\nunique_subject = no\nemail_in_dn = no";
    write!(text, "[ca]\ndefault_ca = this\n[this]\ndatabase = {dir}/index.txt\nnew_certs_dir = {dir}\n").expect("text");
    writeln!(text, "serial = {dir}/serial\ncertificate = {dir}/root.pem\nprivate_key = {dir}/root.key\n{ca}")
        .expect("text");
    text += "[any]\ncountryName = supplied\nstateOrProvinceName = supplied\norganizationName = supplied\ncommonName = supplied\n";
    let (end, signs) = ("basicConstraints = critical, CA:FALSE", "keyUsage = critical, digitalSignature");
    let names = format!("subjectAltName = email:{IDENTITY}");
    let certifies = "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign";
    writeln!(text, "[root]\n{certifies}\nsubjectKeyIdentifier = hash").expect("text");
    writeln!(text, "[leaf]\n{end}\n{signs}\nextendedKeyUsage = codeSigning\n{names}").expect("text");
    writeln!(text, "[stamps]\n{end}\n{signs}\nextendedKeyUsage = critical, timeStamping").expect("text");
    text
}
