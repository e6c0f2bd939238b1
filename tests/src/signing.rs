//! Owns signing what lies in the registries of the tests, by the real `cosign` and `notation`: without any network but those
//! registries, with keys and configuration in the run's own directory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::command::{self, Output};
use crate::image::digest;
use crate::{isolate, peers};

mod authority;
pub mod keyless;
mod stamps;

pub use authority::{Authority, IDENTITY, Leaf, Valid};
pub use stamps::Stamps;

const LIMIT: Duration = Duration::from_secs(60);

/// The algorithm of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA over P-256.
    P256,
    /// ECDSA over P-384.
    P384,
    /// RSA of 2048 bits.
    Rsa,
    /// Ed25519, which cosign uses as Ed25519ph.
    Ed25519,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::P256, Self::P384, Self::Rsa, Self::Ed25519];

    /// What `openssl genpkey` is told.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::P256 => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            Self::P384 => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
            Self::Rsa => &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            Self::Ed25519 => &["-algorithm", "ED25519"],
        }
    }
}

/// A key pair of cosign.
#[derive(Debug, Clone)]
pub struct Key {
    private: PathBuf,
    /// The public key as PEM, for the policy.
    pub public: PathBuf,
}

impl Key {
    /// The entry of a policy that trusts it; its signer is called as its file.
    pub fn accepted(&self) -> String {
        format!("[[trust.accept]]\nkey = {:?}\n", self.public)
    }

    /// SHA-256 over the public key in DER form, as policies revoke it.
    pub fn fingerprint(&self) -> String {
        let pem = std::fs::read_to_string(&self.public).expect("a public key");
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        digest(&STANDARD.decode(body).expect("PEM"))
    }
}

