//! Owns how it is told that nothing has changed: for each question of a probe, whether its answer stands until the next boot,
//! stands as long as a file's status does, or has to be asked for again. Asking again is the rule.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use bestfit_selector::digest::Digest;

use crate::cpu::cpuid::Cpuid;
use crate::root::{HostRoot, Part};
use crate::snapshot::{Answer, Snapshot};
use crate::{cgroup, memory, modules};

const BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// Stands for all that a processor says about itself, together with [`LEAVES`]: what is read of it changes when another one
/// comes or goes.
const PROCESSORS: &str = "/sys/devices/system/cpu/online";
/// Vendor, model and most features: a guest may wake up on another machine.
const LEAVES: [u32; 3] = [0, 1, 7];

/// What does not change before the next boot, or not without [`PROCESSORS`]; `*` is a run of digits.
const FIXED: [&str; 8] = [
    "/proc/config.gz",
    "/proc/cpuinfo",
    "/proc/self/auxv",
    "/proc/self/smaps",
    "/sys/devices/system/cpu/cpu*/cache",
    "/sys/devices/system/cpu/cpu*/topology/",
    "/sys/devices/virtual/dmi/id/",
    "/sys/kernel/btf/",
];
/// Calls that are answered alike until the next boot.
const FIXED_CALLS: [&str; 1] = ["landlock_create_ruleset(2)"];
/// Where files have no status that says anything.
const KERNEL: [&str; 3] = ["/proc/", "/sys/", "/dev/"];
const PARTS: [&Part; 6] = [
    &cgroup::ENABLED,
    &cgroup::HIERARCHIES[0],
    &cgroup::HIERARCHIES[1],
    &memory::SWAP,
    &memory::TOTAL,
    &modules::NAMES,
];

/// About as many bytes as the answers of a host have.
const SEEN: usize = 32 << 10;

/// The clock of a file system is not finer than this: what was written later than this before it was read may have been
/// written again since, and have the same time.
const SETTLED: Duration = Duration::from_secs(2);

/// How it is told that an answer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Fixed,
    Status,
    Again,
}

fn way(path: &str, question: &str) -> Way {
    let content = ["file", "start", "names"].contains(&question) || question.starts_with("part ");
    if FIXED.iter().any(|pattern| begins(path, pattern)) {
        Way::Fixed
    } else if content && !KERNEL.iter().any(|place| path.starts_with(place)) {
        Way::Status
    } else {
        Way::Again
    }
}

/// Whether `path` begins with `pattern`.
fn begins(path: &str, pattern: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return path.starts_with(pattern) };
    let Some(rest) = path.strip_prefix(before) else { return false };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    digits > 0 && rest[digits..].starts_with(after)
}

/// What has to be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    /// Empty where the status is enough.
    pub(super) question: &'a str,
    pub(super) path: &'a str,
    /// How much of the path is a directory that is worth holding open for what is asked next.
    pub(super) held: usize,
}

