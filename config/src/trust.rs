//! Owns `[[trust.accept]]`, whom the site trusts, and what a profile may not take back of `[trust]`. Opens no file: entries
//! keep the paths as they are written, and `crate::material` puts the contents in their place.

use std::path::PathBuf;

use bestfit_selector::digest::Digest;
use bestfit_selector::trust::{Accept, By, ImageSigned, KeylessTime, Trust, TrustMode};
use toml::de::DeValue;

use crate::keys::{quote, show_list};
use crate::values::{self, Refused, put, quoted, texts};

/// The table that says whose artifacts count.
pub const TRUST: &str = "trust";
/// The list of tables in it that says who is trusted, the most trusted first.
pub const ACCEPT: &str = "accept";
/// The full name of an entry of that list, by its place from 0: where it stands is kept under this name.
pub fn accept_name(position: usize) -> String {
    format!("{TRUST}.{ACCEPT}[{position}]")
}

/// The most entries of that list.
pub(crate) const MAX_ACCEPT: usize = 32;

pub(crate) const TRUST_MODES: [(&str, TrustMode); 4] = [
    ("off", TrustMode::Off),
    ("warn", TrustMode::Warn),
    ("enforce", TrustMode::Enforce),
    ("require", TrustMode::Require),
];
pub(crate) const IMAGE_SIGNED: [(&str, ImageSigned); 3] =
    [("off", ImageSigned::Off), ("index-or-entry", ImageSigned::IndexOrEntry), ("index", ImageSigned::Index)];
const TIMES: [(&str, KeylessTime); 2] = [("log", KeylessTime::Log), ("tsa", KeylessTime::Tsa)];
/// Only one of these tells how an entry's signatures are told.
const FORMS: &str = "key, certificates, keyless or notation";

/// What `[trust]` says about files; their contents become part of the policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustFiles {
    /// Whom the site trusts, with paths in the place of keys and roots.
    pub accept: Vec<Accept>,
    /// What counts for nothing any more.
    pub revoked: Revoked,
    /// The directory of containerd's image verifiers that are asked before a swap.
    pub image_verifiers: Option<PathBuf>,
}

/// Digests and fingerprints, and files of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Those that the configuration lists itself.
    pub digests: Vec<Digest>,
    /// Files with one per line.
    pub files: Vec<PathBuf>,
}

/// One key of an entry: its name (`table.name` within one of the tables), what may be written, and what it does.
pub struct AcceptKey {
    /// The name.
    pub name: &'static str,
    /// What may be written, for people.
    pub expects: &'static str,
    /// What it does.
    pub doc: &'static str,
    pub(crate) read: fn(&mut Draft, &DeValue<'_>) -> Result<(), Refused>,
}

/// An entry while it is read.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    name: Option<String>,
    scopes: Vec<String>,
    key: Option<String>,
    certificates: Option<Chain>,
    keyless: Option<Identity>,
    notation: Option<Chain>,
}

#[derive(Debug, Default)]
struct Chain {
    roots: String,
    identities: Vec<String>,
    tsa: Option<String>,
}

#[derive(Debug, Default)]
struct Identity {
    issuer: String,
    subject: String,
    trusted_root: String,
    time: KeylessTime,
}

const FILE: &str = "an absolute path of a file that only root can write";
const NAMES: &str = "a list of texts with `*` for any text";

