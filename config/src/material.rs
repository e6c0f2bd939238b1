//! Owns the files that `[trust]` names: keys, roots, lists of what was revoked. They are read with the configuration, so that
//! a change takes effect at the next create, and a file that others could change is a problem, not a key.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use bestfit_selector::digest::Digest;
use bestfit_selector::trust::{Accept, By, Trust};

use crate::load::Origin;
use crate::problem::Problem;
use crate::trust::{TRUST, TrustFiles, accept_name};
use crate::values::quoted;

/// The longest file of a key or of roots, in bytes.
const MAX_KEY: u64 = 256 << 10;
/// The longest list of what was revoked, in bytes.
const MAX_REVOKED: u64 = 1 << 20;
/// The bits of a mode that let others write.
const OTHERS_WRITE: u32 = 0o022;
/// A directory of this mode lets others make files, but not replace those of root.
const STICKY: u32 = 0o1000;
/// The most links that are followed to one file, as Linux does.
const MAX_LINKS: usize = 40;

/// Why a file cannot be used.
struct Unusable {
    message: String,
    hint: Option<String>,
    line: Option<usize>,
}

/// Puts the contents of the files into the policy's trust; with each entry comes its place in its list. Every file that cannot be
/// used is a problem of its own.
pub(crate) fn read(
    (files, positions): (&TrustFiles, &[usize]),
    trust: &mut Trust,
    origins: &BTreeMap<String, Origin>,
    problems: &mut Vec<Problem>,
) {
    let mut problem = |key: &str, file: &Path, why: Unusable| {
        let place = why.line.map(|line| format!(":{line}")).unwrap_or_default();
        let text = format!("{}{place}: {}", file.display(), why.message);
        problems.push(Problem::of(origins, key, &text, why.hint));
    };
    for (position, entry) in positions.iter().zip(&files.accept) {
        let mut accept: Accept = entry.clone();
        for (name, place) in places(&mut accept.by) {
            match text(Path::new(place.as_str()), MAX_KEY).and_then(|text| looks_right(name, text)) {
                Ok(text) => *place = text,
                Err(why) => problem(&format!("{}.{name}", accept_name(*position)), Path::new(place.as_str()), why),
            }
        }
        trust.accept.push(accept);
    }
    trust.revoked_digests = files.revoked.digests.clone();
    for file in &files.revoked.files {
        match text(file, MAX_REVOKED).and_then(|text| digests(&text)) {
            Ok(digests) => trust.revoked_digests.extend(digests),
            Err(why) => problem(&format!("{TRUST}.revoked"), file, why),
        }
    }
    trust.revoked_digests.sort();
    trust.revoked_digests.dedup();
    // Which of both a SHA-256 is need not be said: one cannot be mistaken for the other.
    trust.revoked_keys = trust.revoked_digests.clone();
}

/// The places of an entry that hold a path, and the name of each.
fn places(by: &mut By) -> Vec<(&'static str, &mut String)> {
    fn chain<'a>(
        names: (&'static str, &'static str),
        roots: &'a mut String,
        tsa: &'a mut Option<String>,
    ) -> Vec<(&'static str, &'a mut String)> {
        [(names.0, roots)].into_iter().chain(tsa.as_mut().map(|tsa| (names.1, tsa))).collect()
    }
    match by {
        By::Key { pem } => vec![("key", pem)],
        By::Certificates { roots, tsa, .. } => chain(("certificates.roots", "certificates.tsa"), roots, tsa),
        By::Notation { roots, tsa, .. } => chain(("notation.roots", "notation.tsa"), roots, tsa),
        By::Keyless { trusted_root, .. } => vec![("keyless.trusted_root", trusted_root)],
    }
}

/// Catches the wrong file early; whether it holds a usable key is for whoever verifies with it.
fn looks_right(name: &str, text: String) -> Result<String, Unusable> {
    let wrong = |message: &str, hint: &str| {
        Err(Unusable { message: message.to_owned(), hint: Some(hint.to_owned()), line: None })
    };
    if text.contains("PRIVATE KEY-----") {
        return wrong("a private key", "name the public key here, and keep the private one off this node");
    }
    match name {
        "key" if !text.contains("-----BEGIN PUBLIC KEY-----") => {
            wrong("no public key in PEM", "`cosign public-key --key cosign.key` prints one")
        }
        "keyless.trusted_root" if !text.trim_start().starts_with('{') => {
            wrong("no JSON", "`cosign trusted-root create` and `sigstore`'s TUF repository give a trusted_root.json")
        }
        "key" | "keyless.trusted_root" => Ok(text),
        _ if !text.contains("-----BEGIN CERTIFICATE-----") => {
            wrong("no certificate in PEM", "`openssl x509 -in FILE -inform der` turns DER into PEM")
        }
        _ => Ok(text),
    }
}

/// One digest per line, and what follows it is a comment; so is a line that begins with `#`.
fn digests(text: &str) -> Result<Vec<Digest>, Unusable> {
    let lines = text.lines().enumerate().filter_map(|(at, line)| Some((at + 1, line.split_whitespace().next()?)));
    let parse = |(line, word): (usize, &str)| {
        word.parse().map_err(|_| Unusable {
            message: format!("{} is no digest", quoted(word)),
            hint: Some("write sha256: and 64 lower-case hex digits, one per line".to_owned()),
            line: Some(line),
        })
    };
    lines.filter(|(_, word)| !word.starts_with('#')).map(parse).collect()
}