/// What a recorded probe rests on: its questions, and the digest of all that [`now`] finds for them. None where something
/// cannot be told to stand: a call of an unknown kind, a file that was just written.
pub(super) fn of(snapshot: &Snapshot, began: SystemTime) -> Option<(Vec<Asked<'_>>, Digest)> {
    let calls = snapshot.machine.iter().flat_map(|machine| machine.calls.keys());
    if calls.into_iter().any(|call| !FIXED_CALLS.contains(&call.as_str())) {
        return None;
    }
    let (mut asked, mut seen): (Vec<Asked<'_>>, _) = (Vec::new(), machine()?);
    for (path, question, answer) in snapshot.answers() {
        if question == "start" && way(path, question) == Way::Again {
            return None;
        }
        match way(path, question) {
            Way::Fixed => {}
            Way::Status if asked.last().is_some_and(|last| last.path == path && last.question.is_empty()) => {}
            Way::Status => {
                status(path, Some(began.checked_sub(SETTLED)?), &mut seen)?;
                asked.push(Asked { question: "", path, held: 0 });
            }
            Way::Again => {
                put(answer, &mut seen);
                asked.push(Asked { question, path, held: 0 });
            }
        }
    }
    for at in 1..asked.len() {
        asked[at - 1].held = shared(asked[at - 1].path, asked[at].path).map_or(0, str::len);
    }
    Some((asked, Digest::of(&seen)))
}

/// The digest of what the same questions find now; None where that cannot be told.
pub(super) fn now(asked: &[Asked<'_>]) -> Option<Digest> {
    let (mut seen, mut root) = (machine()?, HostRoot::running());
    for Asked { question, path, held } in asked {
        root.stand_in(path, path.get(..*held).filter(|dir| !dir.is_empty()));
        match *question {
            "" => status(path, None, &mut seen)?,
            question => ask_again(&root, path, question, &mut seen)?,
        }
    }
    Some(Digest::of(&seen))
}

/// The deepest directory that both paths are in, where walking to it costs more than to hold it open.
fn shared<'a>(path: &'a str, next: &str) -> Option<&'a str> {
    let alike = path.bytes().zip(next.bytes()).take_while(|(one, other)| one == other).count();
    let dir = &path[..path.as_bytes()[..alike].iter().rposition(|byte| *byte == b'/')?];
    let deep = dir.bytes().filter(|byte| *byte == b'/').count() >= 3;
    (deep && KERNEL.iter().any(|place| dir.starts_with(place))).then_some(dir)
}

/// What stands for all that is [`FIXED`], and for the code that made the facts.
fn machine() -> Option<Vec<u8>> {
    let (root, mut seen) = (HostRoot::running(), Vec::with_capacity(SEEN));
    root.live_bytes_onto(&mut seen, BOOT).ok()?;
    ask_again(&root, PROCESSORS, "file", &mut seen)?;
    status("/proc/self/exe", None, &mut seen)?;
    root.with_cpuid(|cpuid| leaves(cpuid, &mut seen));
    Some(seen)
}

fn leaves(cpuid: &dyn Cpuid, seen: &mut Vec<u8>) {
    for leaf in LEAVES {
        let Some(found) = cpuid.registers(leaf, 0) else { continue };
        // A byte of it numbers the processor that answers.
        let ebx = if leaf == 1 { found.ebx & 0x00ff_ffff } else { found.ebx };
        [found.eax, ebx, found.ecx, found.edx].iter().for_each(|register| seen.extend(register.to_le_bytes()));
    }
}

/// A file's identity and times. None where it changed after `before`, or cannot be asked.
fn status(path: &str, before: Option<SystemTime>, seen: &mut Vec<u8>) -> Option<()> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            put(&Answer::Missing, seen);
            return Some(());
        }
        Err(_) => return None,
    };
    let changed = found.modified().ok()?.max(SystemTime::UNIX_EPOCH + since_epoch(&found)?);
    if before.is_some_and(|before| changed > before) {
        return None;
    }
    let before = seen.len();
    let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
    let identity = [found.dev(), found.ino(), found.size(), u64::from(found.mode())];
    identity.iter().for_each(|number| seen.extend(number.to_le_bytes()));
    times.iter().for_each(|number| seen.extend(number.to_le_bytes()));
    put_end(b's', seen.len() - before, seen);
    Some(())
}

fn since_epoch(found: &fs::Metadata) -> Option<Duration> {
    Some(Duration::new(u64::try_from(found.ctime()).ok()?, u32::try_from(found.ctime_nsec()).ok()?))
}

/// An answer, so that no other one has the same bytes.
fn put(answer: &Answer, seen: &mut Vec<u8>) {
    match answer {
        Answer::Text(content) => put_bytes(b'b', content.as_bytes(), seen),
        Answer::Base64(content) => put_bytes(b'b', content, seen),
        Answer::Names(names) => put_bytes(b'n', names.join("\n").as_bytes(), seen),
        Answer::Is(is) => put_bytes(b'i', &[u8::from(*is)], seen),
        Answer::Missing => put_bytes(b'm', &[], seen),
        Answer::Errno(errno) => put_bytes(b'e', &errno.to_le_bytes(), seen),
        Answer::Unreadable(why) => put_bytes(b'u', why.as_bytes(), seen),
    }
}

