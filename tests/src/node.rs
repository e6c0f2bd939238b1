//! Owns one containerd of a given line: its directories, configuration, environment, start, end and log.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::command::eventually;
use crate::ctr::Ctr;
use crate::peers::{self, Containerd};
use crate::{isolate, leftovers, record};

/// What a node is asked for besides its line.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether CRI is served as well.
    pub cri: bool,
    /// More lines of containerd's configuration.
    pub more: String,
}

/// bestfit's own configuration for a scenario.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `mode`.
    pub mode: &'static str,
    /// `[namespaces.NAME] mode`.
    pub namespaces: Vec<(String, &'static str)>,
    /// Keys of `[selection]` with their TOML values.
    pub selection: Vec<(&'static str, String)>,
    /// `delegate`.
    pub delegate: Option<String>,
    /// `[trust]` and what follows it, as TOML; nothing where it is empty.
    pub trust: String,
    /// `registries.docker_config`: where credentials lie.
    pub docker_config: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: "select",
            namespaces: Vec::new(),
            selection: Vec::new(),
            delegate: None,
            trust: String::new(),
            docker_config: None,
        }
    }
}

impl Settings {
    /// Sets one key of `[selection]`; words are quoted.
    #[must_use]
    pub fn select(mut self, key: &'static str, word: &str) -> Self {
        self.selection.push((key, format!("{word:?}")));
        self
    }

    /// Sets `trust.mode` and whom the site trusts: entries as [`crate::signing::Key::accepted`] writes them.
    #[must_use]
    pub fn trust(mut self, mode: &str, accept: &[String]) -> Self {
        self.trust = format!("[trust]\nmode = {mode:?}\n{}", accept.concat());
        self
    }
}

/// A running containerd; everything that it started ends with the value.
#[derive(Debug)]
pub struct Node {
    /// Its line.
    pub line: Containerd,
    /// Its directory: root, state, logs.
    pub dir: PathBuf,
    /// containerd's namespace that the scenarios use; it names their cgroups, so no other run has the same.
    pub namespace: String,
    options: Options,
    process: Option<Child>,
    fresh: usize,
    /// When a client was told to start a container, in milliseconds since 1970.
    asked: AtomicI64,
}

