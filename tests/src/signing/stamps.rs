//! Owns a time-stamping authority (RFC 3161) on 127.0.0.1: `openssl ts` behind a server of ours.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use super::authority::Valid;
use super::{Authority, Desk, shown};
use crate::command;
use crate::hostile::{Answer, Hostile, Request};

/// The authority; it ends with the value.
#[derive(Debug)]
pub struct Stamps {
    server: Hostile,
    /// Its certificate and the root above as PEM, for the policy: tokens that cosign asks for carry no certificate.
    pub chain: PathBuf,
}

impl Desk {
    /// A time-stamping authority below the root of a certificate authority.
    pub fn stamps(&self, authority: &Authority) -> Stamps {
        let leaf = self.issue(authority, "stamps", "stamps", &Valid::long());
        let dir = self.dir.join("stamps");
        std::fs::create_dir_all(&dir).expect("the directory of the time-stamping authority");
        let text = format!(
            "[stamps]\nserial = {dir}/serial\nsigner_cert = {}\ncerts = {}\nsigner_key = {}\nsigner_digest = sha256\n\
             default_policy = 1.2.3.4.1\ndigests = sha256, sha384, sha512\ness_cert_id_alg = sha256\n",
            leaf.certificate.display(),
            authority.root.display(),
            leaf.key.display(),
            dir = dir.display(),
        );
        std::fs::write(dir.join("openssl.cnf"), text).expect("openssl's configuration");
        std::fs::write(dir.join("serial"), "01\n").expect("the first serial number");
        let (openssl, turn) = (self.openssl.clone(), Mutex::new(()));
        let server = Hostile::alone(move |request| {
            // One question at a time: they share files.
            let _turn = turn.lock();
            stamp(&openssl, &dir, request)
        });
        Stamps { server, chain: leaf.chain }
    }
}

impl Stamps {
    /// How `cosign signing-config create` names it.
    pub(super) fn as_service(&self) -> [String; 2] {
        let service =
            format!("http://{}/,api-version=1,start-time=2020-01-01T00:00:00Z,operator=local", self.server.host);
        [format!("--tsa=url={service}"), "--tsa-config=EXACT:1".to_owned()]
    }
}

fn stamp(openssl: &Path, dir: &Path, request: &Request) -> Answer {
    let (question, answer) = (dir.join("question.tsq"), dir.join("answer.tsr"));
    std::fs::write(&question, &request.body).expect("the question");
    let mut command = std::process::Command::new(openssl);
    command.args(["ts", "-reply", "-section", "stamps", "-config", &shown(&dir.join("openssl.cnf"))]);
    command.args(["-queryfile", &shown(&question), "-out", &shown(&answer)]);
    let done = command::run(&mut command, Duration::from_secs(10));
    match std::fs::read(&answer) {
        Ok(bytes) if done.is_ok() => Answer::ok("application/timestamp-reply", bytes),
        _ => Answer::status(500),
    }
}
