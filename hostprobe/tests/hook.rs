//! Hooks that hang, fork, flood, lie and crash: each is a real program, and each leaves "unknown" with the reason, and
//! nothing running.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bestfit_hostprobe::hook::{self, Report};
use bestfit_selector::facts::{Fact, Facts, State};
use bestfit_selector::hook::Hook;

const GROUP: &str = "org.lab";
/// How long all hooks of a test may take: more than the busiest machine needs.
const LONG: Duration = Duration::from_secs(300);
/// A script that another test's fork has open cannot be started (ETXTBSY).
static ONE: Mutex<()> = Mutex::new(());

/// The user of this run's hooks: another run on the machine would be counted among its processes.
fn id() -> u32 {
    20_000 + std::process::id() % 40_000
}

/// A directory on whose way only root can write; `/tmp` is none.
struct Lab {
    dir: PathBuf,
    _one: MutexGuard<'static, ()>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Lab {
    fn new(name: &str) -> Option<Self> {
        let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = PathBuf::from(format!("/run/bestfit-hook-test-{}-{name}", std::process::id()));
        if let Err(error) = fs::create_dir(&dir) {
            println!("SKIP: {}: {error}: hooks lie where only root can write", dir.display());
            return None;
        }
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        Some(Self { dir, _one: guard })
    }

    fn script(&self, name: &str, body: &str) -> Hook {
        let command = self.dir.join(name);
        fs::write(&command, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&command, fs::Permissions::from_mode(0o755)).unwrap();
        Hook { command, timeout: LONG / 2, uid: id(), gid: id() }
    }

    fn ask_with(&self, hook: &Hook, facts: &mut Facts) -> Report {
        hook::ask(&BTreeMap::from([(GROUP.to_owned(), hook.clone())]), &[], &self.dir.join("kept"), LONG, facts)
    }

    /// What the group says about a key, and the notes.
    fn ask(&self, hook: &Hook) -> (State, Vec<String>) {
        let mut facts = Facts::default();
        let report = self.ask_with(hook, &mut facts);
        let state = facts.get(GROUP, "queue").map(|fact| fact.state.clone());
        (state.unwrap_or(State::Absent), report.notes)
    }

    #[track_caller]
    fn fails(&self, hook: &Hook, expected: &str) {
        let state = self.ask(hook).0;
        assert!(matches!(&state, State::Unknown { why } if why.contains(expected)), "{state:?}");
        assert_eq!(left(), Vec::<String>::new());
    }
}

/// The processes of the hooks' user.
fn left() -> Vec<String> {
    let of_hook = |path: &Path| {
        let status = fs::read_to_string(path.join("status")).ok()?;
        let user = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?;
        (user == id().to_string()).then_some(status)
    };
    fs::read_dir("/proc").unwrap().filter_map(|entry| of_hook(&entry.ok()?.path())).collect()
}

const GOOD: &str = r#"echo '{"version": 1, "facts": {"org.lab": {"queue": "gpu", "none": null}}}'"#;

#[test]
fn an_answer_becomes_facts_and_is_kept() {
    let Some(lab) = Lab::new("good") else { return };
    let count = lab.dir.join("count");
    fs::write(&count, "").unwrap();
    fs::set_permissions(&count, fs::Permissions::from_mode(0o666)).unwrap();
    let hook = lab.script("good", &format!("echo x >> {}; echo warned >&2; {GOOD}", count.display()));
    let runs = || fs::read_to_string(&count).unwrap().lines().count();
    let mut facts = Facts::default();
    let report = lab.ask_with(&hook, &mut facts);
    let source = hook.command.display().to_string();
    assert_eq!(facts.get(GROUP, "queue"), Some(&Fact::known("gpu", source.as_str())));
    assert_eq!(facts.get(GROUP, "none"), Some(&Fact::absent(source.as_str())));
    assert!(facts.get(GROUP, "other").is_none() && !report.failed);
    assert_eq!(report.notes, [format!("org.lab: hook {source} says: warned")]);
    assert_eq!(lab.ask(&hook).0, State::Known { value: "gpu".into() });
    assert_eq!(runs(), 1, "the answer is kept");
    let mut other = Facts::default();
    other.set("host", "page_size", Fact::known(4096, "auxv"));
    lab.ask_with(&hook, &mut other);
    assert_eq!(runs(), 2, "other facts are another question");
    let changed = lab.script("good", &format!("echo x >> {}; {GOOD} # changed", count.display()));
    lab.ask(&changed);
    assert_eq!(runs(), 3, "another program");
    assert_eq!(left(), Vec::<String>::new());
}

