//! Owns the one table of keys. Reading, "did you mean", the effective values and the reference page all come from it.

use bestfit_selector::nfd;
use bestfit_selector::policy::{Otherwise, Undeclared};
use bestfit_selector::target::Vendor;
use toml::de::DeValue;

use crate::model::{Config, Mode, PullDeadline};
use crate::site;
use crate::trust;
use crate::values::{
    self, Refused, boolean, delegate, duration, hosts, path, ports, put, show_duration, show_size, size,
    unprivileged_id, word,
};

/// One key of the file.
pub struct Key {
    /// The table it stands in; empty for the top of the file.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What may be written, for people.
    pub expects: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Takes a value over into the configuration.
    pub read: fn(&mut Config, &DeValue<'_>) -> Result<(), Refused>,
    /// The value in force, as TOML.
    pub show: fn(&Config) -> String,
}

/// The words of [`Mode`].
pub const MODES: [(&str, Mode); 3] = [("off", Mode::Off), ("observe", Mode::Observe), ("select", Mode::Select)];
/// What may be written for a mode.
pub const MODE_EXPECTS: &str = "\"off\", \"observe\" or \"select\"";
/// The table of tables that carry a mode per namespace.
pub const NAMESPACES: &str = "namespaces";

const OTHERWISE: [(&str, Otherwise); 2] = [("run-default", Otherwise::RunDefault), ("deny", Otherwise::Deny)];
const UNDECLARED: [(&str, Undeclared); 2] = [("fallback", Undeclared::Fallback), ("never", Undeclared::Never)];
const VENDOR: [(&str, Vendor); 2] = [("strict", Vendor::Strict), ("features", Vendor::Features)];
const NFD: [(&str, nfd::Mode); 2] = [("lenient", nfd::Mode::Lenient), ("strict", nfd::Mode::Strict)];
const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;
const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

/// Every key but those of `[namespaces.*]`, in the order of the reference.
pub const KEYS: &[Key] = &[
    Key {
        section: "",
        name: "mode",
        expects: MODE_EXPECTS,
        doc: "`select` swaps the image where another entry of its index fits better; `observe` decides and records, and \
              swaps nothing; `off` does nothing. Read anew for each create. A profile or a namespace can only make it \
              stricter.",
        read: |config, value| put(&mut config.mode, word(value, &MODES)),
        show: |config| quote(config.mode.as_str()),
    },
    Key {
        section: "",
        name: "delegate",
        expects: "the name of a shim as installed beside containerd, or an absolute path",
        doc: "The shim that really runs the container. The OCI runtime under it (runc, crun, …) is containerd's runtime \
              option `BinaryName`, which is passed on.",
        read: |config, value| put(&mut config.delegate, delegate(value)),
        show: |config| quote(&config.delegate),
    },
    Key {
        section: "",
        name: "state",
        expects: "an absolute path",
        doc: "The directory for what outlives a boot: recorded inputs, by hash, and remembered decisions.",
        read: |config, value| put(&mut config.state, path(value)),
        show: |config| quote_path(&config.state),
    },
    Key {
        section: "selection",
        name: "on_no_fit",
        expects: "\"run-default\" or \"deny\"",
        doc: "What happens when no entry fits this host: run the entry that containerd chose, or refuse the container.",
        read: |config, value| put(&mut config.selection.policy.on_no_fit, word(value, &OTHERWISE)),
        show: |config| show_word(config.selection.policy.on_no_fit, &OTHERWISE),
    },
    Key {
        section: "selection",
        name: "on_error",
        expects: "\"run-default\" or \"deny\"",
        doc: "What happens when something that the decision needs could not be read.",
        read: |config, value| put(&mut config.selection.policy.on_error, word(value, &OTHERWISE)),
        show: |config| show_word(config.selection.policy.on_error, &OTHERWISE),
    },
    Key {
        section: "selection",
        name: "undeclared",
        expects: "\"fallback\" or \"never\"",
        doc: "Whether an entry that says nothing about hosts may stand in where no entry fits and the default does not \
              fit either.",
        read: |config, value| put(&mut config.selection.policy.undeclared, word(value, &UNDECLARED)),
        show: |config| show_word(config.selection.policy.undeclared, &UNDECLARED),
    },
    Key {
        section: "selection",
        name: "platform_variants",
        expects: "true or false",
        doc: "Whether the variants (`amd64/v3`) and `platform.features` of entries decide in an index that has no compatibility \
              artifact at all: the most special one that this host can run then goes before entries without. Where there are \
              artifacts, a platform can rule its entry out and no more.",
        read: |config, value| put(&mut config.selection.policy.platform_variants, boolean(value)),
        show: |config| config.selection.policy.platform_variants.to_string(),
    },
    Key {
        section: "selection",
        name: "decision_deadline",
        expects: "a duration from \"1ms\" to \"1m\", such as \"250ms\" or \"3s\"",
        doc: "How long a create may wait for a decision; after that `on_error` holds.",
        read: |config, value| put(&mut config.selection.decision_deadline, duration(value, 1..=60 * SECOND)),
        show: |config| show_time(config.selection.decision_deadline),
    },
    Key {
        section: "selection",
        name: "pull_deadline",
        expects: "a duration from \"1ms\" to \"1h\", such as \"90s\", or \"wait\"",
        doc: "How long a create may wait for missing content of the chosen entry; after that the default runs and the \
              pull goes on in the background. `wait` waits without limit.",
        read: |config, value| put(&mut config.selection.pull_deadline, pull_deadline(value)),
        show: |config| match config.selection.pull_deadline {
            PullDeadline::After(time) => show_time(time),
            PullDeadline::Wait => quote("wait"),
        },
    },
    Key {
        section: "selection",
        name: "referrers_lifetime",
        expects: "a duration from \"0s\" to \"7d\", such as \"10m\"",
        doc: "How long a list of artifacts is believed before the registry is asked again.",
        read: |config, value| put(&mut config.selection.referrers_lifetime, duration(value, 0..=7 * 24 * HOUR)),
        show: |config| show_time(config.selection.referrers_lifetime),
    },
    Key {
        section: "selection",
        name: "check",
        expects: "a list of patterns of keys, such as [\"org.supercontainers/mpi.implementation\"]",
        doc: "Keys that describe the image, and are held against the host all the same: a site that binds its own MPI into \
              containers needs images that were built for it.",
        read: |config, value| put(&mut config.selection.policy.check, site::patterns(value)),
        show: |config| show_list(&config.selection.policy.check),
    },
    Key {
        section: "selection",
        name: "nfd",
        expects: "\"lenient\" or \"strict\"",
        doc: "How the rules of NFD's artifacts are read. `strict` answers as NFD does, and leaves undetermined where NFD ends \
              with an error; `lenient` answers there, too: a host value such as `5.14.0-427.13.1.el9_4.x86_64` is a version, and \
              only what could not be seen is unknown.",
        read: |config, value| put(&mut config.selection.policy.nfd, word(value, &NFD)),
        show: |config| show_word(config.selection.policy.nfd, &NFD),
    },
    Key {
        section: "selection",
        name: "vendor",
        expects: "\"strict\" or \"features\"",
        doc: "Whether `io.archspec/cpu.target` of another vendor's processor fits where all its features are there. `strict`: a \
              `zen5` runs nothing that was built for `skylake_avx512`; `features`: it does, where nothing of its own is deeper.",
        read: |config, value| put(&mut config.selection.policy.vendor, word(value, &VENDOR)),
        show: |config| show_word(config.selection.policy.vendor, &VENDOR),
    },
    Key {
        section: "trust",
        name: "mode",
        expects: "\"off\", \"warn\", \"enforce\" or \"require\"",
        doc: "Whose artifacts count. `off`: everybody's, and signatures are not looked at. `warn`: everybody's; what `enforce` would \
              ignore is reported, and denies no container. `enforce`: those of the signers below; all others are as if they were \
              not there. `require`: the same, and a container is refused where no trusted artifact speaks for what would run, and \
              at every failure. docs/signed-artifacts-only.md shows how to sign.",
        read: |config, value| put(&mut config.selection.policy.trust.mode, word(value, &trust::TRUST_MODES)),
        show: |config| show_word(config.selection.policy.trust.mode, &trust::TRUST_MODES),
    },
    Key {
        section: "trust",
        name: "image",
        expects: "\"off\", \"index-or-entry\" or \"index\"",
        doc: "What of the image itself must carry a signature of one of the signers before another entry than containerd's may \
              run: nothing, the index or the entry, or the index. Independent of `mode`.",
        read: |config, value| put(&mut config.selection.policy.trust.image, word(value, &trust::IMAGE_SIGNED)),
        show: |config| show_word(config.selection.policy.trust.image, &trust::IMAGE_SIGNED),
    },
    Key {
        section: "trust",
        name: "max_age",
        expects: "a duration from \"1m\" to \"3650d\", such as \"90d\", or \"none\"",
        doc: "How old a signed artifact may be by its annotation `org.opencontainers.image.created`; one without that \
              annotation is then refused.",
        read: |config, value| put(&mut config.selection.policy.trust.max_age, max_age(value)),
        show: |config| {
            config
                .selection
                .policy
                .trust
                .max_age
                .map_or_else(|| quote("none"), |age| show_duration(age.saturating_mul(1000)))
        },
    },
    Key {
        section: "trust",
        name: "revoked",
        expects: "a list of digests (\"sha256:…\") and of absolute paths of files with one digest per line, or one of them",
        doc: "What counts for nothing any more, whoever signed it: digests of artifacts, of signatures and of entries of an index, \
              and fingerprints of keys and certificates (SHA-256 over their DER form; a key's holds for every certificate with \
              that key). A listed entry of an index never runs by bestfit's choice. To be rid of what a signer signed, list the artifact or the key: a signature's digest names one copy, \
              and the same signature can be written in other bytes. Files are read anew for each create; only root may be able to write them. A profile adds to it.",
        read: |config, value| put(&mut config.trust.revoked, trust::revoked(value)),
        show: |config| trust::show_revoked(&config.trust.revoked),
    },
    Key {
        section: "trust",
        name: "image_verifiers",
        expects: "an absolute path, or \"none\"",
        doc: "The directory of containerd's image verifiers (`bin_dir` of its plugin `io.containerd.image-verifier.v1.bindir`). \
              Before a swap each program in it is asked about the image's name and the digest of its index, as containerd does it \
              on a pull, and all must say yes, within 10 seconds together. Directory and programs must be root's, and writable by \
              nobody else; where there is none, nothing is swapped.",
        read: |config, value| match value.as_str() {
            Some("none") => put(&mut config.trust.image_verifiers, Ok(None)),
            _ => put(&mut config.trust.image_verifiers, path(value).map(Some)),
        },
        show: |config| config.trust.image_verifiers.as_deref().map_or_else(|| quote("none"), quote_path),
    },
    Key {
        section: "registries",
        name: "hosts_dir",
        expects: "an absolute path",
        doc: "containerd's directory of `<host>/hosts.toml` files: mirrors and certificates. It may be missing.",
        read: |config, value| put(&mut config.registries.hosts_dir, path(value)),
        show: |config| quote_path(&config.registries.hosts_dir),
    },
    Key {
        section: "registries",
        name: "plain_http",
        expects: "a list of hosts, such as [\"registry.lan:5000\"]",
        doc: "Registries that are spoken to without TLS. `localhost` and 127.0.0.0/8 always are, as docker and \
              containerd do.",
        read: |config, value| put(&mut config.registries.plain_http, hosts(value)),
        show: |config| show_list(&config.registries.plain_http),
    },
    Key {
        section: "registries",
        name: "ports",
        expects: "a list of numbers from 1 to 65535, such as [5001, 9000]",
        doc: "TCP ports of token servers, and of where registries redirect to, where these are others than 443, the ports of the \
              registries themselves, of their mirrors in `hosts_dir`, and of proxies: no other port can be connected to.",
        read: |config, value| put(&mut config.registries.ports, ports(value)),
        show: |config| format!("{:?}", config.registries.ports),
    },
    Key {
        section: "registries",
        name: "redirects",
        expects: "a list of hosts, such as [\"s3.lan:9000\"]",
        doc: "Hosts that registries may redirect to although they lie in private, loopback or link-local networks, such as the \
              store of a registry of your own. Without being named here, only the registry's own host and address may. Ports \
              other than 443 have to be in `ports` as well.",
        read: |config, value| put(&mut config.registries.redirects, hosts(value)),
        show: |config| show_list(&config.registries.redirects),
    },
    Key {
        section: "registries",
        name: "docker_config",
        expects: "an absolute path, or \"none\"",
        doc: "docker's file of credentials. It may be missing.",
        read: |config, value| match value.as_str() {
            Some("none") => put(&mut config.registries.docker_config, Ok(None)),
            _ => put(&mut config.registries.docker_config, path(value).map(Some)),
        },
        show: |config| config.registries.docker_config.as_deref().map_or_else(|| quote("none"), quote_path),
    },
    Key {
        section: "cache",
        name: "dir",
        expects: "an absolute path",
        doc: "Where answers of registries are kept, by digest.",
        read: |config, value| put(&mut config.cache.dir, path(value)),
        show: |config| quote_path(&config.cache.dir),
    },
    Key {
        section: "cache",
        name: "max_bytes",
        expects: "a size from \"1MiB\" to \"1024GiB\", such as \"256MiB\", or a number of bytes",
        doc: "How large the cache may grow.",
        read: |config, value| put(&mut config.cache.max_bytes, size(value, KIB * KIB..=1024 * GIB)),
        show: |config| show_size(config.cache.max_bytes),
    },
    Key {
        section: "schemas",
        name: "dir",
        expects: "an absolute path",
        doc: "The directory of the site's group schemas, `*.json`, read in the order of their names over the built-in ones. \
              They may add and tighten; what weakens a built-in requirement needs `\"override\": true` beside it. It may be \
              missing. `bestfit schema lint` checks such a file. One that is named `microarchitectures.json` is newer archspec \
              data, as archspec publishes it, and stands for the built-in data.",
        read: |config, value| put(&mut config.schemas.dir, path(value)),
        show: |config| quote_path(&config.schemas.dir),
    },
    Key {
        section: "log",
        name: "file",
        expects: "an absolute path",
        doc: "The log of decisions: one JSON line per create.",
        read: |config, value| put(&mut config.log.file, path(value)),
        show: |config| quote_path(&config.log.file),
    },
    Key {
        section: "log",
        name: "max_bytes",
        expects: "a size from \"64KiB\" to \"64GiB\", such as \"16MiB\", or a number of bytes",
        doc: "How large the log may grow before it is renamed to `<file>.1`, over the one before.",
        read: |config, value| put(&mut config.log.max_bytes, size(value, 64 * KIB..=64 * GIB)),
        show: |config| show_size(config.log.max_bytes),
    },
    Key {
        section: "log",
        name: "journal",
        expects: "true or false",
        doc: "Whether records also go to the journal, where there is one.",
        read: |config, value| put(&mut config.log.journal, boolean(value)),
        show: |config| config.log.journal.to_string(),
    },
    Key {
        section: "decider",
        name: "uid",
        expects: "a user id other than 0 that nothing else on this node uses",
        doc: "The user id of the process that reads what comes from outside. The default lies in the range that \
              systemd's table of ids leaves unused.",
        read: |config, value| put(&mut config.decider.uid, unprivileged_id(value)),
        show: |config| config.decider.uid.to_string(),
    },
    Key {
        section: "decider",
        name: "gid",
        expects: "a group id other than 0 that nothing else on this node uses",
        doc: "Its group id.",
        read: |config, value| put(&mut config.decider.gid, unprivileged_id(value)),
        show: |config| config.decider.gid.to_string(),
    },
];

fn pull_deadline(value: &DeValue<'_>) -> Result<PullDeadline, Refused> {
    match value.as_str() {
        Some("wait") => Ok(PullDeadline::Wait),
        _ => duration(value, 1..=HOUR).map(PullDeadline::After),
    }
}

fn max_age(value: &DeValue<'_>) -> Result<Option<u64>, Refused> {
    match value.as_str() {
        Some("none") => Ok(None),
        _ => duration(value, 60 * SECOND..=3650 * 24 * HOUR).map(|age| Some(age.as_secs())),
    }
}

fn show_word<T: PartialEq>(value: T, words: &[(&str, T)]) -> String {
    words.iter().find(|(_, meaning)| *meaning == value).map(|(word, _)| quote(word)).unwrap_or_default()
}

fn show_time(time: std::time::Duration) -> String {
    show_duration(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

pub(crate) fn show_list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(", "))
}

/// A path as a basic TOML string.
pub(crate) fn quote_path(path: &std::path::Path) -> String {
    quote(&path.to_string_lossy())
}

/// A basic TOML string.
pub(crate) fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The tables of the file, in the order of the reference, the top of the file first.
pub fn sections() -> Vec<&'static str> {
    let mut sections: Vec<&'static str> = KEYS.iter().map(|key| key.section).collect();
    sections.dedup();
    sections
}

pub(crate) fn read_mode(value: &DeValue<'_>) -> Result<Mode, Refused> {
    values::word(value, &MODES)
}
