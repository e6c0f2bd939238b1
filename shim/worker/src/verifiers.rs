//! Owns asking the programs that containerd asks about images (containerd, docs/image-verification.md, and
//! pkg/imageverifier/bindir): what must be verified before containerd pulls it must be verified before bestfit runs another part
//! of it. Their word counts for the index; that the entry is one of it is checked elsewhere.
//!
//! They are called as containerd calls them, with less patience: no program at all, or others that could change one, is no yes,
//! and all of them share one limit of time.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bestfit_hostprobe::hook::ends_with_parent;
use bestfit_selector::digest::Digest;
use bestfit_selector::json;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::subject::Subject;

/// How long all of them may take; containerd gives each 10 seconds.
pub(crate) const WITHIN: Duration = Duration::from_secs(10);
/// The most programs that are asked. containerd's `max_verifiers` is 10 unless it is told otherwise, and it passes over the
/// others: to ask those as well is never laxer.
const MAX_VERIFIERS: usize = 32;
/// All that they find in their environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What the descriptor on their standard input is.
const DESCRIPTOR: &str = "application/vnd.oci.descriptor.v1+json";
/// The most bytes of their reasons that are kept, as containerd does; what comes after them is read and dropped.
const MAX_SAID: u64 = 32 << 10;

/// What they are asked about.
pub(crate) struct Target {
    name: String,
    digest: Digest,
    descriptor: String,
}

impl Target {
    /// The index of a container, by the name that its user gave.
    pub(crate) fn of(subject: &Subject) -> Self {
        let (digest, size) = (subject.index_digest, subject.index_bytes.len());
        let descriptor = serde_json::json!({ "mediaType": subject.index_type, "digest": digest, "size": size });
        // containerd's encoder ends it with a line feed.
        Self { name: subject.reference.clone(), digest, descriptor: format!("{descriptor}\n") }
    }
}

/// Asks all programs of a directory, in the order of their names. An error is the first no, or what kept one from answering.
pub(crate) async fn ask(dir: &Path, target: &Target, within: Duration) -> Result<(), String> {
    let programs = programs(dir)?;
    let asking = async {
        for program in &programs {
            one(program, target).await?;
        }
        Ok(())
    };
    let late = |_| Err(format!("the image verifiers in {} gave no answer within {within:?}", dir.display()));
    tokio::time::timeout(within, asking).await.unwrap_or_else(late)
}

/// The programs. None at all is no yes: the site says that there are some.
fn programs(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: io::Error| format!("image verifiers in {}: {error}", dir.display());
    only_roots(dir)?;
    let mut programs = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        programs.push(entry.map_err(failed)?.path());
        if programs.len() > MAX_VERIFIERS {
            return Err(format!("more than {MAX_VERIFIERS} image verifiers in {}", dir.display()));
        }
    }
    programs.sort();
    programs.iter().try_for_each(|program| only_roots(program))?;
    if programs.is_empty() { Err(format!("no image verifier in {}", dir.display())) } else { Ok(programs) }
}

/// Whoever can write a program decides what it says.
fn only_roots(path: &Path) -> Result<(), String> {
    let data = fs::metadata(path).map_err(|error| format!("image verifier {}: {error}", path.display()))?;
    match data.uid() == 0 && data.mode() & 0o022 == 0 {
        true => Ok(()),
        false => Err(format!("image verifier {}: others than root could change it", path.display())),
    }
}

async fn one(program: &Path, target: &Target) -> Result<(), String> {
    let failed = |error: io::Error| format!("image verifier {}: {error}", program.display());
    let digest = target.digest.to_string();
    let mut command = std::process::Command::new(program);
    ends_with_parent(&mut command);
    let mut child = Command::from(command)
        .args(["-name", &target.name, "-digest", &digest, "-stdin-media-type", DESCRIPTOR])
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let _group = Group(child.id());
    // Where memory runs out, it is killed before what started the worker.
    let _ = child.id().map(|pid| fs::write(format!("/proc/{pid}/oom_score_adj"), "1000"));
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read is no failure: the arguments say it all.
        let _ = stdin.write_all(target.descriptor.as_bytes()).await;
    }
    let mut said = Vec::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.take(MAX_SAID).read_to_end(&mut said).await.map_err(failed)?;
        // One that says more must not die of a closed pipe.
        tokio::io::copy(stdout, &mut tokio::io::sink()).await.map_err(failed)?;
    }
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    let said = json::plain(String::from_utf8_lossy(&said).trim(), 300);
    Err(format!("image verifier {} says no to {digest} ({status}): {said}", program.display()))
}

