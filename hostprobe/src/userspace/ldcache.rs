//! Owns `/etc/ld.so.cache`: which libraries the dynamic loader finds by name, in glibc's format
//! `glibc-ld.so.cache1.1` (glibc `sysdeps/generic/dl-cache.h`), alone or behind the older one. Knows no library.

use crate::root::HostRoot;
use crate::seen::Seen;

pub(super) const PATH: &str = "/etc/ld.so.cache";

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
/// The sizes of the headers and entries, in bytes.
const HEADER: usize = 48;
const ENTRY: usize = 24;
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
/// The most entries that are read; a large workstation has some thousand.
const MOST: usize = 1 << 15;

/// The libraries that the loader knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LdCache(Vec<Library>);

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Library {
    /// The name that programs ask for, such as `libmpi.so.12`.
    pub(super) soname: String,
    /// The file.
    pub(super) path: String,
    /// For which kind of programs, as glibc numbers them.
    flags: u32,
}

/// Why bytes are no such cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum CacheError {
    #[error("no cache of the format glibc-ld.so.cache1.1")]
    Magic,
    #[error("cut off: the entries or their texts lie behind its end")]
    Short,
    #[error("more than {MOST} entries")]
    TooMany,
}

impl LdCache {
    /// Those libraries of the host's cache whose names begin with one of `names`. A host without a cache, such as one with
    /// musl, has no library that is found through it.
    pub(super) fn load(root: &HostRoot, names: &[&str]) -> Seen<Self> {
        match root.seen(root.bytes(PATH), "/etc") {
            Seen::Known(bytes) => match Self::parse(&bytes, names) {
                Ok(cache) => Seen::Known(cache),
                Err(error) => Seen::Unknown(format!("{PATH}: {error}")),
            },
            Seen::Absent => Seen::Absent,
            Seen::Unknown(why) => Seen::Unknown(why),
        }
    }

    fn parse(bytes: &[u8], names: &[&str]) -> Result<Self, CacheError> {
        let cache = bytes.get(start(bytes)..).filter(|cache| cache.starts_with(MAGIC)).ok_or(CacheError::Magic)?;
        let words = Words::of(cache).ok_or(CacheError::Short)?;
        let count = words.at(cache, MAGIC.len()).ok_or(CacheError::Short)?;
        if count > MOST {
            return Err(CacheError::TooMany);
        }
        let entries = cache.get(HEADER..HEADER + count * ENTRY).ok_or(CacheError::Short)?;
        let mut libraries = Vec::new();
        for entry in entries.chunks_exact(ENTRY) {
            let text = |at: usize| words.at(entry, at).and_then(|at| text(cache, at)).ok_or(CacheError::Short);
            let (soname, path) = (text(4)?, text(8)?);
            if names.iter().any(|name| soname.starts_with(name.as_bytes())) {
                let flags = words.at(entry, 0).and_then(|flags| u32::try_from(flags).ok()).ok_or(CacheError::Short)?;
                let [soname, path] = [soname, path].map(|text| String::from_utf8_lossy(text).into_owned());
                libraries.push(Library { soname, path, flags });
            }
        }
        Ok(Self(libraries))
    }

    /// The libraries for programs of this architecture (GOARCH spelling); all, where the architecture is not known.
    pub(super) fn native<'a>(&'a self, architecture: Option<&'a str>) -> impl Iterator<Item = &'a Library> {
        let wanted = architecture.and_then(flags);
        self.0.iter().filter(move |library| wanted.is_none_or(|wanted| library.flags & 0xff00 == wanted))
    }
}

/// Where the cache begins: at once, or behind an older one that was kept for older loaders.
fn start(bytes: &[u8]) -> usize {
    if !bytes.starts_with(OLD_MAGIC) {
        return 0;
    }
    // The older header's count stands at byte 12, in the order of the host; the wrong order leads behind the end.
    let places = [Words::Little, Words::Big].into_iter().filter_map(|words| {
        let end = words.at(bytes, 12)?.checked_mul(OLD_ENTRY)?.checked_add(OLD_HEADER)?;
        // The newer one begins at a multiple of 8.
        end.checked_next_multiple_of(8)
    });
    places.into_iter().find(|at| bytes.get(*at..).is_some_and(|rest| rest.starts_with(MAGIC))).unwrap_or(0)
}

/// The bits of an entry that name the architecture (glibc `elf/cache.c`).
fn flags(architecture: &str) -> Option<u32> {
    Some(match architecture {
        "amd64" => 0x0300,
        "386" => 0,
        "arm64" => 0x0a00,
        "ppc64le" | "ppc64" => 0x0500,
        "s390x" => 0x0400,
        "riscv64" => 0x1000,
        _ => return None,
    })
}

/// The order of the bytes in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    Little,
    Big,
}

