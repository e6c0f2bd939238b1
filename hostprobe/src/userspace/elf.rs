//! Owns as much of ELF as tells the version of a C library: section headers, version definitions, and its banner. 64-bit
//! files of either byte order (System V ABI, "Object Files"; LSB, "Symbol Versioning"). Reads parts, never whole files.

/// Gives `length` bytes from `offset` on, or fewer where the file ends.
pub(super) type Read<'a, E> = dyn FnMut(u64, usize) -> Result<Vec<u8>, E> + 'a;

/// The type of the section of version definitions, and of one that holds data.
const GNU_VERDEF: u32 = 0x6fff_fffd;
const PROGBITS: u32 = 1;

/// The most sections, and the most bytes of one, that are read.
const MOST_SECTIONS: usize = 512;
const MOST_BYTES: u64 = 1 << 19;

const HEADER: usize = 64;
const SECTION: usize = 64;

/// What the banner of glibc begins with, and what stands before the version.
const BANNER: &[u8] = b"GNU C Library (";
const RELEASE: &str = "release version ";
/// What glibc's versions of symbols begin with.
const SYMBOLS: &str = "GLIBC_";

/// Why a file tells no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ElfError<E> {
    #[error("{0}")]
    Read(E),
    #[error("{0}")]
    Shape(&'static str),
}

/// A section's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Section {
    name: usize,
    kind: u32,
    offset: u64,
    size: u64,
    link: usize,
}

/// The version of a glibc: the one in its banner, else the highest that its symbols have (the two differ where a release
/// brought no new symbol).
pub(super) fn glibc_version<E>(read: &mut Read<'_, E>) -> Result<String, ElfError<E>> {
    let header = read(0, HEADER).map_err(ElfError::Read)?;
    let order = order(&header).ok_or(ElfError::Shape("no 64-bit ELF file"))?;
    let cut = || ElfError::Shape("cut off, or its sections lie outside it");
    let at = order.number(&header, 40, 8).ok_or_else(cut)?;
    let count = order.number(&header, 60, 2).and_then(|count| usize::try_from(count).ok()).ok_or_else(cut)?;
    let names = order.number(&header, 62, 2).and_then(|index| usize::try_from(index).ok()).ok_or_else(cut)?;
    if count > MOST_SECTIONS {
        return Err(ElfError::Shape("more sections than a library has"));
    }
    let table = read(at, count * SECTION).map_err(ElfError::Read)?;
    let sections: Vec<Section> =
        table.chunks_exact(SECTION).map(|bytes| section(order, bytes)).collect::<Option<_>>().ok_or_else(cut)?;
    let mut content = |section: Section| -> Result<Vec<u8>, ElfError<E>> {
        if section.size > MOST_BYTES {
            return Err(ElfError::Shape("a section longer than a C library's"));
        }
        read(section.offset, usize::try_from(section.size).unwrap_or(0)).map_err(ElfError::Read)
    };

    if let Some(names) = sections.get(names).copied() {
        let names = content(names)?;
        let named = |section: &&Section| section.kind == PROGBITS && text(&names, section.name) == Some(".rodata");
        if let Some(constants) = sections.iter().find(named)
            && let Some(version) = banner_version(&content(*constants)?)
        {
            return Ok(version);
        }
    }
    let definitions = sections.iter().find(|section| section.kind == GNU_VERDEF);
    let texts = definitions.and_then(|definitions| sections.get(definitions.link)).copied();
    let (Some(definitions), Some(texts)) = (definitions, texts) else {
        return Err(ElfError::Shape("neither a banner of glibc nor versions of symbols"));
    };
    let (definitions, texts) = (content(*definitions)?, content(texts)?);
    highest(order, &definitions, &texts).ok_or(ElfError::Shape("no version of symbols that begins with GLIBC_"))
}

/// The version in `GNU C Library (…) stable release version 2.41.`
fn banner_version(bytes: &[u8]) -> Option<String> {
    // Comparing only where the first byte is right: this looks through 200 KB.
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == BANNER[0]);
    let line = starts.map(|(at, _)| &bytes[at..]).find(|rest| rest.starts_with(BANNER))?;
    let line = line.get(..200).unwrap_or(line);
    let line = String::from_utf8_lossy(line.split(|byte| *byte == b'\n' || *byte == 0).next()?);
    let (_, version) = line.split_once(RELEASE)?;
    let version: String = version.chars().take_while(|char| char.is_ascii_digit() || *char == '.').collect();
    let version = version.trim_end_matches('.');
    (!version.is_empty()).then(|| version.to_owned())
}

/// The highest version of symbols: `2.36` of `GLIBC_2.36`. `GLIBC_PRIVATE` is none.
fn highest(order: Order, definitions: &[u8], texts: &[u8]) -> Option<String> {
    let number = |at: usize, length: usize| order.number(definitions, at, length).and_then(|n| usize::try_from(n).ok());
    let (mut at, mut best) = (0, None);
    // Each entry is at least 20 bytes long, and each leads forward.
    for _ in 0..=definitions.len() / 20 {
        let Some(aux) = number(at + 12, 4) else { break };
        let name = at.checked_add(aux).and_then(|aux| number(aux, 4)).and_then(|name| text(texts, name));
        if let Some(version) = name.and_then(|name| name.strip_prefix(SYMBOLS)) {
            let parts: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
            best = best.max(parts.map(|parts| (parts, version.to_owned())));
        }
        match number(at + 16, 4) {
            Some(next) if next > 0 && at + next < definitions.len() => at += next,
            _ => break,
        }
    }
    best.map(|(_, version)| version)
}

