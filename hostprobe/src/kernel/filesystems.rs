//! Owns file systems that this kernel can mount, and modules that it could load: `/proc/filesystems`, and what depmod wrote
//! about the installed modules.

use std::collections::{BTreeMap, BTreeSet};

use bestfit_selector::facts::{Fact, Facts};

use crate::HOST;
use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;

const REGISTERED: &str = "/proc/filesystems";
/// Only a kernel that loads modules has it.
const LOADED: &str = "/proc/modules";
const FUSE: &str = "/dev/fuse";

/// File systems whose module has another name, or lies elsewhere than those of the kernel (which are below `fs/`).
const NAMES: [(&str, &str); 8] = [
    ("isofs", "iso9660"),
    ("nfsv4", "nfs4"),
    ("fuse", "fuseblk"),
    ("mmfs26", "gpfs"),
    ("mmfslinux", "gpfs"),
    ("beegfs", "beegfs"),
    ("zfs", "zfs"),
    ("wekafsio", "wekafs"),
];

/// Modules that artifacts may ask about although they are not loaded. A list of all would be as long as the rest of the
/// facts together.
const ASKED: [&str; 32] = [
    "amdgpu",
    "br_netfilter",
    "ceph",
    "cxi_ss1",
    "dm_crypt",
    "efa",
    "gdrdrv",
    "hfi1",
    "i915",
    "ib_uverbs",
    "ip_vs",
    "knem",
    "kvm",
    "kvm_amd",
    "kvm_intel",
    "lnet",
    "loop",
    "mlx5_ib",
    "nbd",
    "nf_tables",
    "nvidia",
    "nvidia_fs",
    "nvidia_peermem",
    "nvidia_uvm",
    "rdma_ucm",
    "tun",
    "vfio_pci",
    "vhost_net",
    "vhost_vsock",
    "wireguard",
    "xe",
    "xpmem",
];

/// What depmod lists: modules by name, and file systems among them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Installed {
    modules: BTreeSet<&'static str>,
    filesystems: BTreeSet<String>,
}

pub(super) fn probe(root: &HostRoot, release: &Seen<String>, facts: &mut Facts) {
    let (installed, list) = installed(root, release);
    set_loadable(&installed, &list, facts);
    let registered = root.seen(root.text(REGISTERED), "/proc/sys").map(|text| registered(&text));
    set_filesystems(&registered, &installed, &list, facts);
    facts.set(HOST, "fuse.device", root.seen_there(FUSE, super::DEVICES).fact(FUSE));
}

fn set_loadable(installed: &Seen<Installed>, list: &str, facts: &mut Facts) {
    if let Seen::Known(installed) = installed {
        for name in ASKED {
            let there = installed.modules.contains(name);
            let fact = if there { Fact::known(true, list) } else { Fact::absent(list) };
            facts.set(HOST, format!("kernel.loadable.{name}"), fact);
        }
    }
    let others = match installed {
        Seen::Known(_) => Fact::unknown("not among the modules that are looked for", list),
        Seen::Absent => Fact::absent(list),
        Seen::Unknown(why) => Fact::unknown(why, list),
    };
    facts.set(HOST, "kernel.loadable.*", others);
}

fn set_filesystems(registered: &Seen<BTreeSet<String>>, installed: &Seen<Installed>, list: &str, facts: &mut Facts) {
    let mut found: BTreeMap<&str, &str> = BTreeMap::new();
    if let Seen::Known(installed) = installed {
        found.extend(installed.filesystems.iter().map(|name| (name.as_str(), list)));
    }
    if let Seen::Known(registered) = registered {
        found.extend(registered.iter().map(|name| (name.as_str(), REGISTERED)));
    }
    for (name, source) in found {
        facts.set(HOST, format!("fs.{name}"), Fact::known(true, source));
    }
    let others = match (registered, installed) {
        (Seen::Unknown(why), _) => Fact::unknown(why, REGISTERED),
        (_, Seen::Unknown(why)) => Fact::unknown(why, list),
        _ => Fact::absent(REGISTERED),
    };
    facts.set(HOST, "fs.*", others);
}

/// The last word of each line of proc_filesystems(5).
fn registered(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect()
}

