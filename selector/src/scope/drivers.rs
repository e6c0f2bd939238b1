//! Owns drivers as narrowing sees them: a loaded one promises nothing to a container without its devices.

use std::collections::BTreeMap;

use super::narrow::{Held, retain, set};
use super::which::Which;
use crate::devices::Kind;
use crate::facts::Facts;

/// NFD's features that name kernel modules.
const MODULES: [&str; 2] = ["kernel.loadedmodule", "kernel.enabledmodule"];

/// Drivers that say nothing to a container without their devices.
const DRIVERS: [(&str, Kind); 24] = [
    ("amdxdna", Kind::Accelerator),
    ("gdrdrv", Kind::Nvidia),
    ("nvidia", Kind::Nvidia),
    ("nvidia_drm", Kind::Nvidia),
    ("nvidia_fs", Kind::Nvidia),
    ("nvidia_modeset", Kind::Nvidia),
    ("nvidia_peermem", Kind::Nvidia),
    ("nvidia_uvm", Kind::Nvidia),
    ("amdgpu", Kind::Amd),
    ("i915", Kind::Intel),
    ("xe", Kind::Intel),
    ("habanalabs", Kind::Accelerator),
    ("neuron", Kind::Accelerator),
    ("intel_vpu", Kind::Accelerator),
    ("bnxt_re", Kind::Fabric),
    ("cxi_ss1", Kind::Fabric),
    ("efa", Kind::Fabric),
    ("hfi1", Kind::Fabric),
    ("ib_uverbs", Kind::Fabric),
    ("irdma", Kind::Fabric),
    ("mlx4_ib", Kind::Fabric),
    ("mlx5_ib", Kind::Fabric),
    ("rdma_cm", Kind::Fabric),
    ("rdma_ucm", Kind::Fabric),
];

/// Takes away what is said of drivers whose devices the container does not have.
pub(super) fn narrow(facts: &mut Facts, which: &BTreeMap<Kind, Which>) {
    for (driver, kind) in DRIVERS {
        let unknown = match &which[&kind] {
            Which::These(_) | Which::Some => continue,
            Which::Nothing => None,
            Which::Untold(why) => Some(why),
        };
        for name in MODULES {
            let family = facts.features.flags.get_mut(name);
            let was_there = family.is_some_and(|family| family.elements.remove(driver));
            if let Some(why) = unknown.filter(|_| was_there) {
                facts.features.set_unknown(&format!("{name}/{driver}"), why);
            }
        }
        let held = || unknown.map_or(Held::No, |why| Held::Untold(why.clone()));
        for (key, fact) in facts.facts.get_mut("host").into_iter().flatten() {
            if !key.starts_with("kernel.") || !key.contains("module") {
                continue;
            }
            // One module (`…module.NAME`), or a set of them.
            if key.ends_with(&format!(".{driver}")) {
                set(fact, held());
            } else {
                retain(fact, |name| if name == driver { held() } else { Held::Yes });
            }
        }
    }
}