/// How something is signed.
#[derive(Debug, Clone, Copy)]
pub enum Way<'a> {
    /// By a key, as a bundle that refers to its subject: what cosign 3 does.
    Bundle(&'a Key),
    /// By a key, in the older form under the tag `sha256-<hex>.sig`.
    OldForm(&'a Key),
    /// By the key of a certificate, as a bundle.
    Certificate(&'a Leaf),
    /// The same with the token of a time-stamping authority.
    Stamped(&'a Leaf, &'a Stamps),
    /// By notation, as JWS.
    Jws(&'a Leaf),
    /// By notation, as COSE.
    Cose(&'a Leaf),
}

/// The place where keys lie and signatures are made; one per run.
#[derive(Debug)]
pub struct Desk {
    dir: PathBuf,
    cosign: PathBuf,
    openssl: PathBuf,
}

/// The desk of this run, or what is missing for one.
pub fn desk() -> Result<&'static Desk, String> {
    static DESK: OnceLock<Result<Desk, String>> = OnceLock::new();
    DESK.get_or_init(Desk::open).as_ref().map_err(Clone::clone)
}

impl Desk {
    fn open() -> Result<Self, String> {
        let program = |name: &str| peers::program(name).ok_or_else(|| format!("{name} is missing: run `make setup`"));
        let (cosign, openssl) = (program("cosign")?, program("openssl")?);
        let dir = isolate::dir().join("desk");
        std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let desk = Self { dir, cosign, openssl };
        desk.services("no-services.json", &[]);
        Ok(desk)
    }

    /// The key pair of that name; it is made when it is asked for first.
    pub fn key(&self, name: &str, algorithm: Algorithm) -> Key {
        let stem = self.dir.join(name);
        let key = Key { private: stem.with_extension("key"), public: stem.with_extension("pub") };
        if !key.public.exists() {
            let plain = stem.with_extension("pem");
            self.openssl(&[&["genpkey", "-out", &shown(&plain)], algorithm.options()].concat());
            self.import(&plain, &stem);
        }
        key
    }

    /// Signs `host/repository@digest`.
    #[track_caller]
    pub fn sign(&self, target: &str, way: Way<'_>) {
        let quiet = shown(&self.dir.join("no-services.json"));
        let certified = |leaf: &Leaf| {
            let parts = [("--certificate", &leaf.certificate), ("--certificate-chain", &leaf.issuers)];
            parts.iter().flat_map(|(flag, file)| [(*flag).to_owned(), shown(file)]).collect::<Vec<_>>()
        };
        match way {
            Way::Bundle(key) => self.cosign_sign(target, &key.private, &quiet, &[]),
            Way::OldForm(key) => {
                let flags = ["--use-signing-config=false", "--new-bundle-format=false", "--tlog-upload=false"];
                let key = shown(&key.private);
                self.cosign(&[&["sign", "--key", &key], flags.as_slice(), PUSH, &[target]].concat()).ok();
            }
            Way::Certificate(leaf) => self.cosign_sign(target, &leaf.cosign_key, &quiet, &certified(leaf)),
            Way::Stamped(leaf, stamps) => {
                let services = self.services("stamped.json", &stamps.as_service());
                self.cosign_sign(target, &leaf.cosign_key, &services, &certified(leaf));
            }
            Way::Jws(leaf) => self.notation_sign(target, leaf, "jws"),
            Way::Cose(leaf) => self.notation_sign(target, leaf, "cose"),
        }
    }

    /// Attests `host/repository@digest` by a key: a statement about it of another type than a signature's.
    #[track_caller]
    pub fn attest(&self, target: &str, key: &Key, predicate_type: &str) {
        let predicate = self.dir.join("predicate.json");
        std::fs::write(&predicate, r#"{"said": "something"}"#).expect("predicate");
        let services = shown(&self.dir.join("no-services.json"));
        let (private, predicate) = (shown(&key.private), shown(&predicate));
        let args = ["attest", "--key", &private, "--signing-config", &services, "--predicate", &predicate];
        self.cosign(&[&args, ["--type", predicate_type].as_slice(), PUSH, &[target]].concat()).ok();
    }

    #[track_caller]
    fn cosign_sign(&self, target: &str, key: &Path, services: &str, more: &[String]) {
        let key = shown(key);
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let args = ["sign", "--key", &key, "--signing-config", services];
        self.cosign(&[&args, more.as_slice(), PUSH, &[target]].concat()).ok();
    }

    #[track_caller]
    fn notation_sign(&self, target: &str, leaf: &Leaf, format: &str) {
        let notation = peers::program("notation").expect("notation: run `make setup`");
        let keys = json!({"keys": [{"name": "k", "keyPath": leaf.key, "certPath": leaf.chain}]});
        let dir = self.dir.join(".config/notation");
        std::fs::create_dir_all(&dir).expect("notation's directory");
        std::fs::write(dir.join("signingkeys.json"), keys.to_string()).expect("notation's keys");
        let mut command = self.command(&notation);
        command.args(["sign", "--insecure-registry", "--key", "k", "--signature-format", format, target]);
        command::run(&mut command, LIMIT).ok();
    }

    /// Writes what cosign may call besides the registry, and gives the file.
    fn services(&self, name: &str, more: &[String]) -> String {
        let file = shown(&self.dir.join(name));
        let none = ["fulcio", "oidc", "rekor", "tsa"].map(|service| format!("--no-default-{service}"));
        let args: Vec<&str> = none.iter().chain(more).map(String::as_str).collect();
        self.cosign(&[&["signing-config", "create", "--out", &file], args.as_slice()].concat()).ok();
        file
    }

    /// Makes a plain private key one of cosign's: `<stem>.key` and `<stem>.pub`.
    fn import(&self, plain: &Path, stem: &Path) {
        self.cosign(&["import-key-pair", "--yes", "--key", &shown(plain), "--output-key-prefix", &shown(stem)]).ok();
    }

    fn cosign(&self, args: &[&str]) -> Output {
        command::run(self.command(&self.cosign).args(args), LIMIT)
    }

    #[track_caller]
    fn openssl(&self, args: &[&str]) {
        command::run(self.command(&self.openssl).args(args), LIMIT).ok();
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &self.dir).current_dir(&self.dir);
        // cosign's private keys are encrypted with it; these are worth nothing.
        command.env("XDG_CONFIG_HOME", self.dir.join(".config")).env("COSIGN_PASSWORD", "test");
        command
    }
}

/// Every push of cosign: plain HTTP, and no question.
const PUSH: &[&str] = &["--allow-http-registry", "--yes"];

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The recorded public keyless bundle, which lies beside the repository where it may; or why it is not there.
pub fn recorded_keyless() -> Result<(Value, PathBuf), String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/sigstore");
    let file = dir.join("public-keyless-bundle-without-tsa.json");
    let bytes = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let bundle = serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok((bundle, dir.join("trusted_root.json")))
}