fn put_bytes(tag: u8, bytes: &[u8], seen: &mut Vec<u8>) {
    seen.extend(bytes);
    put_end(tag, bytes.len(), seen);
}

/// Behind an answer of so many bytes: read from the end, there is one way to read all of them.
fn put_end(tag: u8, length: usize, seen: &mut Vec<u8>) {
    seen.extend((length as u64).to_le_bytes());
    seen.push(tag);
}

/// Asks a recorded question again; None where it is no question that can be.
fn ask_again(root: &HostRoot, path: &str, question: &str, seen: &mut Vec<u8>) -> Option<()> {
    let before = seen.len();
    let answer = match question.split_once(' ') {
        None => match question {
            "file" => match root.live_bytes_onto(seen, path) {
                Ok(()) => {
                    put_end(b'b', seen.len() - before, seen);
                    return Some(());
                }
                Err(failed) => Err(failed),
            },
            "names" => root.live_names(path).map(Answer::Names),
            "exists" => root.live_exists(path).map(Answer::Is),
            "regular" => root.live_regular(path).map(Answer::Is),
            "automount" => root.live_automount(path).map(Answer::Is),
            _ => return None,
        },
        Some(("only", name)) => {
            root.live_text_of(PARTS.into_iter().find(|part| part.path == path && part.name == name)?)
        }
        Some(("with", child)) => root.live_names_with(path, child).map(Answer::Names),
        Some(("part", range)) => {
            let (offset, length) = range.split_once(' ')?;
            root.live_part(path, offset.parse().ok()?, length.parse().ok()?)
        }
        Some(_) => return None,
    };
    put(&answer.unwrap_or_else(|failed| failed), seen);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_again_is_the_rule() {
        for (path, question, expected) in [
            ("/proc/cpuinfo", "start", Way::Fixed),
            ("/sys/devices/system/cpu/cpu12/topology/package_cpus_list", "file", Way::Fixed),
            ("/sys/devices/system/cpu/cpu/topology/x", "file", Way::Again),
            ("/sys/devices/system/cpu/cpu0/cpufreq/base_frequency", "file", Way::Again),
            ("/etc/os-release", "file", Way::Status),
            ("/lib/x86_64-linux-gnu/libc.so.6", "part 0 64", Way::Status),
            // Its time changes with everything in it.
            ("/etc", "exists", Way::Again),
            ("/proc/modules", "only names", Way::Again),
            ("/proc/swaps", "file", Way::Again),
            ("/sys/class/net", "with device", Way::Again),
            ("/dev/kvm", "exists", Way::Again),
        ] {
            assert_eq!(way(path, question), expected, "{path} {question}");
        }
    }

    #[test]
    fn every_question_that_is_not_fixed_can_be_asked_again() {
        let root = HostRoot::running().recording();
        crate::probe_settled(&root, bestfit_selector::microarch::Microarchitectures::builtin());
        let snapshot = root.into_snapshot().unwrap();
        let root = HostRoot::running();
        for (path, question, _) in snapshot.answers().filter(|(path, question, _)| way(path, question) == Way::Again) {
            assert!(ask_again(&root, path, question, &mut Vec::new()).is_some(), "{path} {question}");
        }
    }

    #[test]
    fn a_file_that_was_just_written_is_no_evidence() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "1").unwrap();
        let path = file.to_str().unwrap();
        let (mut one, mut other) = (Vec::new(), Vec::new());
        let now = SystemTime::now();
        assert_eq!(status(path, Some(now - SETTLED), &mut one), None);
        assert_eq!(status(path, Some(now + SETTLED), &mut one), Some(()));
        fs::write(&file, "22").unwrap();
        status(path, None, &mut other).unwrap();
        assert_ne!(one, other);
    }
}
