//! Owns the comparison of users: the process keeps the ids that containerd resolved in the *default* entry's files, so a
//! candidate passes only if its own `/etc/passwd` and `/etc/group` give the same numbers (design.md, rule 2).
//!
//! The rules of resolving are containerd's (`oci.WithUser`, `oci.WithAdditionalGIDs`; formats: passwd(5), group(5)).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use containerd_client::types::Mount;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::mounts::lower_directories;

/// The longest passwd or group file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The longest options of a mount, in bytes: the smallest page, without the byte that ends them.
const MAX_OPTIONS: usize = 4095;

/// The two files of a root filesystem; a missing one is None.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Accounts {
    passwd: Option<Vec<u8>>,
    group: Option<Vec<u8>>,
}

/// What a user string stands for, in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ids {
    uid: u32,
    gid: u32,
    additional: BTreeSet<u32>,
}

/// Accounts could not be read.
#[derive(Debug, thiserror::Error)]
#[error("reading {file} of {what}: {cause}")]
pub(crate) struct AccountsError {
    what: &'static str,
    file: String,
    cause: io::Error,
}

impl Accounts {
    /// Reads the files below the lower layers of `mounts`. What is mounted for it lives in a mount namespace of this thread
    /// alone (unshare(2) moves no other), and ends with it.
    pub(crate) fn read(what: &'static str, mounts: &[Mount], scratch: &Path) -> Result<Self, AccountsError> {
        let lower = lower_directories(mounts);
        let failed = |file: &str| {
            let file = file.to_owned();
            move |cause| AccountsError { what, file, cause }
        };
        // A view of one layer is a bind mount; its source is the layer itself.
        let bound = mounts.first().filter(|mount| mount.r#type == "bind").map(|mount| mount.source.clone());
        match (bound, &lower[..]) {
            (Some(root), _) => Self::read_root(what, Path::new(&root)),
            (None, [root]) => Self::read_root(what, Path::new(root)),
            (None, []) => Err(failed("/")(io::Error::other("no lower directory"))),
            (None, _) => {
                let root = mount_lower(&lower, scratch).map_err(failed("/"))?;
                let accounts = Self::read_root(what, &root);
                let _ = umount2(&root, nix::mount::MntFlags::MNT_DETACH);
                accounts
            }
        }
    }

    fn read_root(what: &'static str, root: &Path) -> Result<Self, AccountsError> {
        let file =
            |path: &str| read_in_root(root, path).map_err(|cause| AccountsError { what, file: path.to_owned(), cause });
        Ok(Self { passwd: file("etc/passwd")?, group: file("etc/group")? })
    }

    /// Resolves `user[:group]`, names or numbers; nothing means 0.
    pub(crate) fn resolve(&self, user: &str) -> Result<Ids, String> {
        let (user, group) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
        let number: Option<u32> = if user.is_empty() { Some(0) } else { user.parse().ok() };
        let account = self.accounts().find(|account| match number {
            Some(uid) => account.uid == uid,
            None => account.name == user,
        });
        let (uid, gid) = match (&account, number) {
            (Some(account), _) => (account.uid, account.gid),
            (None, Some(uid)) => (uid, 0),
            (None, None) => return Err(format!("user {user:?} is not in /etc/passwd")),
        };
        let gid = match group {
            None => gid,
            Some(name) => self.group(name).ok_or_else(|| format!("group {name:?} is not in /etc/group"))?,
        };
        let name = account.map(|account| account.name.to_owned());
        let additional =
            self.groups().filter(|group| name.as_ref().is_some_and(|name| group.members.contains(&name.as_str())));
        Ok(Ids { uid, gid, additional: additional.map(|group| group.gid).collect() })
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.groups().find(|group| group.name == name).map(|group| group.gid).or_else(|| name.parse().ok())
    }

    fn accounts(&self) -> impl Iterator<Item = Account<'_>> {
        lines(&self.passwd).filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let _password = fields.next()?;
            Some(Account { name, uid: fields.next()?.trim().parse().ok()?, gid: fields.next()?.trim().parse().ok()? })
        })
    }

    fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        lines(&self.group).filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let _password = fields.next()?;
            let gid = fields.next()?.trim().parse().ok()?;
            Some(Group { name, gid, members: fields.next().unwrap_or_default().split(',').collect() })
        })
    }
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: Vec<&'a str>,
}