/// What a program started ends with it, however that is.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            let _ = killpg(Pid::from_raw(leader.cast_signed()), Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn target() -> Target {
        Target { name: "localhost/a:1".to_owned(), digest: Digest::of(b"index"), descriptor: "{}".to_owned() }
    }

    fn program(dir: &Path, name: &str, script: &str) {
        let file = dir.join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    async fn asked(dir: &Path, within: Duration) -> Result<(), String> {
        ask(dir, &target(), within).await.map_err(|why| why.replace(&dir.display().to_string(), "DIR"))
    }

    #[test]
    fn one_ends_with_who_started_it() {
        use std::os::unix::process::ExitStatusExt;
        let mut command = std::process::Command::new("sleep");
        command.arg("60");
        ends_with_parent(&mut command);
        let mut child = std::thread::spawn(move || command.spawn().unwrap()).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn all_must_say_yes() {
        let dir = tempfile::tempdir().unwrap();
        if fs::metadata(dir.path()).unwrap().uid() != 0 {
            return eprintln!("SKIP: image verifiers must belong to root, and this test does not run as root");
        }
        let long = Duration::from_secs(60);
        assert_eq!(asked(dir.path(), long).await.unwrap_err(), "no image verifier in DIR");
        let arguments = format!("-name localhost/a:1 -digest {} -stdin-media-type {DESCRIPTOR}", Digest::of(b"index"));
        program(dir.path(), "10-yes", &format!("[ \"$*\" = \"{arguments}\" ] && [ \"$(cat)\" = \"{{}}\" ]"));
        assert_eq!(asked(dir.path(), long).await, Ok(()));
        program(dir.path(), "20-no", "echo not signed; exit 1");
        let digest = Digest::of(b"index");
        let no = format!("image verifier DIR/20-no says no to {digest} (exit status: 1): not signed");
        assert_eq!(asked(dir.path(), long).await, Err(no));
        program(dir.path(), "20-no", "head -c 1000000 /dev/zero || exit 1");
        assert_eq!(asked(dir.path(), long).await, Ok(()), "one that says much has said yes");
        program(dir.path(), "20-no", "until [ \"$(cat /proc/$$/oom_score_adj)\" = 1000 ]; do sleep 0.01; done");
        assert_eq!(asked(dir.path(), long).await, Ok(()), "it is killed for memory first");
        for script in ["cat /dev/zero", "sleep 60 & exit 0"] {
            program(dir.path(), "20-no", script);
            let late = asked(dir.path(), Duration::from_millis(50)).await.unwrap_err();
            assert!(late.contains("gave no answer"), "{script}: {late}");
        }
        program(dir.path(), "20-no", "kill -9 $$");
        assert!(asked(dir.path(), long).await.unwrap_err().contains("says no"));
        program(dir.path(), "20-no", "sleep 60");
        let late = asked(dir.path(), Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(late, "the image verifiers in DIR gave no answer within 50ms");
        fs::set_permissions(dir.path().join("20-no"), fs::Permissions::from_mode(0o777)).unwrap();
        let changeable = asked(dir.path(), long).await.unwrap_err();
        assert_eq!(changeable, "image verifier DIR/20-no: others than root could change it");
        (0..=MAX_VERIFIERS).for_each(|number| program(dir.path(), &format!("n{number}"), "exit 0"));
        assert_eq!(asked(dir.path(), long).await.unwrap_err(), "more than 32 image verifiers in DIR");
        assert!(asked(&dir.path().join("none"), long).await.unwrap_err().contains("No such file"));
    }
}
