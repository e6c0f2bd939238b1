//! Owns NFD's labels of network interfaces with virtual functions.

use bestfit_selector::facts::Facts;

use crate::NFD;
use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;

const INTERFACES: &str = "/sys/class/net";

pub(crate) fn probe(root: &HostRoot, facts: &mut Facts) {
    let names = root.seen(root.names(INTERFACES), "/sys/class");
    for (label, file) in [("capable", "sriov_totalvfs"), ("configured", "sriov_numvfs")] {
        let answer = names.as_ref().and_then(|names| any_positive(root, names, file));
        facts.set(NFD, format!("network-sriov.{label}"), answer.fact(format!("{INTERFACES}/*/device/{file}")));
    }
}

/// Known true when `file` of any interface holds more than zero. Most interfaces have no such file.
fn any_positive(root: &HostRoot, names: &[String], file: &str) -> Seen<bool> {
    let mut answer = Seen::Absent;
    for name in names {
        let path = format!("{INTERFACES}/{name}/device/{file}");
        match root.text(&path) {
            Ok(text) => match text.trim().parse::<u32>() {
                Ok(0) => {}
                Ok(_) => return Seen::Known(true),
                Err(_) => answer = Seen::Unknown(format!("{path}: not a number")),
            },
            Err(ReadError::Missing(_)) => {}
            Err(error) => answer = Seen::Unknown(error.to_string()),
        }
    }
    answer
}
