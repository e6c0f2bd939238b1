//! Owns writing a tar archive (POSIX ustar) that is the same bytes each time: no time, no owner names, order as given.

/// A tar archive in the making.
#[derive(Debug, Default, Clone)]
pub struct Tar(Vec<u8>);

impl Tar {
    /// A directory.
    #[must_use]
    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(&format!("{}/", path.trim_end_matches('/')), mode, b'5', "", &[])
    }

    /// A regular file.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, bytes: &[u8]) -> Self {
        self.entry(path, mode, b'0', "", bytes)
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(path, 0o777, b'2', target, &[])
    }

    /// The archive's bytes, with its end.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }

    fn entry(mut self, path: &str, mode: u32, kind: u8, target: &str, bytes: &[u8]) -> Self {
        assert!(path.len() < 100 && target.len() < 100, "name too long for ustar: {path}");
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
        put(0, path.as_bytes());
        put(100, format!("{mode:07o}").as_bytes());
        put(108, b"0000000");
        put(116, b"0000000");
        put(124, format!("{:011o}", bytes.len()).as_bytes());
        put(136, b"00000000000");
        put(148, b"        ");
        put(156, &[kind]);
        put(157, target.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend(header);
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn tar_reads_what_was_written() {
        let bytes =
            Tar::default().dir("etc", 0o755).file("etc/build", 0o644, b"plain\n").link("b", "etc/build").finish();
        let mut tar =
            Command::new("tar").args(["-tvf", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        tar.stdin.take().unwrap().write_all(&bytes).unwrap();
        let out = tar.wait_with_output().unwrap();
        let listing = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success(), "{listing}");
        for expected in ["drwxr-xr-x", "-rw-r--r--", "etc/build", "b -> etc/build"] {
            assert!(listing.contains(expected), "{expected} is missing in\n{listing}");
        }
    }
}
