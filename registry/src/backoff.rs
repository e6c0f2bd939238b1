//! Remembers hosts that failed, in memory and as `hosts/<host>.down` in the cache, because the process lives for one
//! container only: the next one must not wait for the same dead host again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bestfit_selector::json::plain;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::folder::Folder;

/// Longest time that a host is left alone, whatever it or the file says.
pub(crate) const LONGEST: Duration = Duration::from_secs(3600);
const FILE_LIMIT: u64 = 4096;

/// When a host is asked again. Defaults: 30 s, doubled to 5 min while it keeps failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackOff {
    /// After the first failure.
    pub first: Duration,
    /// After many failures.
    pub longest: Duration,
    /// A request that the caller gives up after this time counts as a failure of its host, where that answered nothing meanwhile.
    pub patience: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self { first: Duration::from_secs(30), longest: Duration::from_secs(300), patience: Duration::from_secs(1) }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Down {
    /// Seconds since 1970.
    until: u64,
    /// Seconds that it was left alone for, the base of the next period.
    period: u64,
    why: String,
}

/// The hosts that failed.
#[derive(Debug)]
pub(crate) struct Hosts {
    rules: BackOff,
    folder: Option<Folder>,
    memory: Mutex<HashMap<String, Down>>,
    /// When a host last answered anything.
    heard: Mutex<HashMap<String, Instant>>,
}

impl Hosts {
    pub(crate) fn new(rules: BackOff, folder: Option<Folder>) -> Self {
        Self { rules, folder, memory: Mutex::default(), heard: Mutex::default() }
    }

    /// Whether a host may be asked now.
    pub(crate) fn check(&self, host: &str) -> Result<(), Error> {
        let now = seconds(SystemTime::now());
        match self.down(host) {
            Some(down) if down.until > now => {
                let until = UNIX_EPOCH + Duration::from_secs(down.until);
                Err(Error::Unavailable { host: host.to_owned(), until, why: down.why })
            }
            _ => Ok(()),
        }
    }

    /// The host could not be reached or did not answer.
    pub(crate) fn failed(&self, host: &str, why: &str) {
        let now = seconds(SystemTime::now());
        let first = self.rules.first.as_secs().max(1);
        let longest = self.rules.longest.min(LONGEST).as_secs().max(1);
        let period = match self.down(host) {
            // Requests that were under way together are one failure.
            Some(down) if down.until > now => return,
            Some(down) if now - down.until < longest * 2 => down.period.saturating_mul(2),
            _ => first,
        };
        self.remember(
            host,
            Down { until: now + period.min(longest), period: period.min(longest), why: plain(why, 200) },
        );
    }

    /// The host asked to be left alone (`Retry-After`).
    pub(crate) fn asked_for(&self, host: &str, wait: Duration, why: &str) {
        let wait = wait.min(LONGEST).as_secs().max(1);
        let until = seconds(SystemTime::now()) + wait;
        if self.down(host).is_none_or(|down| down.until < until) {
            let period = self.rules.first.as_secs().max(1);
            self.remember(host, Down { until, period, why: plain(why, 200) });
        }
    }

    /// The time after which 429 without `Retry-After` is asked again.
    pub(crate) fn first(&self) -> Duration {
        self.rules.first
    }

    /// The host answers.
    pub(crate) fn answered(&self, host: &str) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        // Only what is over: a Retry-After that another request received meanwhile stands.
        if memory.get(host).is_some_and(|down| down.until <= seconds(SystemTime::now())) {
            memory.remove(host);
            if let Some(folder) = &self.folder {
                let _ = folder.remove(&file_name(host));
            }
        }
    }

    /// The host answers something, whatever it says.
    pub(crate) fn heard(&self, host: &str) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.insert(host.to_owned(), Instant::now());
    }

    fn heard_since(&self, host: &str, since: Instant) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(host).is_some_and(|last| *last >= since)
    }

    fn down(&self, host: &str) -> Option<Down> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = self.folder.as_ref().and_then(|folder| folder.read(&file_name(host), FILE_LIMIT).ok());
        // A file from before a clock change, or a broken one, must not close a host for good.
        let furthest = seconds(SystemTime::now() + LONGEST);
        let stored =
            stored.and_then(|bytes| serde_json::from_slice::<Down>(&bytes).ok()).filter(|down| down.until <= furthest);
        if let Some(stored) = stored
            && memory.get(host).is_none_or(|known| known.until < stored.until)
        {
            memory.insert(host.to_owned(), stored);
        }
        memory.get(host).cloned()
    }

    fn remember(&self, host: &str, down: Down) {
        if let (Some(folder), Ok(bytes)) = (&self.folder, serde_json::to_vec(&down)) {
            // Without the file the next process waits once more: no reason to fail.
            let _ = folder.write(&file_name(host), &bytes);
            forget_old(folder);
        }
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), down);
    }
}

