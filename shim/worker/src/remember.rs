//! Owns decisions that still hold: the same question, asked before the first list of referrers that was read has expired, has
//! the same answer (matching.md, "Freshness"), and needs no decider. In a pod it has it for as long as the pod is there: what is
//! kept for the pod lies in the bundle of its sandbox, which containerd removes. What cannot be read counts as never asked.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bestfit_selector::decision::{HostPlatform, Outcome};
use bestfit_selector::digest::Digest;
use bestfit_selector::exchange::{Answer, Ask, RegistryAccess};
use bestfit_selector::policy::Policy;
use bestfit_selector::schema::SchemaFile;
use bestfit_selector::scope::Scope;
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};

use crate::log::{self, Priority, prune};
use crate::rebase::{is_private, private_dir};

/// The most decisions that are kept; the oldest go first.
const MAX_DECISIONS: usize = 512;
/// The most that are kept for one pod: each of its containers asks one question, until facts or policy change.
const MAX_OF_POD: usize = 64;
/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// The directory in the bundle of a pod's sandbox.
const OF_POD: &str = "bestfit-decisions";

/// Where the answer to one question lies.
#[derive(Clone)]
pub(crate) struct Remembered {
    file: PathBuf,
    /// Where it lies for the pod.
    of_pod: Option<PathBuf>,
}

/// What a pod keeps once one of its containers goes on with it.
pub(crate) struct ForPod {
    file: PathBuf,
    kept: Kept,
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

/// An answer, and how long it holds.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Seconds since 1970 UTC.
    since: i64,
    /// Likewise; the answer holds before that.
    until: i64,
    /// Likewise, for the pod.
    until_of_pod: i64,
    pub(crate) answer: Answer,
}

impl Kept {
    /// An answer that was given at `now`, if it says that it holds for some time.
    pub(crate) fn of(answer: &Answer, now: i64) -> Option<Self> {
        let fresh = answer.fresh.filter(|fresh| *fresh >= Duration::from_secs(1))?;
        let after = |time: Duration| now.saturating_add(i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
        let until_of_pod = after(answer.lasts.max(fresh));
        Some(Self { since: now, until: after(fresh), until_of_pod, answer: answer.clone() })
    }

    /// Whether lists that it was made from have expired: then it holds for its pod alone.
    pub(crate) fn is_sticky(&self, now: i64) -> bool {
        now >= self.until
    }

    fn read(file: &Path) -> Option<Self> {
        let meta = fs::symlink_metadata(file).ok().filter(|meta| meta.is_file() && meta.len() <= MAX_FILE)?;
        (meta.uid() == Uid::effective().as_raw()).then(|| serde_json::from_slice(&fs::read(file).ok()?).ok())?
    }

    fn write(&self, file: &Path, most: usize) -> io::Result<()> {
        let bytes = serde_json::to_vec(self)?;
        let Some(dir) = file.parent().filter(|_| bytes.len() as u64 <= MAX_FILE) else { return Ok(()) };
        let temporary = file.with_extension(std::process::id().to_string());
        fs::write(&temporary, bytes)?;
        fs::rename(&temporary, file)?;
        prune(dir, most)
    }
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
        Ok(Self { file: state.join("decisions").join(name.hex()), of_pod: None })
    }

    /// The same for a container of the pod whose sandbox has this bundle: nobody but root may have written there.
    pub(crate) fn in_pod(self, sandbox: Option<&Path>) -> Self {
        let name = self.file.file_name().unwrap_or_default();
        let of_pod = sandbox.filter(|sandbox| is_private(sandbox)).map(|sandbox| sandbox.join(OF_POD).join(name));
        Self { of_pod, ..self }
    }

    /// The answer, if there is one that holds at `now`: what the pod has comes first. A clock that was set back before the answer
    /// was given ends it, too.
    pub(crate) fn recall(&self, now: i64) -> Option<Kept> {
        let of_pod = self.of_pod.as_deref().and_then(Kept::read);
        let of_pod = of_pod.filter(|kept| (kept.since..kept.until_of_pod).contains(&now));
        of_pod.or_else(|| Kept::read(&self.file).filter(|kept| (kept.since..kept.until).contains(&now)))
    }

    /// Keeps an answer for every container of this node.
    pub(crate) fn keep(&self, kept: &Kept) -> io::Result<()> {
        private_dir(self.file.parent().unwrap_or(Path::new("/")))?;
        kept.write(&self.file, MAX_DECISIONS)
    }

    /// What the pod is to keep of an answer. A refusal is not kept: nothing runs that a later container could be unlike.
    pub(crate) fn for_pod(self, kept: Kept) -> Option<ForPod> {
        let file = self.of_pod.filter(|_| kept.answer.decision.outcome != Outcome::Deny)?;
        Some(ForPod { file, kept })
    }
}