impl Node {
    /// Starts a containerd of that line and waits until it answers, or says what is missing.
    pub fn start(line: Containerd, options: Options) -> Result<Self, String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        for name in ["containerd", "ctr", "containerd-shim-runc-v2"] {
            line.program(name).ok_or_else(|| format!("{name} of {} is missing: run `make setup`", line.name()))?;
        }
        peers::program("runc").ok_or("runc is missing: run `make setup`")?;
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let dir = isolate::dir().join(format!("n{number}"));
        std::fs::create_dir_all(dir.join("bin")).map_err(|error| format!("{}: {error}", dir.display()))?;
        // The directory's name holds the number of the outermost process, which no other run has.
        let run = isolate::dir().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (namespace, asked) = (format!("{run}-{number}"), AtomicI64::new(0));
        let mut node = Self { line, dir, namespace, options, process: None, fresh: 0, asked };
        node.link_programs();
        node.write_configuration();
        node.configure(&Settings::default());
        node.resume();
        Ok(node)
    }

    /// A client of this containerd.
    pub fn ctr(&self) -> Ctr<'_> {
        Ctr::new(self)
    }

    /// Its gRPC socket.
    pub fn address(&self) -> PathBuf {
        self.dir.join("c.sock")
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.dir.join("containerd.log")
    }

    /// The process of containerd itself.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// The directory where containerd keeps the bundles of this namespace.
    pub fn bundles(&self) -> PathBuf {
        self.dir.join("state/io.containerd.runtime.v2.task").join(&self.namespace)
    }

    /// The directory of native snapshots and overlay layers.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Writes bestfit's configuration, with a cache, a state and a log that are new and empty.
    pub fn configure(&mut self, settings: &Settings) {
        self.fresh += 1;
        std::fs::create_dir_all(self.bestfit_dir()).expect("bestfit's directory");
        self.reconfigure(settings);
    }

    /// Writes bestfit's configuration, and keeps its cache, state and log.
    pub fn reconfigure(&self, settings: &Settings) {
        let dir = self.bestfit_dir();
        let mut text = format!("mode = {:?}\nstate = {:?}\n", settings.mode, dir.join("state"));
        if let Some(delegate) = &settings.delegate {
            writeln!(text, "delegate = {delegate:?}").expect("text");
        }
        writeln!(text, "[cache]\ndir = {:?}", dir.join("cache")).expect("text");
        writeln!(text, "[log]\nfile = {:?}\njournal = false", self.decisions()).expect("text");
        let docker_config = settings.docker_config.as_deref().unwrap_or(Path::new("none"));
        writeln!(text, "[registries]\nhosts_dir = {:?}", dir.join("certs.d")).expect("text");
        writeln!(text, "docker_config = {docker_config:?}").expect("text");
        text += "[selection]\n";
        for (key, value) in &settings.selection {
            writeln!(text, "{key} = {value}").expect("text");
        }
        for (namespace, mode) in &settings.namespaces {
            writeln!(text, "[namespaces.{namespace:?}]\nmode = {mode:?}").expect("text");
        }
        text += &settings.trust;
        self.write_bestfit(&text);
    }

    /// Writes bestfit's configuration as it is given, valid or not.
    pub fn write_bestfit(&self, text: &str) {
        std::fs::write(self.bestfit_config(), text).expect("bestfit's configuration");
    }

    /// Where containerd 2 looks for image verifiers.
    pub fn verifiers(&self) -> PathBuf {
        self.dir.join("verifiers")
    }

    /// The file that `BESTFIT_CONFIG` names.
    pub fn bestfit_config(&self) -> PathBuf {
        self.dir.join("bestfit.toml")
    }

    /// The log of decisions since the last [`Self::configure`].
    pub fn decisions(&self) -> PathBuf {
        self.bestfit_dir().join("decisions.jsonl")
    }

    /// bestfit's cache since the last [`Self::configure`].
    pub fn cache(&self) -> PathBuf {
        self.bestfit_dir().join("cache")
    }

    /// bestfit's state since the last [`Self::configure`].
    pub fn state(&self) -> PathBuf {
        self.bestfit_dir().join("state")
    }

    /// Where it remembers decisions since the last [`Self::configure`].
    pub fn remembered(&self) -> PathBuf {
        self.state().join("decisions")
    }

    /// Offers a profile: a link to our shim, and the file that is read over the configuration. Gives the runtime's name.
    pub fn profile(&self, name: &str, text: &str) -> String {
        let link = self.dir.join(format!("bin/containerd-shim-bestfit-{name}-v1"));
        std::fs::remove_file(&link).ok();
        std::os::unix::fs::symlink(peers::our_bin().join("containerd-shim-bestfit-v1"), link).expect("link");
        std::fs::create_dir_all(self.dir.join("profiles")).expect("profiles");
        std::fs::write(self.dir.join(format!("profiles/{name}.toml")), text).expect("a profile");
        format!("io.containerd.bestfit-{name}.v1")
    }

    fn bestfit_dir(&self) -> PathBuf {
        self.dir.join(format!("b{}", self.fresh))
    }

    /// The decisions since the last [`Self::configure`], the oldest first.
    pub fn records(&self) -> Vec<Value> {
        record::read(&self.decisions())
    }

    /// A client is about to start a container.
    pub(crate) fn asks(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_millis();
        self.asked.store(i64::try_from(now).expect("a time"), Ordering::SeqCst);
    }

    /// The record of the container that `ctr` was last told to start. It is written after the container has gone on, which may
    /// have ended by then: until it is there, the last one is an earlier container's.
    #[track_caller]
    pub fn last_record(&self) -> Value {
        let asked = self.asked.load(Ordering::SeqCst);
        let what = format!("a record of the last start in {}", self.decisions().display());
        eventually(&what, Duration::from_secs(10), || {
            self.records().pop().filter(|record| record::began(record) >= asked)
        })
    }

    /// The journals of re-basings that are not over.
    pub fn journals(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.state().join("rebase"));
        let files = files.map(|all| all.flatten().map(|entry| entry.path()).collect()).unwrap_or_else(|_| Vec::new());
        files.into_iter().filter(|file| file.extension().is_some_and(|extension| extension != "undone")).collect()
    }

    /// Ends containerd and leaves its shims running, as an upgrade does.
    pub fn stop(&mut self, signal: Signal) {
        if let Some(mut process) = self.process.take() {
            kill(Pid::from_raw(process.id().cast_signed()), signal).ok();
            process.wait().ok();
        }
    }

    /// Starts containerd (again) on the same directories, and waits until it answers.
    pub fn resume(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log()).expect("containerd's log");
        let mut command = Command::new(self.line.program("containerd").expect("checked in start()"));
        command.arg("--config").arg(self.dir.join("containerd.toml")).current_dir(&self.dir);
        self.environment(&mut command);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("log")).stderr(log);
        self.process = Some(command.spawn().expect("containerd"));
        eventually("containerd answers", Duration::from_secs(30), || {
            self.ctr().call(&["version"]).is_ok().then_some(())
        });
    }

    /// Sets what containerd and `bestfit` see: our shim and this line's own programs first, and the configuration.
    pub fn environment(&self, command: &mut Command) {
        let own = self.dir.join("bin");
        let path = format!("{}:{}:/usr/sbin:/usr/bin:/sbin:/bin", own.display(), peers::our_bin().display());
        command.env_clear().env("PATH", path).env("HOME", &self.dir).env("BESTFIT_CONFIG", self.bestfit_config());
        command.env("CONTAINERD_ADDRESS", self.address()).env("CONTAINERD_NAMESPACE", &self.namespace);
    }

    /// Our `bestfit` command on this node.
    pub fn bestfit(&self, args: &[&str]) -> crate::command::Output {
        let mut command = Command::new(peers::our_bin().join("bestfit"));
        self.environment(&mut command);
        command.args(args);
        crate::command::run(&mut command, Duration::from_secs(30))
    }

    /// Puts a script in the place of the stock shim, for one scenario; [`Self::link_programs`] undoes it.
    pub fn replace_program(&self, name: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.dir.join("bin").join(name);
        std::fs::remove_file(&path).ok();
        std::fs::write(&path, script).expect("script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("script");
    }

    /// Makes the runtime [`crate::ctr::TOLD`]: our shim, told that containerd listens at another socket.
    pub fn tell_shim_of(&self, socket: &Path) {
        let ours = peers::our_bin().join("containerd-shim-bestfit-v1");
        let script = format!(
            "#!/bin/sh\nfor word do\n  shift\n  [ \"$last\" = -address ] && word={}\n  last=$word\n\
             \x20 set -- \"$@\" \"$word\"\ndone\nexec {} \"$@\"\n",
            socket.display(),
            ours.display()
        );
        self.replace_program("containerd-shim-told-v1", &script);
    }

    /// Links this line's shim, the runtime and what that calls into a directory of their own: other lines lie beside them.
    pub fn link_programs(&self) {
        let shim = self.line.program("containerd-shim-runc-v2").expect("checked in start()");
        let runc = peers::program("runc").expect("checked in start()");
        let criu = peers::program("criu").map(|criu| ("criu", criu));
        for (name, target) in [("containerd-shim-runc-v2", shim), ("runc", runc)].into_iter().chain(criu) {
            let link = self.dir.join("bin").join(name);
            std::fs::remove_file(&link).ok();
            std::os::unix::fs::symlink(target, link).expect("link");
        }
    }

    fn write_configuration(&self) {
        let cri = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"];
        let mut disabled = vec!["io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.btrfs"];
        disabled.extend([
            "io.containerd.snapshotter.v1.zfs",
            "io.containerd.snapshotter.v1.aufs",
            "io.containerd.nri.v1.nri",
        ]);
        if !self.options.cri {
            disabled.extend(cri);
        }
        // Until there is such a directory, containerd pulls what it is asked for.
        let verifiers = match peers::SECOND.contains(&self.line) {
            true => format!(
                "[plugins.\"io.containerd.image-verifier.v1.bindir\"]\nbin_dir = {:?}\nmax_verifiers = 10\n\
                 per_verifier_timeout = \"5s\"\n",
                self.verifiers()
            ),
            false => String::new(),
        };
        let text = format!(
            "version = {}\nroot = {:?}\nstate = {:?}\ndisabled_plugins = {disabled:?}\n[grpc]\naddress = {:?}\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\npath = {:?}\n{verifiers}{}",
            self.line.config_version(),
            self.root(),
            self.dir.join("state"),
            self.address(),
            self.dir.join("opt"),
            self.options.more,
        );
        std::fs::write(self.dir.join("containerd.toml"), text).expect("containerd's configuration");
    }

    /// What is left of the containers that ran here, one line each; waits a little for what is just ending.
    pub fn leftovers(&self) -> Vec<String> {
        leftovers::of(self)
    }

    /// Ends every process of the run but containerd and the registries, and removes the containers' cgroups and the
    /// sockets of shims: for a scenario that knows where these come from.
    pub fn sweep(&self) {
        leftovers::end_strangers();
        leftovers::remove_cgroups(&self.namespace);
        leftovers::remove_runc_states();
        // The sockets of the shims that were just ended.
        std::fs::remove_dir_all("/run/containerd/s").ok();
    }

    /// Copies the logs out of the run's directory, for a scenario that failed.
    pub fn keep_logs(&self, scenario: &str) {
        let prefix = format!("{}/{}", self.line.name().replace(' ', "-"), scenario.replace([' ', '/'], "-"));
        for (file, name) in [
            (self.log(), "containerd.log"),
            (self.decisions(), "decisions.jsonl"),
            (self.bestfit_config(), "config.toml"),
        ] {
            if let Some(kept) = isolate::keep(&file, &format!("{prefix}/{name}")) {
                println!("    kept {}", kept.display());
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop(Signal::SIGKILL);
        leftovers::end_strangers();
        leftovers::unmount_below(&self.dir);
        leftovers::remove_cgroups(&self.namespace);
        std::fs::remove_dir_all(&self.dir).ok();
        clear_run();
    }
}

/// `/run` is the run's own tmpfs: what a dead node left there would be blamed on the next.
fn clear_run() {
    for entry in ["/run/containerd", "/run/bestfit", "/run/runc"] {
        std::fs::remove_dir_all(Path::new(entry)).ok();
    }
}