/// What could be loaded; a kernel that loads no modules has nothing to load.
fn installed(root: &HostRoot, release: &Seen<String>) -> (Seen<Installed>, String) {
    let release = match release {
        Seen::Known(release) => release,
        Seen::Absent => return (Seen::Absent, LOADED.to_owned()),
        Seen::Unknown(why) => return (Seen::Unknown(why.clone()), LOADED.to_owned()),
    };
    let list = format!("/lib/modules/{release}/modules.dep");
    match root.bytes(&list) {
        Ok(bytes) => (Seen::Known(parse(&bytes)), list),
        Err(ReadError::Missing(_)) => match root.seen_there(LOADED, "/proc/sys") {
            Seen::Known(_) => (Seen::Unknown(format!("{list}: not there, though this kernel loads modules")), list),
            Seen::Absent => (Seen::Absent, LOADED.to_owned()),
            Seen::Unknown(why) => (Seen::Unknown(why), LOADED.to_owned()),
        },
        Err(error) => (Seen::Unknown(error.to_string()), list),
    }
}

/// The modules of modules.dep(5): `kernel/fs/overlayfs/overlay.ko.xz: …` is the file system overlay.
fn parse(bytes: &[u8]) -> Installed {
    let mut installed = Installed::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        let path = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let Some((folder, stem)) = std::str::from_utf8(path).ok().and_then(stem) else { continue };
        let name = stem.replace('-', "_");
        if let Some(asked) = ASKED.iter().find(|asked| **asked == name) {
            installed.modules.insert(asked);
        }
        let others = NAMES.iter().filter(|(module, _)| *module == name).map(|(_, name)| (*name).to_owned());
        installed.filesystems.extend(others);
        let mut folders = folder.split('/');
        if folders.any(|folder| folder == "fs") && folders.all(|folder| folder != "nls") {
            installed.filesystems.insert(name);
        }
    }
    installed
}

/// The folder and the name of a module's file, however it is packed.
fn stem(path: &str) -> Option<(&str, &str)> {
    let (folder, file) = path.trim().rsplit_once('/').unwrap_or(("", path.trim()));
    let (stem, packed) = file.split_once(".ko")?;
    matches!(packed, "" | ".xz" | ".gz" | ".zst").then_some((folder, stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Lines as depmod writes them: of Rocky 9, of Debian 12, of DKMS, and of vendors' installers.
    const LIST: &str = "kernel/fs/overlayfs/overlay.ko.xz:\nkernel/fs/nls/nls_iso8859-1.ko.xz:\n\
        kernel/fs/fuse/fuse.ko.xz:\nkernel/fs/isofs/isofs.ko:\nextra/lustre/fs/lustre.ko: extra/lustre/net/lnet.ko\n\
        extra/lustre/net/lnet.ko:\nextra/mmfs26.ko: extra/tracedev.ko\nupdates/dkms/zfs.ko.zst:\n\
        kernel/drivers/net/tun.ko.gz:\nextra/nvidia-peermem.ko.xz:\nx.ko.bak:\nkernel/fs\n\n:\n";

    #[test]
    fn installed_modules_are_read() {
        let found = parse(LIST.as_bytes());
        let filesystems: Vec<&str> = found.filesystems.iter().map(String::as_str).collect();
        assert_eq!(filesystems, ["fuse", "fuseblk", "gpfs", "iso9660", "isofs", "lustre", "overlay", "zfs"]);
        assert_eq!(found.modules.into_iter().collect::<Vec<_>>(), ["lnet", "nvidia_peermem", "tun"]);
    }

    #[test]
    fn registered_file_systems_are_read() {
        let text = "nodev\tsysfs\n\text4\n\tfuseblk\nnodev\toverlay\n\n";
        assert_eq!(registered(text).into_iter().collect::<Vec<_>>(), ["ext4", "fuseblk", "overlay", "sysfs"]);
    }

    #[test]
    fn what_could_not_be_read_leaves_the_rest_open() {
        let others = |registered: Seen<BTreeSet<String>>, installed| {
            let mut facts = Facts::default();
            set_filesystems(&registered, &installed, "/list", &mut facts);
            (facts.get(HOST, "fs.ext4").cloned(), facts.get(HOST, "fs.lustre").cloned())
        };
        let ext4 = || Seen::Known(BTreeSet::from(["ext4".to_owned()]));
        let known = Some(Fact::known(true, REGISTERED));
        assert_eq!(others(ext4(), Seen::Absent), (known.clone(), Some(Fact::absent(REGISTERED))));
        assert_eq!(others(ext4(), Seen::Unknown("EIO".into())), (known, Some(Fact::unknown("EIO", "/list"))));
        let all = Seen::Known(Installed { filesystems: ["lustre".to_owned()].into(), ..Installed::default() });
        let unread = Some(Fact::unknown("EACCES", REGISTERED));
        assert_eq!(others(Seen::Unknown("EACCES".into()), all), (unread, Some(Fact::known(true, "/list"))));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300), text in r"([a-z/:.\n]|\.ko|fs/){0,60}") {
            let _ = parse(&bytes);
            let _ = parse(text.as_bytes());
        }
    }
}
