//! Owns decisions that still hold: the same question, asked before the first list of referrers that was read has expired, has
//! the same answer (matching.md, "Freshness"), and needs no decider. What cannot be read counts as never asked.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bestfit_selector::decision::HostPlatform;
use bestfit_selector::digest::Digest;
use bestfit_selector::exchange::{Answer, Ask, RegistryAccess};
use bestfit_selector::policy::Policy;
use bestfit_selector::schema::SchemaFile;
use bestfit_selector::scope::Scope;
use serde::{Deserialize, Serialize};

use crate::log::prune;
use crate::rebase::private_dir;

/// The most decisions that are kept; the oldest go first.
const MAX_DECISIONS: usize = 512;
/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Where the answer to one question lies.
pub(crate) struct Remembered {
    file: PathBuf,
}

/// All that an answer depends on, but for what registries say. Only its digest is kept: it covers credentials.
#[derive(Serialize)]
struct Question<'a> {
    index: &'a Digest,
    default: &'a Option<Digest>,
    reference: &'a str,
    facts: Digest,
    /// What of the host the container was given.
    scope: &'a Scope,
    policy: &'a Policy,
    schemas: &'a [SchemaFile],
    host: &'a HostPlatform,
    registries: &'a RegistryAccess,
    /// The program that decides, and with it the built-in schemas; and this one, which narrows facts: device, inode, size and
    /// time of change.
    programs: [[i128; 4]; 2],
}

#[derive(Serialize, Deserialize)]
struct Kept {
    /// Seconds since 1970 UTC.
    since: i64,
    /// Likewise; the answer holds before that.
    until: i64,
    answer: Answer,
}

impl Remembered {
    /// The place for the answer to `ask` about `index` and the facts of a digest, below the state directory. The facts in `ask`
    /// do not count: they may not have been read.
    pub(crate) fn of(
        state: &Path,
        ask: &Ask,
        index: &Digest,
        (facts, scope): (Digest, &Scope),
        program: &Path,
    ) -> io::Result<Self> {
        let question = Question {
            index,
            default: &ask.default,
            reference: &ask.reference,
            facts,
            scope,
            policy: &ask.policy,
            schemas: &ask.schemas,
            host: &ask.host,
            registries: &ask.registries,
            programs: [identity(program)?, identity(Path::new("/proc/self/exe"))?],
        };
        let name = Digest::of(&serde_json::to_vec(&question)?);
        Ok(Self { file: state.join("decisions").join(name.hex()) })
    }

    /// The answer, if there is one that holds at `now`. A clock that was set back before the answer was given ends it, too.
    pub(crate) fn recall(&self, now: i64) -> Option<Answer> {
        let meta = std::fs::symlink_metadata(&self.file).ok()?;
        if !meta.is_file() || meta.len() > MAX_FILE {
            return None;
        }
        let kept: Kept = serde_json::from_slice(&std::fs::read(&self.file).ok()?).ok()?;
        (kept.since..kept.until).contains(&now).then_some(Answer {
            requests: 0,
            gather_us: 0,
            decide_us: 0,
            ..kept.answer
        })
    }

    /// Keeps an answer that was given at `now`, if it says that it holds for some time.
    pub(crate) fn keep(&self, answer: &Answer, now: i64) -> io::Result<()> {
        let Some(fresh) = answer.fresh.filter(|fresh| *fresh >= Duration::from_secs(1)) else { return Ok(()) };
        let until = now.saturating_add(i64::try_from(fresh.as_secs()).unwrap_or(i64::MAX));
        let bytes = serde_json::to_vec(&Kept { since: now, until, answer: answer.clone() })?;
        let Some(dir) = self.file.parent().filter(|_| bytes.len() as u64 <= MAX_FILE) else { return Ok(()) };
        private_dir(dir)?;
        let temporary = self.file.with_extension(std::process::id().to_string());
        std::fs::write(&temporary, bytes)?;
        std::fs::rename(&temporary, &self.file)?;
        prune(dir, MAX_DECISIONS)
    }
}