/// The keys of an entry, in the order of the reference.
pub const ACCEPT_KEYS: &[AcceptKey] = &[
    AcceptKey {
        name: "name",
        expects: "text; without it the name of the file, or the subject of a keyless identity",
        doc: "What explanations and records call the signer. Each name stands for one signer.",
        read: |draft, value| put(&mut draft.name, name(value).map(Some)),
    },
    AcceptKey {
        name: "scopes",
        expects: "a list of repositories with `*` for any text, such as [\"registry.example/hpc/*\"]; all without it",
        doc: "The repositories, as `host/repository`, that the signer may speak about.",
        read: |draft, value| put(&mut draft.scopes, scopes(value)),
    },
    AcceptKey {
        name: "key",
        expects: FILE,
        doc: "A public key as PEM that cosign signs with: ECDSA P-256 or P-384, RSA of 2048 bits or more, Ed25519.",
        read: |draft, value| put(&mut draft.key, file(value).map(Some)),
    },
    AcceptKey {
        name: "certificates.roots",
        expects: FILE,
        doc: "Signatures of cosign with a certificate below one of these roots (PEM).",
        read: |draft, value| put(&mut draft.certificates.get_or_insert_default().roots, file(value)),
    },
    AcceptKey {
        name: "certificates.identities",
        expects: NAMES,
        doc: "URI, e-mail or DNS names of which the certificate must have one; any certificate below the roots without it.",
        read: |draft, value| put(&mut draft.certificates.get_or_insert_default().identities, texts(value)),
    },
    AcceptKey {
        name: "certificates.tsa",
        expects: FILE,
        doc: "Roots of time-stamping authorities (PEM): the certificate must have been valid at the time that one of them \
              stamped. Without it the certificate must be valid now.",
        read: |draft, value| put(&mut draft.certificates.get_or_insert_default().tsa, file(value).map(Some)),
    },
    AcceptKey {
        name: "keyless.issuer",
        expects: "text with `*` for any text, such as \"https://token.actions.githubusercontent.com\"",
        doc: "Signatures of a short-lived certificate, issued to an identity of this issuer.",
        read: |draft, value| put(&mut draft.keyless.get_or_insert_default().issuer, name(value)),
    },
    AcceptKey {
        name: "keyless.subject",
        expects: "text with `*` for any text, such as \"https://github.com/owner/app/.github/workflows/*\"",
        doc: "The identity: a URI or an e-mail address.",
        read: |draft, value| put(&mut draft.keyless.get_or_insert_default().subject, name(value)),
    },
    AcceptKey {
        name: "keyless.trusted_root",
        expects: FILE,
        doc: "Sigstore's `trusted_root.json`: the certificate authorities, logs and time-stamping authorities that count. \
              Nothing is fetched.",
        read: |draft, value| put(&mut draft.keyless.get_or_insert_default().trusted_root, file(value)),
    },
    AcceptKey {
        name: "keyless.time",
        expects: "\"log\" or \"tsa\"; \"log\" without it",
        doc: "What proves the time of signing: an entry in a transparency log, or a stamp of a time-stamping authority.",
        read: |draft, value| put(&mut draft.keyless.get_or_insert_default().time, values::word(value, &TIMES)),
    },
    AcceptKey {
        name: "notation.roots",
        expects: FILE,
        doc: "Signatures of notation (Notary Project) with a certificate below one of these roots (PEM): the trust store.",
        read: |draft, value| put(&mut draft.notation.get_or_insert_default().roots, file(value)),
    },
    AcceptKey {
        name: "notation.identities",
        expects: "a list of texts, such as [\"x509.subject: C=US, ST=WA, O=example\"]",
        doc: "Subjects of which the certificate must have one, as in notation's trust policy; any below the roots without it.",
        read: |draft, value| put(&mut draft.notation.get_or_insert_default().identities, texts(value)),
    },
    AcceptKey {
        name: "notation.tsa",
        expects: FILE,
        doc: "Roots of time-stamping authorities (PEM). Without it the chain must be valid now.",
        read: |draft, value| put(&mut draft.notation.get_or_insert_default().tsa, file(value).map(Some)),
    },
];

/// The entry, or everything that is missing in it or too much.
pub(crate) fn finish(draft: Draft) -> Result<Accept, Vec<String>> {
    let Draft { name, scopes, key, certificates, keyless, notation } = draft;
    let mut wrong = Vec::new();
    let mut need = |text: &str, name: &str| {
        if text.is_empty() {
            wrong.push(format!("{name} is missing"));
        }
    };
    let mut forms = Vec::new();
    forms.extend(key.map(|pem| By::Key { pem }));
    forms.extend(certificates.map(|Chain { roots, identities, tsa }| {
        need(&roots, "certificates.roots");
        By::Certificates { roots, identities, tsa }
    }));
    forms.extend(keyless.map(|Identity { issuer, subject, trusted_root, time }| {
        need(&issuer, "keyless.issuer");
        need(&subject, "keyless.subject");
        need(&trusted_root, "keyless.trusted_root");
        By::Keyless { issuer, subject, trusted_root, time }
    }));
    forms.extend(notation.map(|Chain { roots, identities, tsa }| {
        need(&roots, "notation.roots");
        By::Notation { roots, identities, tsa }
    }));
    let by = match (forms.pop(), forms.is_empty()) {
        (Some(by), true) => by,
        (Some(_), false) => return Err(vec![format!("more than one of {FORMS}: write an entry for each")]),
        (None, _) => return Err(vec![format!("it does not say who is trusted: one of {FORMS} is missing")]),
    };
    if wrong.is_empty() { Ok(Accept { name: name.unwrap_or_else(|| called(&by)), scopes, by }) } else { Err(wrong) }
}

/// What an entry without a name is called.
fn called(by: &By) -> String {
    match by {
        By::Key { pem: file } | By::Certificates { roots: file, .. } | By::Notation { roots: file, .. } => {
            file.rsplit('/').next().unwrap_or_default().to_owned()
        }
        By::Keyless { subject, .. } => subject.clone(),
    }
}