/// The text of a file that nobody but root, or the user of this process, can change.
fn text(path: &Path, limit: u64) -> Result<String, Unusable> {
    let failed = |error: io::Error| Unusable { message: format!("cannot be read: {error}"), hint: None, line: None };
    let real = walk(path)?;
    // A pipe could keep a create waiting.
    if !fs::metadata(&real).map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("not a regular file")));
    }
    let mut bytes = Vec::new();
    let file = File::open(&real).map_err(failed)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Unusable { message: format!("larger than {} KiB", limit >> 10), hint: None, line: None });
    }
    String::from_utf8(bytes).map_err(|_| Unusable {
        message: "not text".to_owned(),
        hint: Some("keys and certificates are PEM here, not DER".to_owned()),
        line: None,
    })
}

/// What a path leads to. It is looked at with every directory and every link on the way, those that links lead through among
/// them: who can change one of them can put another file in its place.
fn walk(path: &Path) -> Result<PathBuf, Unusable> {
    let failed = |error: io::Error| Unusable { message: format!("cannot be read: {error}"), hint: None, line: None };
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    let mut left: Vec<OsString> = parts(path);
    loop {
        let data = fs::symlink_metadata(&at).map_err(failed)?;
        let link = data.is_symlink();
        let sticky = data.is_dir() && data.mode() & STICKY != 0;
        if !ours(data.uid()) || (!link && data.mode() & OTHERS_WRITE != 0 && !sticky) {
            return Err(changeable(&at));
        }
        if link {
            links += 1;
            if links > MAX_LINKS {
                return Err(failed(io::Error::other("too many links")));
            }
            let target = fs::read_link(&at).map_err(failed)?;
            left.extend(parts(&target));
            at = if target.is_absolute() { "/".into() } else { at.parent().unwrap_or(Path::new("/")).to_owned() };
        }
        match left.pop() {
            None => return Ok(at),
            Some(part) if part == ".." => drop(at.pop()),
            Some(part) => at.push(part),
        }
    }
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev();
    let parts = parts.filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    parts.map(|part| part.as_os_str().to_owned()).collect()
}

fn changeable(path: &Path) -> Unusable {
    Unusable {
        message: format!("others than root could change it: {}", path.display()),
        hint: Some(match path.is_symlink() {
            true => format!("chown -h root {}", path.display()),
            false => format!("chown root {0} && chmod go-w {0}", path.display()),
        }),
        line: None,
    }
}

/// Whether an owner is root or the user of this process: who asks `bestfit` about a policy of their own may write it.
fn ours(owner: u32) -> bool {
    owner == 0 || fs::metadata("/proc/self").is_ok_and(|data| data.uid() == owner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn refused(path: &Path) -> String {
        text(path, 8).err().map(|why| why.message).unwrap_or_default()
    }

    #[test]
    fn a_file_that_others_can_change_is_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pub");
        fs::write(&file, "key").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(text(&file, 8).ok().as_deref(), Some("key"));
        let link = dir.path().join("link");
        symlink(&file, &link).unwrap();
        assert_eq!(text(&link, 8).ok().as_deref(), Some("key"), "links are followed to what they lead to");
        for mode in [0o664, 0o646] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert!(refused(&file).contains("others than root could change it"), "{mode:o}");
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(refused(&file).contains("others than root could change it"), "they could put another in its place");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(text(&file, 8).ok().as_deref(), Some("key"));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&file, "too long for this").unwrap();
        assert_eq!(refused(&file), "larger than 0 KiB");
        fs::write(&file, b"\xff").unwrap();
        assert_eq!(refused(&file), "not text");
        assert_eq!(refused(dir.path()), "cannot be read: not a regular file");
        assert!(refused(&dir.path().join("missing")).starts_with("cannot be read: No such file"));
    }

    #[test]
    fn no_directory_on_the_way_of_a_link_belongs_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        // As Kubernetes mounts secrets: key -> ..data/key, ..data -> ..1/, in a sticky directory.
        for name in ["open", "volume", "volume/..1"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("volume/..1/key"), "key").unwrap();
        symlink("..1", at("volume/..data")).unwrap();
        symlink("..data/key", at("volume/key")).unwrap();
        symlink(at("volume/../volume/key"), at("open/key")).unwrap();
        symlink("open/key", at("link")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let mode = |name: &str, mode| fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        mode("volume/..1/key", 0o644);
        mode("volume", 0o1777);
        for name in ["volume/key", "open/key", "link"] {
            assert_eq!(text(&at(name), 8).ok().as_deref(), Some("key"), "{name}");
        }
        mode("open", 0o777);
        for name in ["open/key", "link"] {
            assert!(refused(&at(name)).ends_with("/open"), "{name}");
        }
        assert_eq!(refused(&at("loop")), "cannot be read: too many links");
        mode("open", 0o755);
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            std::os::unix::fs::lchown(at("volume/..data"), Some(65534), None).unwrap();
            assert!(refused(&at("link")).ends_with("/volume/..data"), "its owner may replace it in a sticky directory");
            std::os::unix::fs::chown(at("open"), Some(65534), None).unwrap();
            assert!(refused(&at("link")).ends_with("/open"), "links lead through a directory of somebody else");
        }
    }

    #[test]
    fn what_was_revoked_is_one_digest_per_line() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let read = |text: &str| digests(text).map_err(|why| (why.line, why.message));
        assert_eq!(read(&format!("# lost\n\n {digest}  the old key\n{digest}\n")).map(|all| all.len()), Ok(2));
        assert_eq!(read("\nsha256:x\n"), Err((Some(2), "\"sha256:x\" is no digest".to_owned())));
    }
}