#[test]
fn it_sees_the_question_and_has_no_rights() {
    let Some(lab) = Lab::new("rights") else { return };
    let body = r#"question=$(cat)
case "$question" in '{"version":1,"group":"org.lab","facts":{'*) ;; *) exit 3 ;; esac
[ "$(id -u):$(id -g):$(id -G)" = ID:ID:ID ] || exit 4
grep -q '^NoNewPrivs:.1' /proc/self/status || exit 5
grep -q '^CapEff:.0000000000000000' /proc/self/status || exit 6
grep -q '^CapPrm:.0000000000000000' /proc/self/status || exit 7
[ "$(ulimit -c):$(ulimit -n):$(ulimit -v)" = 0:64:1048576 ] || exit 8
[ "$(pwd):$BESTFIT_CONFIG:$HOME" = /:: ] || exit 9
[ "$(ls /proc/self/fd | tr '\n' ' ')" = "0 1 2 3 " ] || exit 10
[ "$(cut -d' ' -f6 /proc/self/stat)" = "$$" ] || exit 11
touch /run/bestfit-hook-was-here 2>/dev/null && exit 12
"#;
    let hook = lab.script("rights", &format!("{}{GOOD}", body.replace("ID", &id().to_string())));
    assert_eq!(lab.ask(&hook), (State::Known { value: "gpu".into() }, Vec::new()));
}

#[test]
fn one_that_hangs_is_ended_with_all_that_it_started() {
    let Some(lab) = Lab::new("hangs") else { return };
    let short = |hook: Hook| Hook { timeout: Duration::from_millis(300), ..hook };
    let started = Instant::now();
    lab.fails(&short(lab.script("sleeps", "sleep 600")), "it took longer than 300ms, and was ended");
    // One that leaves its session, its parent and its group behind.
    let tree = "setsid sh -c 'setsid sleep 600 & setsid sleep 600 & sleep 600' & (sleep 600 &) ; sleep 600";
    lab.fails(&short(lab.script("tree", tree)), "it took longer than 300ms");
    // One that answers, and leaves others running.
    let daemon = short(lab.script("daemon", &format!("setsid sleep 600 & {GOOD}")));
    assert_eq!(lab.ask(&daemon).0, State::Known { value: "gpu".into() });
    assert_eq!(left(), Vec::<String>::new());
    lab.fails(&short(lab.script("bomb", "b() { b | b & }; b; sleep 600")), "");
    lab.fails(&short(lab.script("deaf", "trap '' TERM INT HUP XFSZ XCPU; while :; do :; done")), "");
    assert!(started.elapsed() < Duration::from_secs(60));
    // All hooks together have a limit, too.
    let two = ["a", "b"].map(|group| (group.to_owned(), lab.script(group, "sleep 600")));
    let mut facts = Facts::default();
    let report = hook::ask(&two.into(), &[], &lab.dir.join("kept"), Duration::from_millis(300), &mut facts);
    assert!(report.notes[0].ends_with("and was ended") && report.notes[1].ends_with("no time is left for it"));
    // A failure is kept for a while: not every create waits for it.
    let again = short(lab.script("slow", "sleep 600"));
    lab.fails(&again, "it took longer");
    let started = Instant::now();
    lab.fails(&again, "it took longer");
    assert!(started.elapsed() < Duration::from_millis(300));
}

