//! Owns the limit of locked memory, which RDMA and MPI libraries run into. It is this program's; a container inherits it
//! only where its runtime sets no other.

use bestfit_selector::facts::Facts;

use crate::HOST;
use crate::root::HostRoot;
use crate::seen::Seen;

const LIMITS: &str = "/proc/self/limits";
const LOCKED: &str = "Max locked memory";

pub(super) fn probe(root: &HostRoot, facts: &mut Facts) {
    let locked = root.seen(root.text(LIMITS), "/proc").and_then(|text| match soft(&text, LOCKED) {
        Some(bytes) => Seen::Known(bytes),
        None => Seen::Unknown(format!("{LIMITS}: no line {LOCKED:?} with a number")),
    });
    facts.set(HOST, "limits.memlock", locked.fact(LIMITS));
}

/// The soft limit of a line of proc_pid_limits(5); "unlimited" is the largest number.
fn soft(text: &str, name: &str) -> Option<i64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?;
    if value == "unlimited" { Some(i64::MAX) } else { value.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn soft_limits_are_read() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max locked memory         8388608              unlimited            bytes     \n\
                    Max address space         unlimited            unlimited            bytes     \n";
        assert_eq!(soft(text, LOCKED), Some(8_388_608));
        assert_eq!(soft(text, "Max address space"), Some(i64::MAX));
        assert_eq!(soft(text, "Max cpu time"), None);
        assert_eq!(soft("Max locked memory", LOCKED), None);
        assert_eq!(soft("Max locked memory  many", LOCKED), None);
    }
}
