//! Owns what may be in the mounts of a root filesystem: plain overlay, and SELinux's `context=` that the client added; and
//! whether a container may have run in them.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use containerd_client::types::Mount;

/// Options of containerd's overlayfs snapshotter beside the directories (containerd, `snapshots/overlay`).
const PLAIN: &[&str] = &["index=off", "userxattr", "volatile", "ro", "rw"];
const DIRECTORIES: &[&str] = &["lowerdir=", "upperdir=", "workdir="];

/// Says what is not plain about these mounts.
pub(crate) fn plain_overlay(mounts: &[Mount]) -> Result<(), String> {
    let [mount] = mounts else { return Err(format!("the root filesystem has {} mounts, not one", mounts.len())) };
    if mount.r#type != "overlay" || !mount.target.is_empty() {
        return Err(format!("the root filesystem is a mount of type {:?}, not plain overlay", mount.r#type));
    }
    let odd = mount.options.iter().find(|option| {
        let is_directory = DIRECTORIES.iter().any(|prefix| option.starts_with(prefix));
        !is_directory && !PLAIN.contains(&option.as_str()) && !is_context(option)
    });
    match odd {
        Some(option) => Err(format!("the root filesystem is mounted with {option:?}")),
        None => Ok(()),
    }
}

fn is_context(option: &str) -> bool {
    option.starts_with("context=")
}

/// The mounts without SELinux's context, to compare them with what the snapshotter said.
pub(crate) fn without_context(mounts: &[Mount]) -> Vec<Mount> {
    let mut mounts = mounts.to_vec();
    for mount in &mut mounts {
        mount.options.retain(|option| !is_context(option));
    }
    mounts
}

/// The SELinux contexts that the client put on mounts.
pub(crate) fn contexts(mounts: &[Mount]) -> Vec<String> {
    mounts.iter().flat_map(|mount| &mount.options).filter(|option| is_context(option)).cloned().collect()
}

/// New mounts with the contexts that the client had added to the old ones.
pub(crate) fn with_context_of(mut new: Vec<Mount>, old: &[Mount]) -> Vec<Mount> {
    let contexts = contexts(old);
    for mount in &mut new {
        mount.options.extend(contexts.iter().cloned());
    }
    new
}

/// The mounts to name where a request asks for a directory to write to that is not the snapshot's any more: it was made anew since.
pub(crate) fn moved(asked: &[Mount], now: &[Mount]) -> Option<Vec<Mount>> {
    let upper = |mounts: &[Mount]| directory(mounts, "upperdir=").map(str::to_owned);
    let moved = upper(asked).zip(upper(now)).is_some_and(|(asked, now)| asked != now);
    moved.then(|| with_context_of(without_context(now), asked))
}

fn directory<'a>(mounts: &'a [Mount], option: &str) -> Option<&'a str> {
    mounts.iter().flat_map(|mount| &mount.options).find_map(|given| given.strip_prefix(option))
}