impl ForPod {
    /// Keeps it in the bundle of the sandbox, where there is none that is the same.
    pub(crate) fn keep(&self) {
        if Kept::read(&self.file).is_some_and(|kept| kept.since == self.kept.since) {
            return;
        }
        let dir = self.file.parent().unwrap_or(Path::new("/"));
        // Never with its parents: a pod that is just being removed would leave them behind.
        let made = match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => self.kept.write(&self.file, MAX_OF_POD),
        };
        if let Err(error) = made {
            log::say(&format!("{}: {error}", self.file.display()), Priority::Warning, None);
        }
    }
}

fn identity(program: &Path) -> io::Result<[i128; 4]> {
    let meta = std::fs::metadata(program)?;
    let changed = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    Ok([meta.dev().into(), meta.ino().into(), meta.size().into(), changed])
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt;

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
        let (evidence, standings, stale) = Default::default();
        let images = None;
        let inputs = Inputs { index, facts, policy, schemas, host, default, now, evidence, images, standings, stale };
        let fresh = fresh.map(Duration::from_secs);
        Answer {
            decision: decide(&inputs).unwrap(),
            requests: 7,
            gather_us: 1,
            decide_us: 1,
            fresh,
            lasts: Duration::from_secs(100),
            unenforced: Vec::new(),
        }
    }

    fn place(state: &Path) -> Remembered {
        let program = std::env::current_exe().unwrap();
        let seen = (Digest::of(b"facts"), &Scope::default());
        Remembered::of(state, &ask(), &Digest::of(b"index"), seen, &program).unwrap()
    }

    #[test]
    fn an_answer_holds_from_when_it_was_given_until_the_first_list_expires() {
        let state = tempfile::tempdir().unwrap();
        let place = place(state.path());
        assert!(place.recall(100).is_none());
        for fresh in [None, Some(0)] {
            assert!(Kept::of(&answer(fresh), 100).is_none(), "what could not be read is asked for again");
        }
        place.keep(&Kept::of(&answer(Some(10)), 100).unwrap()).unwrap();
        let kept = place.recall(109).unwrap();
        assert_eq!((kept.is_sticky(109), &kept.answer.decision), (false, &answer(None).decision));
        assert!(place.recall(100).is_some() && place.recall(110).is_none() && place.recall(99).is_none());
        fs::write(&place.file, b"{\"since\":").unwrap();
        assert!(place.recall(105).is_none(), "a torn file is no answer");
    }

    #[test]
    fn in_a_pod_it_holds_until_the_signatures_end() {
        let (state, pod) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let place = || place(state.path()).in_pod(Some(pod.path()));
        let keep = |answer: &Answer| place().for_pod(Kept::of(answer, 100).unwrap()).unwrap().keep();
        keep(&answer(Some(10)));
        assert!(!state.path().join("decisions").exists(), "the pod alone has it");
        for (now, sticky) in [(99, None), (100, Some(false)), (109, Some(false)), (110, Some(true)), (199, Some(true))]
        {
            assert_eq!(place().recall(now).map(|kept| kept.is_sticky(now)), sticky, "{now}");
        }
        assert!(place().recall(200).is_none(), "a signature has ended");
        let newer = Kept::of(&Answer { unenforced: vec!["newer".to_owned()], ..answer(Some(50)) }, 120).unwrap();
        place().keep(&newer).unwrap();
        assert!(place().recall(130).unwrap().answer.unenforced.is_empty(), "the pod's comes first");
        let other = tempfile::tempdir().unwrap();
        let of_other = super::tests::place(state.path()).in_pod(Some(other.path()));
        assert_eq!(of_other.recall(130).unwrap().answer.unenforced, ["newer"]);
        // No signature that holds longer than the lists.
        fs::remove_dir_all(pod.path().join(OF_POD)).unwrap();
        keep(&Answer { lasts: Duration::ZERO, ..answer(Some(10)) });
        assert!(place().of_pod.is_some_and(|file| Kept::read(&file).is_some_and(|kept| kept.until_of_pod == 110)));
    }

    #[test]
    fn a_pod_that_is_gone_or_anybodys_keeps_nothing() {
        let (state, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let sandbox = root.path().join("pod");
        let of_pod = || place(state.path()).in_pod(Some(&sandbox)).for_pod(Kept::of(&answer(Some(10)), 100).unwrap());
        assert!(of_pod().is_none(), "there is no such pod");
        fs::create_dir(&sandbox).unwrap();
        let kept = of_pod().unwrap();
        fs::remove_dir(&sandbox).unwrap();
        kept.keep();
        assert!(!sandbox.exists(), "a pod that was just removed");
        fs::create_dir(&sandbox).unwrap();
        fs::set_permissions(&sandbox, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(of_pod().is_none(), "anybody can write there");
        fs::set_permissions(&sandbox, fs::Permissions::from_mode(0o711)).unwrap();
        let mut refused = answer(Some(10));
        refused.decision.outcome = Outcome::Deny;
        let refused = Kept::of(&refused, 100).unwrap();
        assert!(place(state.path()).in_pod(Some(&sandbox)).for_pod(refused).is_none(), "a refusal");
        of_pod().unwrap().keep();
        assert_eq!(fs::metadata(sandbox.join(OF_POD)).unwrap().mode() & 0o777, 0o700);
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
