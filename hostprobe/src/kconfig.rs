//! Owns the kernel's configuration: NFD's `kernel.config`, and the labels that NFD makes of some options.

use std::io::Read as _;

use bestfit_selector::facts::{Fact, Facts, Value};
use bestfit_selector::features::{Attributes, Elements};
use flate2::bufread::GzDecoder;

use crate::root::{HostRoot, ReadError};
use crate::seen::Seen;
use crate::{HOST, NFD};

/// The configuration of the running kernel, where it was built to show it.
const RUNNING: &str = "/proc/config.gz";

/// Any sources that somebody left there: NFD takes them before the configurations that are named after the kernel.
const SOURCES: &str = "/usr/src/linux/.config";

/// Keys of the group `host` that are answered by the configuration where nothing else is said about them.
const KEYS: [&str; 3] = ["kernel.config.*", "kernel.configuration.*", "kernel.configurations"];

/// The most bytes of an unpacked configuration; those of distributions have about 300 KB.
const LIMIT: usize = 4 << 20;

/// The options that NFD labels by default.
pub(crate) const LABELLED: [&str; 4] = ["NO_HZ", "NO_HZ_IDLE", "NO_HZ_FULL", "PREEMPT"];

pub(crate) fn probe(root: &HostRoot, release: &Seen<String>, facts: &mut Facts) {
    let (options, source) = match load(root, release) {
        Ok((text, source)) => {
            if source == SOURCES && !is_of(&text, release) {
                let why = format!("{SOURCES}: it does not say that it is of the running kernel");
                KEYS.into_iter().for_each(|key| facts.set(HOST, key, Fact::unknown(&why, SOURCES)));
            }
            (Seen::Known(parse(&text)), source)
        }
        Err(why) => (Seen::Unknown(why), RUNNING.to_owned()),
    };
    for name in LABELLED {
        let fact = match &options {
            Seen::Known(options) => match options.get(name) {
                Some(value) => Fact::known(label(value), &source),
                None => Fact::absent(&source),
            },
            Seen::Absent => Fact::absent(&source),
            Seen::Unknown(why) => Fact::unknown(why, &source),
        };
        facts.set(NFD, format!("kernel-config.{name}"), fact);
    }
    match options {
        Seen::Known(elements) => {
            facts.features.attributes.insert("kernel.config".to_owned(), Elements { elements });
        }
        Seen::Absent => {}
        Seen::Unknown(why) => facts.features.set_unknown("kernel.config", why),
    }
}

/// NFD's label of an option: what is built in or a module is true.
fn label(value: &str) -> Value {
    match value {
        "y" | "m" => true.into(),
        other => other.into(),
    }
}

/// Where NFD looks, in its order.
fn places(release: &Seen<String>) -> Vec<String> {
    let Seen::Known(release) = release else {
        return vec![RUNNING.to_owned(), SOURCES.to_owned()];
    };
    vec![
        RUNNING.to_owned(),
        format!("/usr/src/linux-{release}/.config"),
        format!("/usr/src/linux-rt-{release}/.config"),
        SOURCES.to_owned(),
        format!("/usr/lib/modules/{release}/config"),
        format!("/usr/lib/ostree-boot/config-{release}"),
        format!("/usr/lib/kernel/config-{release}"),
        format!("/usr/src/linux-headers-{release}/.config"),
        format!("/lib/modules/{release}/build/.config"),
        format!("/usr/src/linux-rt-headers-{release}/.config"),
        format!("/boot/config-{release}"),
    ]
}

/// The first configuration that can be read, and its place; else the first reason other than "not there".
fn load(root: &HostRoot, release: &Seen<String>) -> Result<(String, String), String> {
    let mut failed = None;
    for place in places(release) {
        match read(root, &place) {
            Ok(text) => return Ok((text, place)),
            Err(ReadError::Missing(_)) => {}
            Err(error) => failed = failed.or(Some(error.to_string())),
        }
    }
    Err(failed.unwrap_or_else(|| format!("{RUNNING}: not there, nor is the configuration at any other usual place")))
}