/// Watches one exchange: when the caller drops it (its deadline is over) after [`BackOff::patience`], the host failed, unless it
/// answered somebody meanwhile: one that has too much to do is not dead.
pub(crate) struct Watch {
    hosts: Arc<Hosts>,
    host: String,
    start: Instant,
    /// What the host answered before does not count.
    since: Instant,
    armed: bool,
}

impl Watch {
    pub(crate) fn start(hosts: Arc<Hosts>, host: String) -> Self {
        let start = Instant::now();
        Self { hosts, host, start, since: start, armed: true }
    }

    /// Waiting goes on: a body is read.
    pub(crate) fn goes_on(&mut self) {
        self.armed = true;
        self.since = Instant::now();
    }

    /// What was waited for came, or failed by itself.
    pub(crate) fn ended(&mut self) {
        self.armed = false;
    }

    pub(crate) fn failed(&mut self, why: &str) {
        self.armed = false;
        self.hosts.failed(&self.host, why);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let late = self.armed && self.start.elapsed() >= self.hosts.rules.patience;
        if late && !self.hosts.heard_since(&self.host, self.since) {
            self.hosts.failed(&self.host, &format!("no answer within {:.1} s", self.start.elapsed().as_secs_f32()));
        }
    }
}

/// Files of hosts that nobody asks for any more; by chance, because it need not happen each time.
fn forget_old(folder: &Folder) {
    if std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0).is_multiple_of(16) {
        for found in folder.files(10_000).unwrap_or_default() {
            if found.modified.elapsed().is_ok_and(|age| age > LONGEST * 2) {
                let _ = folder.remove(&found.name);
            }
        }
    }
}

fn file_name(host: &str) -> String {
    format!("{}.down", host.replace('/', "+"))
}

pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(path: &std::path::Path) -> Arc<Hosts> {
        Arc::new(Hosts::new(BackOff::default(), Some(Folder::open(path).unwrap())))
    }

    fn until(hosts: &Hosts, host: &str) -> u64 {
        match hosts.check(host) {
            Err(Error::Unavailable { until, .. }) => seconds(until) - seconds(SystemTime::now()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_dead_host_is_remembered_by_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let first = hosts(folder.path());
        assert!(first.check("q.example:1").is_ok());
        first.failed("q.example:1", "connection refused");
        first.failed("q.example:1", "together");
        let second = hosts(folder.path());
        assert!((29..=30).contains(&until(&second, "q.example:1")));
        assert!(second.check("other.example").is_ok());
    }

    #[test]
    fn periods_grow_and_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("h.down");
        let ago = seconds(SystemTime::now()) - 5;
        let mut periods = Vec::new();
        for _ in 0..5 {
            let hosts = hosts(folder.path());
            hosts.failed("h", "x");
            let mut down: Down = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            periods.push(down.period);
            down.until = ago;
            std::fs::write(&file, serde_json::to_vec(&down).unwrap()).unwrap();
        }
        assert_eq!(periods, [30, 60, 120, 240, 300]);
        let hosts = hosts(folder.path());
        assert!(hosts.check("h").is_ok());
        hosts.answered("h");
        assert!(!file.exists());
        hosts.asked_for("h", Duration::from_secs(1 << 40), "429");
        assert!(until(&hosts, "h") <= LONGEST.as_secs());
        std::fs::write(&file, format!(r#"{{"until": {}, "period": 1, "why": ""}}"#, u64::MAX)).unwrap();
        assert!(self::hosts(folder.path()).check("h").is_ok(), "a time in the far future is not believed");
    }

    #[test]
    fn giving_up_late_is_a_failure_and_early_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let rules = BackOff { patience: Duration::ZERO, ..BackOff::default() };
        let hosts = Arc::new(Hosts::new(rules, Some(Folder::open(folder.path()).unwrap())));
        let mut ended = Watch::start(hosts.clone(), "a".into());
        ended.ended();
        drop(ended);
        assert!(hosts.check("a").is_ok());
        drop(Watch::start(hosts.clone(), "a".into()));
        assert!(hosts.check("a").is_err());
        let waiting = Watch::start(hosts.clone(), "c".into());
        hosts.heard("c");
        drop(waiting);
        assert!(hosts.check("c").is_ok(), "it answers others");
        let mut reading = Watch::start(hosts.clone(), "c".into());
        hosts.heard("c");
        std::thread::sleep(Duration::from_millis(1));
        reading.goes_on();
        drop(reading);
        assert!(hosts.check("c").is_err(), "it answered nothing since the body began");
        let patient = self::hosts(folder.path());
        drop(Watch::start(patient.clone(), "b".into()));
        assert!(patient.check("b").is_ok());
    }
}