/// Whether a container that was made at `made` (seconds and nanoseconds since 1970) may have run in these: something was written,
/// or they have been mounted since. Each mount makes the directory `work` in the working one anew, and it stays (Linux,
/// `fs/overlayfs/super.c`, `ovl_workdir_create`). A container whose image has `/proc`, `/sys`, `/dev` and `/run` may run without
/// leaving anything else; clients mount before the container is made, to read its users.
pub(crate) fn may_have_run(mounts: &[Mount], made: (i64, i32)) -> io::Result<bool> {
    let directory = |option: &str| {
        let found = directory(mounts, option).map(Path::new);
        found.ok_or_else(|| io::Error::other(format!("no {option} among the mounts")))
    };
    if fs::read_dir(directory("upperdir=")?)?.next().transpose()?.is_some() {
        return Ok(true);
    }
    let working = directory("workdir=")?;
    fs::metadata(working)?;
    match fs::symlink_metadata(working.join("work")) {
        Ok(meta) => Ok((meta.ctime(), meta.ctime_nsec()) >= (made.0, made.1.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The lower directories of an overlay mount, the top one first.
pub(crate) fn lower_directories(mounts: &[Mount]) -> Vec<String> {
    let options = mounts.iter().flat_map(|mount| &mount.options);
    let lower = options.filter_map(|option| option.strip_prefix("lowerdir=")).next();
    lower.map(|list| list.split(':').map(str::to_owned).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(options: &[&str]) -> Vec<Mount> {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        vec![Mount { r#type: "overlay".to_owned(), source: "overlay".to_owned(), target: String::new(), options }]
    }

    const PARTS: [&str; 4] = ["index=off", "workdir=/1/work", "upperdir=/1/fs", "lowerdir=/3/fs:/2/fs"];

    #[test]
    fn only_plain_overlay_passes() {
        assert_eq!(plain_overlay(&overlay(&PARTS)), Ok(()));
        assert_eq!(plain_overlay(&overlay(&[PARTS[3], "context=\"system_u:object_r:container_file_t:s0\""])), Ok(()));
        for (mounts, why) in [
            (Vec::new(), "the root filesystem has 0 mounts, not one"),
            (overlay(&["lowerdir=/a", "fsync=volatile"]), "the root filesystem is mounted with \"fsync=volatile\""),
            (
                vec![Mount { r#type: "bind".to_owned(), ..Default::default() }],
                "the root filesystem is a mount of type \"bind\", not plain overlay",
            ),
        ] {
            assert_eq!(plain_overlay(&mounts), Err(why.to_owned()));
        }
    }

    #[test]
    fn the_context_moves_to_the_new_mounts() {
        let old = overlay(&[PARTS[0], "context=\"x\""]);
        assert_eq!(without_context(&old), overlay(&[PARTS[0]]));
        assert_eq!(with_context_of(overlay(&[PARTS[1]]), &old), overlay(&[PARTS[1], "context=\"x\""]));
    }

    #[test]
    fn a_request_for_a_directory_that_is_gone_is_known() {
        let now = overlay(&["workdir=/2/work", "upperdir=/2/fs", "lowerdir=/3/fs"]);
        assert_eq!(moved(&overlay(&PARTS), &now), Some(now.clone()));
        let asked = overlay(&["upperdir=/1/fs", "context=\"x\""]);
        assert_eq!(moved(&asked, &now), Some(with_context_of(now.clone(), &asked)));
        for same in [&["upperdir=/2/fs", "index=off"][..], &["lowerdir=/4/fs"], &[]] {
            assert_eq!(moved(&overlay(same), &now), None, "{same:?}");
        }
    }

    #[test]
    fn what_was_mounted_since_is_known_although_nothing_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let [work, upper] = ["work", "upper"].map(|name| dir.path().join(name));
        let options = [format!("workdir={}", work.display()), format!("upperdir={}", upper.display())];
        let mounts = overlay(&options.each_ref().map(String::as_str));
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs().cast_signed();
        let (before, after) = ((now - 60, 0), (now + 60, 0));
        assert!(may_have_run(&mounts, before).is_err(), "directories that are not there are no proof");
        for directory in [&work, &upper] {
            fs::create_dir(directory).unwrap();
        }
        assert!(!may_have_run(&mounts, before).unwrap(), "never mounted");
        fs::create_dir(work.join("work")).unwrap();
        assert!(may_have_run(&mounts, before).unwrap(), "mounted since");
        assert!(!may_have_run(&mounts, after).unwrap(), "mounted by who made the container");
        fs::create_dir(upper.join("proc")).unwrap();
        assert!(may_have_run(&mounts, after).unwrap(), "written to");
        assert!(may_have_run(&overlay(&[PARTS[3]]), before).is_err(), "no writable directories");
    }

    #[test]
    fn lower_directories_are_read_from_the_top() {
        assert_eq!(lower_directories(&overlay(&PARTS)), ["/3/fs", "/2/fs"]);
    }
}