/// Whether the heading of a configuration (`# Linux/x86 6.1.0 Kernel Configuration`) names this release.
fn is_of(text: &str, release: &Seen<String>) -> bool {
    let Seen::Known(release) = release else { return false };
    let heading =
        text.lines().take(5).find_map(|line| line.strip_prefix("# Linux/")?.strip_suffix(" Kernel Configuration"));
    let version = heading.and_then(|heading| heading.rsplit(' ').next()).filter(|version| !version.is_empty());
    version
        .and_then(|version| release.strip_prefix(version))
        .is_some_and(|rest| !rest.starts_with(|next: char| next == '.' || next.is_ascii_digit()))
}

fn read(root: &HostRoot, place: &str) -> Result<String, ReadError> {
    let bytes = root.bytes(place)?;
    let bytes = if place.ends_with(".gz") { unpack(place, &bytes)? } else { bytes };
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn unpack(place: &str, packed: &[u8]) -> Result<Vec<u8>, ReadError> {
    let unreadable = |why: String| ReadError::Unreadable(place.to_owned(), why);
    let mut bytes = Vec::with_capacity((packed.len() * 6).min(LIMIT));
    let unpacked = GzDecoder::new(packed).take(LIMIT as u64 + 1).read_to_end(&mut bytes);
    unpacked.map_err(|error| unreadable(format!("not gzip: {error}")))?;
    if bytes.len() > LIMIT { Err(unreadable(format!("unpacks to more than {LIMIT} bytes"))) } else { Ok(bytes) }
}

/// `CONFIG_NAME=value` by name, the quotes of text taken off. `# CONFIG_NAME is not set` is no option.
fn parse(text: &str) -> Attributes {
    let lines = text.split('\n').filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('='));
    lines.map(|(name, value)| (name, value.trim_matches('"'))).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn options_are_read() {
        let text = "#\n# Linux/x86 6.1.0 Kernel Configuration\n#\nCONFIG_CC_VERSION_TEXT=\"gcc (Debian) 12\"\nCONFIG_HZ=250\n\
                    # CONFIG_PREEMPT is not set\nCONFIG_NO_HZ=y\nCONFIG_EMPTY=\"\"\nCONFIG_TEXT=\"a=b\"\nCONFIG_BARE\nX=y\n";
        let options = parse(text);
        let expected =
            [("CC_VERSION_TEXT", "gcc (Debian) 12"), ("EMPTY", ""), ("HZ", "250"), ("NO_HZ", "y"), ("TEXT", "a=b")];
        assert!(options.iter().eq(expected));
        assert_eq!([label("y"), label("m"), label("250")], [true.into(), true.into(), "250".into()]);
    }

    #[test]
    fn the_heading_names_the_kernel() {
        let text = |version: &str| {
            format!("#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 {version} Kernel Configuration\n#\n")
        };
        for (version, release, expected) in [
            ("6.1.0", "6.1.0-28-amd64", true),
            ("6.1.0", "6.1.0", true),
            ("5.14.0-427.el9.x86_64", "5.14.0-427.el9.x86_64", true),
            ("6.1.1", "6.1.12", false),
            ("6.1", "6.1.12", false),
            ("6.9.0", "6.1.0", false),
            ("", "6.1.0", false),
        ] {
            assert_eq!(is_of(&text(version), &Seen::Known(release.to_owned())), expected, "{version} {release}");
        }
        assert!(!is_of("CONFIG_X=y\n", &Seen::Known("6.1.0".to_owned())) && !is_of(&text("6.1.0"), &Seen::Absent));
    }

    #[test]
    fn a_packed_file_is_bounded_and_must_be_whole() {
        let small = packed(b"CONFIG_HZ=250\n");
        assert_eq!(unpack("x", &small).unwrap(), b"CONFIG_HZ=250\n");
        assert!(unpack("x", &small[..small.len() - 9]).is_err(), "cut off");
        assert!(unpack("x", b"CONFIG_HZ=250\n").is_err());
        assert!(unpack("x", &packed(&vec![0; LIMIT])).is_ok());
        let bomb = unpack("x", &packed(&vec![0; LIMIT + 1])).unwrap_err();
        assert!(bomb.to_string().contains("more than"), "{bomb}");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = unpack("x", &bytes);
            let _ = parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