/// The order of the bytes in a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn number(self, bytes: &[u8], at: usize, length: usize) -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(length)?)?;
        let fold = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self == Self::Big { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) })
    }
}

fn order(header: &[u8]) -> Option<Order> {
    match header.get(..6)? {
        [0x7f, b'E', b'L', b'F', 2, 1] => Some(Order::Little),
        [0x7f, b'E', b'L', b'F', 2, 2] => Some(Order::Big),
        _ => None,
    }
}

fn section(order: Order, bytes: &[u8]) -> Option<Section> {
    let small = |at: usize| order.number(bytes, at, 4);
    Some(Section {
        name: usize::try_from(small(0)?).ok()?,
        kind: u32::try_from(small(4)?).ok()?,
        offset: order.number(bytes, 24, 8)?,
        size: order.number(bytes, 32, 8)?,
        link: usize::try_from(small(40)?).ok()?,
    })
}

fn text(table: &[u8], at: usize) -> Option<&str> {
    let rest = table.get(at..)?;
    std::str::from_utf8(rest.split(|byte| *byte == 0).next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A library with the named versions of symbols, and `constants` as its `.rodata`.
    fn library(versions: &[&str], constants: &str, big: bool) -> Vec<u8> {
        let number = |number: usize, length: usize| {
            let bytes = (number as u64).to_be_bytes()[8 - length..].to_vec();
            if big { bytes } else { bytes.into_iter().rev().collect() }
        };
        let (mut texts, mut definitions) = (vec![0], Vec::new());
        for (index, version) in versions.iter().enumerate() {
            let next = if index + 1 == versions.len() { 0 } else { 28 };
            // Version, flags, index, count, hash; then the name's place, the next entry's, and the name.
            for (value, length) in
                [(1, 2), (0, 2), (index, 2), (1, 2), (0, 4), (20, 4), (next, 4), (texts.len(), 4), (0, 4)]
            {
                definitions.extend(number(value, length));
            }
            texts.extend(version.as_bytes());
            texts.push(0);
        }
        let names = b"\0.rodata\0";
        let contents: [(usize, u32, &[u8], usize); 5] = [
            (0, 0, b"", 0),
            (0, 3, &texts, 0),
            (0, GNU_VERDEF, &definitions, 1),
            (1, PROGBITS, constants.as_bytes(), 0),
            (0, 3, names, 0),
        ];
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, if big { 2 } else { 1 }];
        bytes.resize(HEADER, 0);
        let mut table = Vec::new();
        for (name, kind, content, link) in contents {
            for (value, length) in [(name, 4), (kind as usize, 4), (0, 8), (0, 8), (bytes.len(), 8), (content.len(), 8)]
            {
                table.extend(number(value, length));
            }
            table.extend(number(link, 4));
            table.resize(table.len().next_multiple_of(SECTION), 0);
            bytes.extend(content);
        }
        bytes.splice(40..48, number(bytes.len(), 8));
        bytes.splice(60..62, number(contents.len(), 2));
        bytes.splice(62..64, number(4, 2));
        bytes.extend(table);
        bytes
    }

    fn version(file: &[u8]) -> Result<String, ElfError<()>> {
        glibc_version(&mut |offset, length| {
            let rest = usize::try_from(offset).ok().and_then(|offset| file.get(offset..)).unwrap_or_default();
            Ok(rest.get(..length).unwrap_or(rest).to_vec())
        })
    }

    const VERSIONS: [&str; 5] = ["libc.so.6", "GLIBC_2.9", "GLIBC_2.17", "GLIBC_2.3.4", "GLIBC_PRIVATE"];

    #[test]
    fn the_banner_goes_before_the_symbols() {
        let debian = "\0x\0GNU C Library (Debian GLIBC 2.41-12) stable release version 2.41.\nCopyright (C) 2025";
        let plain = "GNU C Library (GNU libc) development release version 2.43.9000.\n";
        for big in [false, true] {
            assert_eq!(version(&library(&VERSIONS, debian, big)).unwrap(), "2.41");
            assert_eq!(version(&library(&VERSIONS, plain, big)).unwrap(), "2.43.9000");
            assert_eq!(version(&library(&VERSIONS, "GNU C Library (cut", big)).unwrap(), "2.17", "compared as numbers");
            assert_eq!(version(&library(&VERSIONS, "", big)).unwrap(), "2.17");
        }
    }

    #[test]
    fn what_tells_no_version_is_an_error() {
        let whole = library(&VERSIONS, "", false);
        let mut narrow = whole.clone();
        narrow[4] = 1;
        for bytes in [b"".as_slice(), b"#!/bin/sh\n", &narrow, &whole[..50], &library(&["libm.so.6"], "", false)] {
            assert!(matches!(version(bytes), Err(ElfError::Shape(_))), "{bytes:?}");
        }
        let refused: Result<String, ElfError<&str>> = glibc_version(&mut |_, _| Err("EIO"));
        assert_eq!(refused, Err(ElfError::Read("EIO")));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300), place in 0usize..500, byte in proptest::num::u8::ANY) {
            let _ = version(&bytes);
            let _ = version(&[b"\x7fELF\x02\x01".as_slice(), &bytes].concat());
            let mut broken = library(&VERSIONS, "GNU C Library (x) release version ", false);
            if let Some(old) = broken.get_mut(place) {
                *old = byte;
            }
            let _ = version(&broken);
            let _ = banner_version(&bytes);
            let _ = highest(Order::Big, &bytes, &bytes);
        }
    }
}
