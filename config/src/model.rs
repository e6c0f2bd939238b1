//! Owns the typed configuration and its defaults. Knows no TOML and no file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bestfit_selector::hook::Hook;
use bestfit_selector::policy::Policy;
use bestfit_selector::schema::SchemaFile;

use crate::trust::TrustFiles;

/// The user and group id of the decider unless the site names another: the last id that systemd's table of ids leaves
/// unused (60578 to 61183, below the dynamic service users), so that no account, container or service shares it.
pub const DECIDER_ID: u32 = 61183;
/// The user and group id of hooks unless the site names another: the one before the decider's.
pub const HOOK_ID: u32 = 61182;

/// Everything a site can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What bestfit does where no namespace says less.
    pub mode: Mode,
    /// The mode per namespace, containerd's or Kubernetes'.
    pub namespaces: BTreeMap<String, Mode>,
    /// How a choice is made, and how long it may take.
    pub selection: Selection,
    /// The shim that really runs the container: a name that is found as containerd finds shims, or an absolute path.
    pub delegate: String,
    /// The directory for what has to outlive a boot: recorded inputs, remembered decisions.
    pub state: PathBuf,
    /// How registries are reached.
    pub registries: Registries,
    /// The cache of what registries said, by digest.
    pub cache: Cache,
    /// What `[trust]` says about files; their contents are in the policy of [`Selection`].
    pub trust: TrustFiles,
    /// The group schemas that the site adds.
    pub schemas: SiteSchemas,
    /// The programs of the site that say what no file can, by the group that they speak about.
    pub hooks: BTreeMap<String, Hook>,
    /// The log of decisions.
    pub log: Log,
    /// The unprivileged process that reads what comes from outside.
    pub decider: Decider,
}

/// What bestfit does. The order is from the least to the strictest, so that the strictest is the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Decide, record and swap.
    Select,
    /// Decide and record, swap nothing.
    Observe,
    /// Do nothing.
    Off,
}

/// `[selection]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// What the decision itself depends on.
    pub policy: Policy,
    /// How long a create may wait for a decision.
    pub decision_deadline: Duration,
    /// How long a create may wait for missing content of the chosen entry.
    pub pull_deadline: PullDeadline,
    /// How long a list of referrers is believed.
    pub referrers_lifetime: Duration,
}

/// How long a create waits for content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullDeadline {
    /// Then the default runs, and the pull goes on in the background.
    After(Duration),
    /// Until the content is there.
    Wait,
}

/// `[registries]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registries {
    /// containerd's directory of `<host>/hosts.toml` files; it may be missing.
    pub hosts_dir: PathBuf,
    /// Hosts (`name` or `name:port`) that are spoken to without TLS; localhost and 127.0.0.0/8 always are.
    pub plain_http: Vec<String>,
    /// TCP ports of token servers, and of where registries redirect to, besides the usual ones.
    pub ports: Vec<u16>,
    /// Hosts (`name` or `name:port`) that redirects may lead to although they lie in networks that are not public.
    pub redirects: Vec<String>,
    /// docker's file of credentials; it may be missing.
    pub docker_config: Option<PathBuf>,
}

/// `[cache]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Where it lies.
    pub dir: PathBuf,
    /// How large it may grow, in bytes.
    pub max_bytes: u64,
}

/// `[schemas]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteSchemas {
    /// Where they lie; it may be missing.
    pub dir: PathBuf,
    /// What was found there, by name: read with the configuration, and checked.
    pub files: Vec<SchemaFile>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// One JSON line per create.
    pub file: PathBuf,
    /// How large the file may grow, in bytes, before it is renamed to `<file>.1`.
    pub max_bytes: u64,
    /// Whether records also go to the journal, where there is one.
    pub journal: bool,
}

/// `[decider]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decider {
    /// Its user id, never 0.
    pub uid: u32,
    /// Its group id, never 0.
    pub gid: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::Select,
            namespaces: BTreeMap::new(),
            selection: Selection {
                policy: Policy::default(),
                decision_deadline: Duration::from_secs(3),
                pull_deadline: PullDeadline::After(Duration::from_secs(90)),
                referrers_lifetime: Duration::from_secs(600),
            },
            delegate: "containerd-shim-runc-v2".to_owned(),
            state: "/var/lib/bestfit".into(),
            registries: Registries {
                hosts_dir: "/etc/containerd/certs.d".into(),
                plain_http: Vec::new(),
                ports: Vec::new(),
                redirects: Vec::new(),
                docker_config: Some("/root/.docker/config.json".into()),
            },
            cache: Cache { dir: "/var/cache/bestfit".into(), max_bytes: 256 << 20 },
            trust: TrustFiles::default(),
            schemas: SiteSchemas { dir: "/etc/bestfit/schemas.d".into(), files: Vec::new() },
            hooks: BTreeMap::new(),
            log: Log { file: "/var/log/bestfit/decisions.jsonl".into(), max_bytes: 16 << 20, journal: true },
            decider: Decider { uid: DECIDER_ID, gid: DECIDER_ID },
        }
    }
}

impl Config {
    /// Where answers of hooks are kept.
    pub fn hooks_dir(&self) -> PathBuf {
        self.cache.dir.join("hooks")
    }

    /// The strictest of the mode of the node and the modes of both namespaces: `off` before `observe` before `select`.
    pub fn mode_for(&self, containerd_namespace: &str, kubernetes_namespace: Option<&str>) -> Mode {
        [Some(containerd_namespace), kubernetes_namespace]
            .into_iter()
            .flatten()
            .filter_map(|namespace| self.namespaces.get(namespace).copied())
            .fold(self.mode, Mode::max)
    }
}

impl Mode {
    /// As it is written in a file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Observe => "observe",
            Self::Off => "off",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_mode_holds() {
        let mut config = Config::default();
        config.namespaces.insert("kube-system".to_owned(), Mode::Off);
        config.namespaces.insert("k8s.io".to_owned(), Mode::Observe);
        for (mode, containerd, kubernetes, expected) in [
            (Mode::Select, "default", None, Mode::Select),
            (Mode::Select, "k8s.io", None, Mode::Observe),
            (Mode::Select, "k8s.io", Some("kube-system"), Mode::Off),
            (Mode::Select, "kube-system", Some("shop"), Mode::Off),
            (Mode::Off, "k8s.io", Some("shop"), Mode::Off),
            (Mode::Observe, "default", Some("shop"), Mode::Observe),
        ] {
            config.mode = mode;
            assert_eq!(config.mode_for(containerd, kubernetes), expected, "{mode:?} {containerd} {kubernetes:?}");
        }
    }
}