#[test]
fn one_that_floods_is_bounded() {
    let Some(lab) = Lab::new("floods") else { return };
    let flood = "head -c 1000000000 /dev/zero";
    lab.fails(&lab.script("out", flood), "it wrote more than 262144 bytes");
    lab.fails(&lab.script("exec", &format!("exec {flood}")), "it wrote more than 262144 bytes");
    lab.fails(&lab.script("err", &format!("{flood} >&2; {GOOD}")), "it wrote more than 262144 bytes");
    let (_, notes) = lab.ask(&lab.script("long", &format!("head -c 100000 /dev/zero >&2; {GOOD}")));
    assert!(notes[0].len() < 8000, "{}", notes[0].len());
    let memory = format!("x=$(tr '\\0' a </dev/zero); {GOOD}");
    lab.fails(&lab.script("memory", &memory), "it ");
}

#[test]
fn one_that_crashes_or_lies_is_not_believed() {
    let Some(lab) = Lab::new("lies") else { return };
    lab.fails(&lab.script("exit", &format!("{GOOD}; exit 1")), "it ended with exit code 1");
    lab.fails(&lab.script("signal", "kill -SEGV $$"), "it was ended by signal 11");
    lab.fails(&lab.script("nothing", ""), "its answer: ");
    lab.fails(&lab.script("words", "echo gpu"), "its answer: line 1 column 1");
    let other = r#"echo '{"version":1,"facts":{"org.lab":{},"nfd":{"memory-numa":true}}}'"#;
    lab.fails(&lab.script("other", other), "it speaks about the group \"nfd\"");
    lab.fails(&lab.script("old", r#"echo '{"version":0,"facts":{}}'"#), "its answer has version 0, not 1");
    let hook = lab.script("interpreter", "");
    fs::write(&hook.command, "#!/nowhere/sh\n").unwrap();
    lab.fails(&hook, "it cannot be started: No such file or directory");
}

#[test]
fn what_others_could_change_is_not_run() {
    let Some(lab) = Lab::new("owned") else { return };
    let hook = lab.script("hook", GOOD);
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(hook::check(&hook.command), Ok(()));
    for writable in [0o757, 0o775] {
        mode(&hook.command, writable);
        lab.fails(&hook, "can be written by others (mode 7");
    }
    mode(&hook.command, 0o644);
    lab.fails(&hook, "is no program");
    mode(&hook.command, 0o755);
    mode(&lab.dir, 0o777);
    lab.fails(&hook, &format!("{} can be written by others (mode 777)", lab.dir.display()));
    mode(&lab.dir, 0o755);
    chown(&hook.command, Some(id()), None).unwrap();
    lab.fails(&hook, &format!("belongs to uid {}, not to root", id()));
    chown(&hook.command, Some(0), None).unwrap();
    let link = lab.dir.join("link");
    std::os::unix::fs::symlink(&hook.command, &link).unwrap();
    lab.fails(&Hook { command: link, ..hook.clone() }, "leads through a link: name");
    lab.fails(&Hook { command: lab.dir.join("none"), ..hook.clone() }, "No such file or directory");
    assert_eq!(lab.ask(&hook).0, State::Known { value: "gpu".into() });
}

/// Another process that holds the lock for longer than there is time does not hold up this one.
#[test]
fn a_lock_that_others_hold_is_waited_for_no_longer_than_there_is_time() {
    let Some(lab) = Lab::new("lock") else { return };
    let hook = lab.script("answer", "echo '{}'");
    let kept = lab.dir.join("kept");
    fs::create_dir(&kept).unwrap();
    let name = bestfit_selector::digest::Digest::of(GROUP.as_bytes()).to_string().replace(':', "-");
    let file = fs::File::create(kept.join(format!("{name}.lock"))).unwrap();
    file.lock().unwrap();
    let hooks = BTreeMap::from([(GROUP.to_owned(), hook)]);
    let report = hook::ask(&hooks, &[], &kept, Duration::from_millis(20), &mut Facts::default());
    assert!(report.failed, "{:?}", report.notes);
    drop(file);
}