impl Words {
    /// The cache says its order since glibc 2.33; before, the count tells: only one order leaves the entries inside.
    fn of(cache: &[u8]) -> Option<Self> {
        let fits = |words: Words| {
            let count = words.at(cache, MAGIC.len())?;
            Some(count.checked_mul(ENTRY)?.checked_add(HEADER)? <= cache.len())
        };
        match cache.get(28)? & 3 {
            2 => Some(Self::Little),
            3 => Some(Self::Big),
            _ => [Self::Little, Self::Big].into_iter().find(|words| fits(*words) == Some(true)),
        }
    }

    /// The word at the byte `at`.
    fn at(self, bytes: &[u8], at: usize) -> Option<usize> {
        let word = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        let number = if self == Self::Little { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) };
        usize::try_from(number).ok()
    }
}

/// The text at the byte `at`, up to its NUL.
fn text(cache: &[u8], at: usize) -> Option<&[u8]> {
    let rest = cache.get(at..)?;
    rest.get(..rest.iter().position(|byte| *byte == 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache as ldconfig writes it: header, entries, texts; `order` is the byte at 28.
    fn cache(libraries: &[(&str, &str, u32)], big: bool, order: u8) -> Vec<u8> {
        let word = |number: usize| {
            let number = u32::try_from(number).unwrap();
            if big { number.to_be_bytes() } else { number.to_le_bytes() }
        };
        let mut texts = Vec::new();
        let mut entries = Vec::new();
        let base = HEADER + libraries.len() * ENTRY;
        for (soname, path, flags) in libraries {
            entries.extend(word(*flags as usize));
            for value in [soname, path] {
                entries.extend(word(base + texts.len()));
                texts.extend(value.as_bytes());
                texts.push(0);
            }
            entries.extend([0; 12]);
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend(word(libraries.len()));
        bytes.extend(word(texts.len()));
        bytes.extend([order, 0, 0, 0]);
        bytes.resize(HEADER, 0);
        bytes.extend(entries);
        bytes.extend(texts);
        bytes
    }

    const MPI: (&str, &str, u32) = ("libmpi.so.12", "/usr/lib64/mpich/lib/libmpi.so.12", 0x0303);
    const LIBC_32: (&str, &str, u32) = ("libc.so.6", "/lib/libc.so.6", 0x0003);

    const NAMES: [&str; 2] = ["libmpi.so.", "libc.so.6"];

    fn names(bytes: &[u8], architecture: &str) -> Vec<String> {
        LdCache::parse(bytes, &NAMES).unwrap().native(Some(architecture)).map(|library| library.path.clone()).collect()
    }

    #[test]
    fn entries_are_read_in_either_order_of_bytes() {
        for (big, order) in [(false, 2), (true, 3), (false, 0), (true, 0)] {
            let bytes = cache(&[MPI, ("libm.so.6", "/lib/libm.so.6", 0x0303), LIBC_32], big, order);
            assert_eq!(names(&bytes, "amd64"), [MPI.1], "{big} {order}");
            assert_eq!(names(&bytes, "386"), [LIBC_32.1]);
            assert_eq!(names(&bytes, "arm64"), [""; 0]);
            assert_eq!(names(&bytes, "loong64"), [MPI.1, LIBC_32.1], "an architecture that is not told apart");
        }
    }

    #[test]
    fn a_cache_behind_an_older_one_is_found() {
        let mut bytes = b"ld.so-1.7.0\0".to_vec();
        bytes.extend(1u32.to_le_bytes());
        bytes.extend([0; OLD_ENTRY]);
        bytes.resize(32, 0);
        bytes.extend(cache(&[MPI], false, 0));
        assert_eq!(names(&bytes, "amd64"), [MPI.1], "offsets count from the newer header");
    }

    #[test]
    fn what_is_no_whole_cache_is_an_error() {
        let whole = cache(&[MPI], false, 2);
        let mut many = whole.clone();
        many[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
        let cases: [(&[u8], CacheError); 5] = [
            (b"", CacheError::Magic),
            (b"ld.so-1.7.0\0\xff\xff\xff\xff", CacheError::Magic),
            (&whole[..30], CacheError::Short),
            (&whole[..whole.len() - 1], CacheError::Short),
            (&many, CacheError::TooMany),
        ];
        for (bytes, expected) in cases {
            assert_eq!(LdCache::parse(bytes, &NAMES), Err(expected), "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), at in 0usize..130, byte in proptest::num::u8::ANY) {
            let _ = LdCache::parse(&bytes, &NAMES);
            let _ = LdCache::parse(&[MAGIC, &bytes[..]].concat(), &NAMES);
            let _ = LdCache::parse(&[OLD_MAGIC, &bytes[..]].concat(), &NAMES);
            let mut broken = cache(&[MPI, LIBC_32], false, 2);
            broken[at] = byte;
            let _ = LdCache::parse(&broken, &NAMES);
        }
    }
}
