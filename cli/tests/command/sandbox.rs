//! A directory of its own for each test, and the binary run in it with an environment that names nothing of this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

/// A child that is forked while another thread writes a program keeps that file open until it execs, and the program
/// cannot be started meanwhile (ETXTBSY).
static FORKING: Mutex<()> = Mutex::new(());

/// Writes programs while no other thread of this test binary forks.
pub(crate) fn without_forks(write: impl FnOnce()) {
    let _guard = FORKING.lock().unwrap_or_else(PoisonError::into_inner);
    write();
}

pub(crate) fn spawn(mut command: Command) -> Child {
    let _guard = FORKING.lock().unwrap_or_else(PoisonError::into_inner);
    command.spawn().unwrap()
}

pub(crate) struct Sandbox(tempfile::TempDir);

/// How a run ended, with the sandbox's own path replaced by `DIR`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    /// With a configuration that keeps cache and state inside.
    pub(crate) fn new() -> Self {
        let sandbox = Self(tempfile::tempdir().unwrap());
        let at = |name: &str| sandbox.path(name).display().to_string();
        sandbox.write(
            "config.toml",
            &format!(
                "state = {:?}\n[registries]\nhosts_dir = {:?}\ndocker_config = \"none\"\n[cache]\ndir = {:?}\n",
                at("state"),
                at("certs.d"),
                at("cache")
            ),
        );
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.path(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        file
    }

    pub(crate) fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .env("BESTFIT_CONFIG", self.path("config.toml"))
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn bestfit(&self, arguments: &[&str]) -> Run {
        self.finish(self.command(Path::new(env!("CARGO_BIN_EXE_bestfit")), arguments))
    }

    pub(crate) fn bestfit_with_input(&self, arguments: &[&str], input: &[u8]) -> Run {
        std::fs::write(self.path("stdin"), input).unwrap();
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_bestfit")), arguments);
        command.stdin(fs::File::open(self.path("stdin")).unwrap());
        self.finish(command)
    }

    pub(crate) fn finish(&self, command: Command) -> Run {
        let Output { status, stdout, stderr } = spawn(command).wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(&self.0.path().display().to_string(), "DIR");
        Run { code: status.code().expect("no signal"), stdout: text(stdout), stderr: text(stderr) }
    }
}

impl Run {
    /// The exit code and all of standard error; nothing on standard output.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, stderr: &str) {
        assert_eq!((self.code, self.stdout.as_str(), self.stderr.as_str()), (code, "", stderr));
    }

    /// Exit code 0 and nothing on standard error.
    #[track_caller]
    pub(crate) fn prints(&self) -> &str {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{}", self.stdout);
        &self.stdout
    }
}
