//! Owns kernel modules: NFD's `kernel.loadedmodule` and `kernel.enabledmodule`, and its label `rdma.available`.

use bestfit_selector::facts::Facts;

use crate::NFD;
use crate::feature;
use crate::root::{HostRoot, Part};
use crate::seen::Seen;

const LOADED: &str = "/proc/modules";
/// Who uses a module changes all the time.
pub(crate) const NAMES: Part = Part { path: LOADED, name: "names", of: |text| loaded(text).join("\n") };

pub(crate) fn probe(root: &HostRoot, release: &Seen<String>, facts: &mut Facts) {
    // A kernel that cannot load modules has no such file, and NFD then no such feature.
    let loaded = root.seen(root.text_of(&NAMES), "/proc/sys").map(|text| loaded(&text));
    let rdma = loaded.as_ref().map(|modules| has_rdma(|name| modules.iter().any(|module| module == name)));
    facts.set(NFD, "rdma.available", rdma.true_only().fact(LOADED));

    let enabled = match (&loaded, built_in(root, release)) {
        (Seen::Unknown(why), _) => Seen::Unknown(why.clone()),
        (Seen::Known(loaded), Seen::Known(built_in)) => Seen::Known([loaded.clone(), built_in].concat()),
        (Seen::Absent, built_in) | (_, built_in) => built_in,
    };
    feature::flags(&mut facts.features, "kernel.loadedmodule", loaded);
    feature::flags(&mut facts.features, "kernel.enabledmodule", enabled);
}

/// The modules that are part of the kernel. Every build has this list, so that one which is not installed is unknown.
fn built_in(root: &HostRoot, release: &Seen<String>) -> Seen<Vec<String>> {
    release.as_ref().and_then(|release| {
        let list = root.text(&format!("/lib/modules/{release}/modules.builtin"));
        Seen::of(list).map(|text| names(&text))
    })
}

/// The first word of each line, as the kernel writes the names.
fn loaded(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// The names of files such as `kernel/fs/nls/nls_iso8859-1.ko`: as written, which is NFD's form, and with the underscores
/// that the kernel's own lists have.
fn names(text: &str) -> Vec<String> {
    let files = text.lines().filter_map(|line| line.trim().strip_suffix(".ko"));
    let stems = files.map(|path| path.rsplit_once('/').map_or(path, |(_, name)| name));
    stems.flat_map(|name| [name.to_owned(), name.replace('-', "_")]).collect()
}

/// Whether the modules are loaded that let programs use RDMA: NFD's rule of `rdma.available`.
pub(crate) fn has_rdma(is_loaded: impl Fn(&str) -> bool) -> bool {
    ["ib_uverbs", "rdma_ucm"].into_iter().all(is_loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_modules_are_needed() {
        let has = |text: &str| has_rdma(|name| loaded(text).iter().any(|module| module == name));
        assert!(has("rdma_ucm 32768 0 - Live 0x0\nib_uverbs 1 1 rdma_ucm, Live 0x0\n"));
        assert!(!has("rdma_ucm 32768 0 - Live 0x0\n"));
        assert!(!has("ib_uverbs_extra 1 0 ib_uverbs rdma_ucm\n\n"));
    }

    #[test]
    fn built_in_modules_have_both_spellings() {
        let text = "kernel/fs/nls/nls_iso8859-1.ko\nkernel/fs/ext4/ext4.ko\nkernel/fs/x.ko.xz\n\n";
        assert_eq!(names(text), ["nls_iso8859-1", "nls_iso8859_1", "ext4", "ext4"]);
    }
}