fn identity(program: &Path) -> io::Result<[i128; 4]> {
    let meta = std::fs::metadata(program)?;
    let changed = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    Ok([meta.dev().into(), meta.ino().into(), meta.size().into(), changed])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use bestfit_selector::decide::decide;
    use bestfit_selector::decision::Inputs;

    pub(crate) fn ask() -> Ask {
        Ask {
            reference: "localhost/a:1".to_owned(),
            facts: Default::default(),
            policy: Policy::default(),
            schemas: Vec::new(),
            host: HostPlatform { os: "linux".to_owned(), architecture: "amd64".to_owned() },
            default: None,
            images: None,
            now: 100,
            deadline: Duration::from_secs(3),
            registries: RegistryAccess {
                hosts_dir: PathBuf::new(),
                plain_http: Vec::new(),
                ports: Vec::new(),
                redirects: Vec::new(),
                docker_config: None,
                referrers_lifetime: Duration::from_secs(600),
                cache_max_bytes: 0,
            },
        }
    }

    pub(crate) fn answer(fresh: Option<u64>) -> Answer {
        let index =
            br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#.to_vec();
        let Ask { facts, policy, schemas, host, default, now, .. } = ask();
        let (evidence, standings) = Default::default();
        let images = None;
        let inputs = Inputs { index, facts, policy, schemas, host, default, now, evidence, images, standings };
        let fresh = fresh.map(Duration::from_secs);
        Answer {
            decision: decide(&inputs).unwrap(),
            requests: 7,
            gather_us: 1,
            decide_us: 1,
            fresh,
            unenforced: Vec::new(),
        }
    }

    #[test]
    fn an_answer_holds_from_when_it_was_given_until_the_first_list_expires() {
        let state = tempfile::tempdir().unwrap();
        let program = std::env::current_exe().unwrap();
        let seen = (Digest::of(b"facts"), &Scope::default());
        let place = Remembered::of(state.path(), &ask(), &Digest::of(b"index"), seen, &program).unwrap();
        assert!(place.recall(100).is_none());
        place.keep(&answer(None), 100).unwrap();
        assert!(place.recall(100).is_none(), "what could not be read is asked for again");
        place.keep(&answer(Some(10)), 100).unwrap();
        assert_eq!(place.recall(100).unwrap().requests, 0);
        assert_eq!(place.recall(109).unwrap().decision, answer(None).decision);
        assert!(place.recall(110).is_none() && place.recall(99).is_none());
        std::fs::write(&place.file, b"{\"since\":").unwrap();
        assert!(place.recall(105).is_none(), "a torn file is no answer");
    }

    #[test]
    fn another_question_has_another_place() {
        let state = tempfile::tempdir().unwrap();
        let program = std::env::current_exe().unwrap();
        let of = |ask: &Ask, index: &[u8], facts: &[u8], scope: &Scope| {
            Remembered::of(state.path(), ask, &Digest::of(index), (Digest::of(facts), scope), &program).unwrap().file
        };
        let file = |ask: &Ask, index: &[u8]| of(ask, index, b"facts", &Scope::default());
        let first = file(&ask(), b"index");
        assert_eq!(first, file(&Ask { now: 200, deadline: Duration::ZERO, ..ask() }, b"index"));
        let mut other = vec![file(&ask(), b"other")];
        other.push(file(&Ask { reference: "localhost/b:1".to_owned(), ..ask() }, b"index"));
        other.push(file(&Ask { default: Some(Digest::of(b"d")), ..ask() }, b"index"));
        other.push(of(&ask(), b"index", b"other facts", &Scope::default()));
        let given = serde_json::json!({"linux": {"devices": [{"path": "/dev/kfd"}]}});
        other.push(of(&ask(), b"index", b"facts", &Scope::of(&given, &[])));
        let mut policy = ask();
        policy.policy.on_error = bestfit_selector::policy::Otherwise::Deny;
        other.push(file(&policy, b"index"));
        let key = |pem: &str| {
            let mut ask = ask();
            let by = bestfit_selector::trust::By::Key { pem: pem.to_owned() };
            let (name, scopes) = ("vendor".to_owned(), Vec::new());
            ask.policy.trust.accept = vec![bestfit_selector::trust::Accept { name, scopes, by }];
            ask
        };
        other.push(file(&key("one"), b"index"));
        other.push(file(&key("another in the same file"), b"index"));
        let mut revoked = key("one");
        revoked.policy.trust.revoked_digests = vec![Digest::of(b"artifact")];
        other.push(file(&revoked, b"index"));
        revoked.policy.trust.revoked_keys = vec![Digest::of(b"key")];
        other.push(file(&revoked, b"index"));
        let mut login = ask();
        login.registries.docker_config = Some(Vec::new());
        other.push(file(&login, b"index"));
        assert!(other.iter().all(|file| *file != first));
        assert!(other.iter().enumerate().all(|(at, one)| other[..at].iter().all(|earlier| earlier != one)));
    }
}