fn lines(file: &Option<Vec<u8>>) -> impl Iterator<Item = &str> {
    let lines = file.as_deref().unwrap_or_default().split(|&byte| byte == b'\n');
    // Names in another encoding are in comment fields; a line that is no text names nobody that could be asked for.
    let text = lines.filter_map(|line| std::str::from_utf8(line).ok()).map(str::trim);
    text.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Whether every user string means the same numbers in both. `users` are the default image's user, the candidate's, and the
/// uid that the process has.
pub(crate) fn same(default: (&str, &Accounts), candidate: (&str, &Accounts), running_uid: u32) -> Result<(), String> {
    let running = running_uid.to_string();
    for (left, right) in [(default.0, candidate.0), (&running, &running)] {
        let (was, would_be) = (default.1.resolve(left), candidate.1.resolve(right));
        match (was, would_be) {
            (Ok(was), Ok(would_be)) if was == would_be => {}
            (Ok(was), Ok(would_be)) => {
                return Err(format!("user {right:?} is {would_be}, and user {left:?} of the default entry is {was}"));
            }
            (_, Err(why)) | (Err(why), _) => return Err(why),
        }
    }
    Ok(())
}

impl std::fmt::Display for Ids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)?;
        if !self.additional.is_empty() {
            write!(f, " with groups {:?}", self.additional.iter().collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

/// The option that names the layers. The kernel takes one page of options, and leaves out the rest without a word (mount(2)): the
/// lowest layers, which as a rule hold the files that are compared.
fn lower_option(lower: &[String]) -> io::Result<String> {
    let option = format!("lowerdir={}", lower.join(":"));
    match option.len() <= MAX_OPTIONS {
        true => Ok(option),
        false => Err(io::Error::other(format!("too many layers for one mount: {}", lower.len()))),
    }
}

/// Mounts layers read-only where only this process sees them.
fn mount_lower(lower: &[String], scratch: &Path) -> io::Result<PathBuf> {
    let options = lower_option(lower)?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)?;
    crate::rebase::private_dir(scratch)?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("overlay"), scratch, Some("overlay"), flags, Some(options.as_str()))?;
    Ok(scratch.to_owned())
}

/// Reads a file as the container would see it: links, absolute ones too, stay inside the root.
fn read_in_root(root: &Path, path: &str) -> io::Result<Option<Vec<u8>>> {
    let root = File::open(root)?;
    // Looked at before it is opened: opening a device does things.
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_XDEV);
    let file = match openat2(&root, path, how) {
        Ok(descriptor) => File::from(descriptor),
        Err(nix::Error::ENOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let file = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("longer than {MAX_FILE} bytes")));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn accounts(passwd: &str, group: &str) -> Accounts {
        Accounts { passwd: Some(passwd.into()), group: Some(group.into()) }
    }

    #[test]
    fn names_and_numbers_resolve_as_in_containerd() {
        let files = accounts(
            "root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:\n# x\nbroken\n",
            "root:x:0:\nwheel:x:10:root,app\nstaff:x:50:app\n",
        );
        let cases = [
            ("", "0:0 with groups [10]"),
            ("root", "0:0 with groups [10]"),
            ("app", "1000:1001 with groups [10, 50]"),
            ("1000", "1000:1001 with groups [10, 50]"),
            ("app:staff", "1000:50 with groups [10, 50]"),
            ("4711", "4711:0"),
            ("4711:7", "4711:7"),
        ];
        for (user, expected) in cases {
            assert_eq!(files.resolve(user).unwrap().to_string(), expected, "{user}");
        }
        assert_eq!(files.resolve("nobody").unwrap_err(), "user \"nobody\" is not in /etc/passwd");
        assert_eq!(files.resolve("0:none").unwrap_err(), "group \"none\" is not in /etc/group");
        assert_eq!(Accounts::default().resolve("").unwrap().to_string(), "0:0");
    }

    #[test]
    fn a_name_that_means_another_number_is_refused() {
        let (left, right) = (accounts("app:x:1000:1000::/:", ""), accounts("app:x:1001:1001::/:", ""));
        assert_eq!(same(("app", &left), ("app", &left), 1000), Ok(()));
        assert_eq!(
            same(("app", &left), ("app", &right), 1000).unwrap_err(),
            "user \"app\" is 1001:1001, and user \"app\" of the default entry is 1000:1000"
        );
        assert!(
            same(("0", &left), ("0", &right), 1000).is_err(),
            "the uid that the pod asked for has another group there"
        );
        assert_eq!(same(("1000", &left), ("app", &left), 0), Ok(()));
    }

    #[test]
    fn more_layers_than_a_mount_takes_are_refused() {
        let of = |count: usize| {
            let layer = |at| format!("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/{at}/fs");
            lower_option(&(0..count).map(layer).collect::<Vec<_>>())
        };
        assert!(of(50).unwrap().ends_with("/49/fs"));
        assert_eq!(of(60).unwrap_err().to_string(), "too many layers for one mount: 60");
    }

    #[test]
    fn links_stay_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/real", dir.path().join("etc/passwd")).unwrap();
        fs::write(dir.path().join("etc/real"), "inside").unwrap();
        assert_eq!(read_in_root(dir.path(), "etc/passwd").unwrap().unwrap(), b"inside");
        assert_eq!(read_in_root(dir.path(), "etc/group").unwrap(), None);
        std::os::unix::fs::symlink("../../../../etc/hostname", dir.path().join("etc/group")).unwrap();
        assert_eq!(read_in_root(dir.path(), "etc/group").unwrap(), None);
    }
}