/// What a profile took back although it may only tighten: full names of keys. Revocations only ever add up.
pub(crate) fn loosened(before: (&Trust, &TrustFiles), after: (&Trust, &TrustFiles)) -> Vec<String> {
    let ((old, old_files), (new, new_files)) = (before, after);
    let longer = match (old.max_age, new.max_age) {
        (Some(old), new) => new.is_none_or(|new| new > old),
        (None, _) => false,
    };
    // The position is the rank: what is left of the list keeps its order.
    let mut rest = old_files.accept.iter();
    let mut trusted_before =
        |entry: &Accept| rest.any(|old| old.by == entry.by && old.name == entry.name && narrower(entry, old));
    // Where nobody is trusted and nothing is asked for, a profile may begin to.
    let closed = old.mode >= TrustMode::Enforce || old.image != ImageSigned::Off || !old_files.accept.is_empty();
    let others = closed && !new_files.accept.iter().all(&mut trusted_before);
    let verifiers = old_files.image_verifiers.is_some() && new_files.image_verifiers != old_files.image_verifiers;
    [
        ("mode", new.mode < old.mode),
        ("image", new.image < old.image),
        ("max_age", longer),
        (ACCEPT, others),
        ("image_verifiers", verifiers),
    ]
    .into_iter()
    .filter(|(_, loosened)| *loosened)
    .map(|(name, _)| format!("{TRUST}.{name}"))
    .collect()
}

/// Whether `new` speaks for no repository that `old` does not speak for; patterns are compared as text.
fn narrower(new: &Accept, old: &Accept) -> bool {
    old.scopes.is_empty() || (!new.scopes.is_empty() && new.scopes.iter().all(|scope| old.scopes.contains(scope)))
}

/// An entry as it is written, one key per line.
pub(crate) fn show(accept: &Accept) -> Vec<(String, String)> {
    let mut keys = vec![("name".to_owned(), quote(&accept.name))];
    if !accept.scopes.is_empty() {
        keys.push(("scopes".to_owned(), show_list(&accept.scopes)));
    }
    let mut chain = |form: &str, roots: &str, identities: &[String], tsa: Option<&String>| {
        keys.push((format!("{form}.roots"), quote(roots)));
        if !identities.is_empty() {
            keys.push((format!("{form}.identities"), show_list(identities)));
        }
        keys.extend(tsa.map(|tsa| (format!("{form}.tsa"), quote(tsa))));
    };
    match &accept.by {
        By::Key { pem } => keys.push(("key".to_owned(), quote(pem))),
        By::Certificates { roots, identities, tsa } => chain("certificates", roots, identities, tsa.as_ref()),
        By::Notation { roots, identities, tsa } => chain("notation", roots, identities, tsa.as_ref()),
        By::Keyless { issuer, subject, trusted_root, time } => {
            keys.push(("keyless.issuer".to_owned(), quote(issuer)));
            keys.push(("keyless.subject".to_owned(), quote(subject)));
            keys.push(("keyless.trusted_root".to_owned(), quote(trusted_root)));
            let word = TIMES.iter().find(|(_, meaning)| meaning == time).map(|(word, _)| quote(word));
            keys.extend(word.map(|word| ("keyless.time".to_owned(), word)));
        }
    }
    keys
}

/// Digests and files of them: a list of both, or one alone.
pub(crate) fn revoked(value: &DeValue<'_>) -> Result<Revoked, Refused> {
    let mut revoked = Revoked::default();
    let mut take = |value: &DeValue<'_>| -> Result<(), Refused> {
        let text = values::text(value)?;
        match text.parse() {
            Ok(digest) => revoked.digests.push(digest),
            Err(_) if text.starts_with('/') => revoked.files.push(values::path(value)?),
            Err(_) => return Err(format!("{} is neither a digest nor an absolute path", quoted(text)).into()),
        }
        Ok(())
    };
    match value.as_array() {
        Some(list) => list.iter().try_for_each(|value| take(value.get_ref()))?,
        None => take(value)?,
    }
    Ok(revoked)
}

pub(crate) fn show_revoked(revoked: &Revoked) -> String {
    let digests = revoked.digests.iter().map(|digest| quote(&digest.to_string()));
    let files = revoked.files.iter().map(|file| crate::keys::quote_path(file));
    format!("[{}]", digests.chain(files).collect::<Vec<_>>().join(", "))
}

fn file(value: &DeValue<'_>) -> Result<String, Refused> {
    values::path(value).map(|path| path.to_string_lossy().into_owned())
}

fn name(value: &DeValue<'_>) -> Result<String, Refused> {
    let text = values::text(value)?;
    let plain = !text.is_empty() && text.chars().count() <= 200 && !text.chars().any(char::is_control);
    if plain { Ok(text.to_owned()) } else { Err(format!("{} is no name", quoted(text)).into()) }
}

/// Patterns of `host/repository`.
fn scopes(value: &DeValue<'_>) -> Result<Vec<String>, Refused> {
    let scopes = texts(value)?;
    if scopes.is_empty() {
        return Err("an empty list would trust them for nothing".to_owned().into());
    }
    match scopes.iter().find(|scope| scope.is_empty() || scope.contains("://") || scope.contains(char::is_whitespace)) {
        Some(scope) => Err(Refused {
            message: format!("{} is no pattern of repositories", quoted(scope)),
            hint: Some("write host/repository, such as \"registry.example/hpc/*\"".to_owned()),
        }),
        None => Ok(scopes),
    }
}
