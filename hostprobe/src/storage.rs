//! Owns NFD's label of block devices that do not rotate.

use bestfit_selector::facts::Facts;

use crate::NFD;
use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;

const DEVICES: &str = "/sys/block";

pub(crate) fn probe(root: &HostRoot, facts: &mut Facts) {
    // Kernels without block devices have no such directory.
    let answer = root.seen(root.names(DEVICES), "/sys/class").and_then(|names| any_still(root, &names));
    facts.set(NFD, "storage-nonrotationaldisk", answer.fact(format!("{DEVICES}/*/queue/rotational")));
}

/// Known true at the first device that does not rotate; as in NFD a loop or ram device counts.
fn any_still(root: &HostRoot, names: &[String]) -> Seen<bool> {
    let mut answer = Seen::Absent;
    for name in names {
        match root.text(&format!("{DEVICES}/{name}/queue/rotational")) {
            Ok(text) if text.trim() == "0" => return Seen::Known(true),
            Ok(_) | Err(ReadError::Missing(_)) => {}
            Err(error) => answer = Seen::Unknown(error.to_string()),
        }
    }
    answer
}
