//! Owns what may be in the mounts of a root filesystem: plain overlay, and SELinux's `context=` that the client added.

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
    fn lower_directories_are_read_from_the_top() {
        assert_eq!(lower_directories(&overlay(&PARTS)), ["/3/fs", "/2/fs"]);
    }
}
