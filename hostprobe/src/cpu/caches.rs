//! Owns what sysfs says about the first processor's caches, and the length of arm64's scalable vectors.

use bestfit_selector::facts::{Fact, Facts};

use crate::HOST;
use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;

const CACHES: &str = "/sys/devices/system/cpu/cpu0/cache";
/// Bytes of a vector that programs get unless they ask for more.
const VECTOR: &str = "/proc/sys/abi/sve_default_vector_length";
/// Processors have some four caches.
const MOST: usize = 16;

pub(super) fn probe(root: &HostRoot, facts: &mut Facts) {
    let names = match root.seen(root.names(CACHES), "/sys/devices/system/cpu/cpu0") {
        Seen::Known(names) => names,
        Seen::Absent => Vec::new(),
        Seen::Unknown(why) => return facts.set(HOST, "cpu.cache.*", Fact::unknown(why, CACHES)),
    };
    facts.set(HOST, "cpu.cache.*", Fact::absent(CACHES));
    for name in names.iter().filter(|name| name.starts_with("index")).take(MOST) {
        let dir = format!("{CACHES}/{name}");
        match cache(root, &dir) {
            Ok(Some((key, bytes))) => {
                facts.set(HOST, format!("cpu.cache.{key}"), Fact::known(bytes, format!("{dir}/size")))
            }
            Ok(None) => {}
            Err(error) => facts.set(HOST, "cpu.cache.*", Fact::unknown(error.to_string(), dir)),
        }
    }
}

/// The length in bits, as compilers count it (`-msve-vector-bits`).
pub(super) fn set_vector_length(root: &HostRoot, facts: &mut Facts) {
    let bits = root.seen_number(VECTOR, "/proc/sys/kernel").and_then(|bytes| match bytes.checked_mul(8) {
        Some(bits) => Seen::Known(bits),
        None => Seen::Unknown(format!("{VECTOR}: no length: {bytes}")),
    });
    facts.set(HOST, "cpu.sve_vl", bits.fact(VECTOR));
}

/// Name and bytes of a cache; none for one that tells no size, as on some virtual machines.
fn cache(root: &HostRoot, dir: &str) -> Result<Option<(String, i64)>, ReadError> {
    let read = |file: &str| root.attribute(&format!("{dir}/{file}"));
    let (level, kind, size) = (read("level")?, read("type")?, read("size")?);
    let parts = level.as_deref().zip(kind.as_deref()).zip(size.as_deref());
    Ok(parts.and_then(|((level, kind), size)| Some((name(level, kind)?, bytes(size)?))))
}

/// `l1d`, `l1i`, `l2`.
fn name(level: &str, kind: &str) -> Option<String> {
    let suffix = match kind {
        "Data" => "d",
        "Instruction" => "i",
        "Unified" => "",
        _ => return None,
    };
    level.parse::<u8>().ok().map(|level| format!("l{level}{suffix}"))
}

/// `32K`, `16384K`.
fn bytes(size: &str) -> Option<i64> {
    size.strip_suffix('K')?.parse::<i64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_have_names_and_bytes() {
        assert_eq!(
            [("1", "Data"), ("1", "Instruction"), ("3", "Unified")].map(|(level, kind)| name(level, kind).unwrap()),
            ["l1d", "l1i", "l3"]
        );
        assert_eq!([("x", "Data"), ("1", "Unknown")].map(|(level, kind)| name(level, kind)), [None, None]);
        let cases = [("32K", Some(32_768)), ("2048", None), ("K", None), ("9223372036854775807K", None)];
        for (size, expected) in cases {
            assert_eq!(bytes(size), expected, "{size}");
        }
    }
}
