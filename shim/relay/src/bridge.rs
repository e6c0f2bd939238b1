//! Owns the question whether containerd is of the 1.x line, which refuses task service version 3. Nothing that containerd
//! passes to a shim says so (1.7 and 2.1 set the same flags and variables), so it is read from the build information that
//! Go puts into every program (debug/buildinfo): the module is `github.com/containerd/containerd/v2` from 2.0 on, also
//! inside programs that contain containerd. Asked only where a delegate speaks version 3 and the protocol leaves it open.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const SECTION: &[u8] = b".go.buildinfo";
const MODULE: &[u8] = b"github.com/containerd/containerd";
/// The most that is read of the section table and of the build information, in bytes.
const MAX_TABLE: usize = 256 << 10;

/// Whether the containerd that started this process is 1.x; false where it cannot be told.
pub(crate) fn containerd_is_1(publish_binary: &str) -> bool {
    let running = format!("/proc/{}/exe", std::os::unix::process::parent_id());
    [running.as_str(), publish_binary].iter().any(|path| {
        let info = File::open(path).and_then(|file| build_info(&file));
        info.is_ok_and(|info| names_1(&info))
    })
}

/// Whether build information names containerd, and only in version 1.
fn names_1(info: &[u8]) -> bool {
    let mut found = false;
    for at in info.windows(MODULE.len()).enumerate().filter(|(_, window)| *window == MODULE).map(|(at, _)| at) {
        let rest = &info[at + MODULE.len()..];
        if rest.starts_with(b"/v2") {
            return false;
        }
        // `…/containerd/api` is a module of its own, which both lines use.
        found |= !rest.starts_with(b"/api");
    }
    found
}

/// The `.go.buildinfo` section of a 64-bit little-endian ELF file (System V ABI, chapter 4).
fn build_info(file: &File) -> io::Result<Vec<u8>> {
    let header = read(file, 0, 64)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let (table, size, count) = (number(&header, 40, 8), number(&header, 58, 2), number(&header, 60, 2));
    let sections = read(file, table, (size * count) as usize)?;
    let section = |index: u64| sections.get((index * size) as usize..((index + 1) * size) as usize).unwrap_or_default();
    // Of a section header: name 0, offset 24, size 32.
    let contents = |header: &[u8]| read(file, number(header, 24, 8), number(header, 32, 8) as usize);
    let names = contents(section(number(&header, 62, 2)))?;
    for index in 0..count {
        let name = names.get(number(section(index), 0, 4) as usize..).unwrap_or_default();
        if name.strip_prefix(SECTION).is_some_and(|rest| rest.starts_with(b"\0")) {
            return contents(section(index));
        }
    }
    Err(io::Error::from(io::ErrorKind::NotFound))
}

fn read(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    if length > MAX_TABLE {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let bytes = bytes.get(at..at + length).unwrap_or_default();
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Folder, Random};

    #[test]
    fn the_module_path_tells_the_line() {
        for (info, expected) in [
            // Debian's 1.7.24 and 2.1.9, `go version -m`.
            ("path\tgithub.com/containerd/containerd/cmd/containerd\nbuild\t-compiler=gc\n", true),
            ("path\tgithub.com/containerd/containerd/v2/cmd/containerd\nbuild\t-buildmode=exe\n", false),
            (
                "path\tgithub.com/k3s-io/k3s/cmd/server\ndep\tgithub.com/containerd/containerd/api\tv1.8.0\n\
              dep\tgithub.com/containerd/containerd/v2\tv2.0.4\n=>\tgithub.com/k3s-io/containerd/v2\tv2.0.4\n",
                false,
            ),
            ("path\tx\ndep\tgithub.com/containerd/containerd/api\tv1.8.0\n", false),
            (
                "path\tx\ndep\tgithub.com/containerd/containerd/api\tv1.8\ndep\tgithub.com/containerd/containerd\tv1.7.1\n",
                true,
            ),
            ("path\tx\n", false),
        ] {
            assert_eq!(names_1(info.as_bytes()), expected, "{info}");
        }
    }

    /// A minimal ELF file with the sections `.shstrtab` and `.go.buildinfo`.
    fn elf(info: &[u8]) -> Vec<u8> {
        let names = b"\0.shstrtab\0.go.buildinfo\0";
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[40..48].copy_from_slice(&64u64.to_le_bytes());
        file[58..60].copy_from_slice(&64u16.to_le_bytes());
        file[60..62].copy_from_slice(&2u16.to_le_bytes());
        let mut offset = 64 + 2 * 64;
        for (name, bytes) in [(1u32, names.as_slice()), (11, info)] {
            let mut section = [0; 64];
            section[..4].copy_from_slice(&name.to_le_bytes());
            section[24..32].copy_from_slice(&(offset as u64).to_le_bytes());
            section[32..40].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
            file.extend_from_slice(&section);
            offset += bytes.len();
        }
        file.extend_from_slice(names);
        file.extend_from_slice(info);
        file
    }

    #[test]
    fn build_information_is_found_and_damage_is_an_error() {
        let folder = Folder::new();
        let path = folder.path().join("program");
        let whole = elf(b"path\tgithub.com/containerd/containerd/cmd/containerd\n");
        std::fs::write(&path, &whole).unwrap();
        assert!(names_1(&build_info(&File::open(&path).unwrap()).unwrap()));
        let mut random = Random::new(17);
        for _ in 0..2_000 {
            std::fs::write(&path, random.damaged(&whole)).unwrap();
            let _ = build_info(&File::open(&path).unwrap());
        }
    }
}
