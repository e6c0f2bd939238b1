//! Owns platforms: which entries of an index a host can run at all, which one stock containerd picks, and what a variant
//! asks for. Spellings follow containerd's `platforms` package (reference/archspec.md §5).

use serde::{Deserialize, Serialize};

use crate::decision::HostPlatform;
use crate::index::{Entry, Index, Kind, Platform};

/// How an entry runs on a host; the greater, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformClass {
    /// 32-bit code on its 64-bit successor.
    Compatible32,
    /// The host's own architecture.
    Native,
}

/// What a variant asks of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VariantRequirement {
    /// At least this x86-64 level: `v3`.
    Level(String),
    /// At least this generic archspec target: `armv8.2a`.
    Target(String),
    /// A variant that bestfit does not know.
    Unknown(String),
}

/// The architecture of a host that nobody could tell.
const UNKNOWN: &str = "unknown";

impl HostPlatform {
    /// Whether it is known what runs here.
    pub fn is_known(&self) -> bool {
        self.architecture != UNKNOWN
    }

    /// How an image for `platform` runs here; `None` where it does not. Variants are not looked at.
    pub fn class(&self, platform: &Platform) -> Option<PlatformClass> {
        if platform.os != self.os {
            return None;
        }
        match (architecture(&self.architecture), architecture(&platform.architecture)) {
            (host, image) if host == image => Some(PlatformClass::Native),
            ("amd64", "386") => Some(PlatformClass::Compatible32),
            _ => None,
        }
    }
}

impl Platform {
    /// What `variant` asks for; `None` where it asks for no more than the architecture does.
    pub fn requirement(&self) -> Option<VariantRequirement> {
        let variant = self.variant.as_deref().unwrap_or_default();
        match (architecture(&self.architecture), variant) {
            (_, "") | ("amd64", "v1") | ("arm64", "v8" | "8" | "v8.0") | ("386", _) => None,
            ("amd64", "v2" | "v3" | "v4") => Some(VariantRequirement::Level(variant.to_owned())),
            ("arm64", "v9") => Some(VariantRequirement::Target("armv9.0a".to_owned())),
            ("arm64", variant) if variant.starts_with("v8.") || variant.starts_with("v9.") => {
                Some(VariantRequirement::Target(format!("arm{variant}a")))
            }
            _ => Some(VariantRequirement::Unknown(variant.to_owned())),
        }
    }

    /// Whether it asks for no more than os and architecture.
    pub fn is_plain(&self) -> bool {
        let version = self.os_version.as_deref().unwrap_or_default();
        !self.asks_of_processor() && self.os_features.is_empty() && version.is_empty()
    }

    /// Whether variant or features ask for more than any processor of the architecture has.
    pub fn asks_of_processor(&self) -> bool {
        self.requirement().is_some() || !self.features.is_empty()
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let plain = |text: &str| crate::json::plain(text, 40);
        write!(f, "{}/{}", plain(&self.os), plain(&self.architecture))?;
        match self.variant.as_deref() {
            None | Some("") => Ok(()),
            Some(variant) => write!(f, "/{}", plain(variant)),
        }
    }
}

/// The entries of `index` that may be chosen on `host`, in the order of the index: the ones to ask artifacts for.
pub fn candidates<'a>(
    index: &'a Index,
    host: &'a HostPlatform,
) -> impl Iterator<Item = (&'a Entry, PlatformClass)> + use<'a> {
    index.entries.iter().filter(|entry| entry.kind() == Kind::Image).filter_map(|entry| {
        let class = host.class(entry.platform.as_ref()?)?;
        Some((entry, class))
    })
}

/// The entry that stock containerd runs on `host`: the first of the best platform it accepts. `None` where there is none,
/// or where an image without a platform leaves it open.
pub fn containerd_default<'a>(index: &'a Index, host: &HostPlatform) -> Option<&'a Entry> {
    let images: Vec<&Entry> = index.entries.iter().filter(|entry| entry.kind() == Kind::Image).collect();
    if images.iter().any(|entry| entry.platform.is_none()) {
        return None;
    }
    let rank = |entry: &&Entry| entry.platform.as_ref().and_then(|platform| containerd_rank(platform, host));
    images.into_iter().filter(|entry| rank(entry).is_some()).min_by_key(rank)
}

/// The place of `platform` in the list of platforms that containerd accepts by default; 0 is the best.
fn containerd_rank(platform: &Platform, host: &HostPlatform) -> Option<usize> {
    if platform.os != host.os {
        return None;
    }
    let variant = platform.variant.as_deref().unwrap_or_default();
    match (architecture(&host.architecture), architecture(&platform.architecture)) {
        ("amd64", "amd64") => matches!(variant, "" | "v1").then_some(0),
        ("amd64", "386") => variant.is_empty().then_some(1),
        ("arm64", "arm64") => matches!(variant, "" | "v8" | "8" | "v8.0").then_some(0),
        ("arm64", "arm") => match variant {
            "v8" | "8" => Some(1),
            "" | "v7" | "7" => Some(2),
            "v6" | "6" => Some(3),
            "v5" | "5" => Some(4),
            _ => None,
        },
        (host, image) => (host == image).then_some(0),
    }
}

/// containerd's normalised spelling of an architecture.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "i386" => "386",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn index(platforms: &[&str]) -> Index {
        let entries = platforms.iter().enumerate().map(|(position, text)| {
            let mut parts = text.split('/');
            let mut part = || parts.next().unwrap_or_default().to_owned();
            let platform = Platform { os: part(), architecture: part(), variant: Some(part()), ..Platform::default() };
            Entry {
                position,
                digest: Digest::of(text.as_bytes()),
                size: 1,
                media_type: "application/vnd.oci.image.manifest.v1+json".into(),
                platform: (!text.is_empty()).then_some(platform),
                annotations: Default::default(),
                artifact_type: None,
                data: None,
            }
        });
        Index { digest: Digest::of(b""), entries: entries.collect() }
    }

    fn host(architecture: &str) -> HostPlatform {
        HostPlatform { os: "linux".into(), architecture: architecture.into() }
    }

    #[test]
    fn picks_what_containerd_picks() {
        let table: [(&str, &[&str], Option<usize>); 8] = [
            ("amd64", &["linux/arm64", "linux/amd64/v3", "linux/amd64", "linux/amd64"], Some(2)),
            ("amd64", &["linux/386", "linux/x86_64/v1"], Some(1)),
            ("amd64", &["linux/386", "linux/amd64/v2"], Some(0)),
            ("amd64", &["windows/amd64", "linux/amd64/v4"], None),
            ("amd64", &["linux/amd64", ""], None),
            ("arm64", &["linux/arm64/v9", "linux/arm/v7", "linux/arm64/v8"], Some(2)),
            ("arm64", &["linux/arm/v6", "linux/arm/v7"], Some(1)),
            ("riscv64", &["linux/amd64", "linux/riscv64"], Some(1)),
        ];
        for (architecture, platforms, expected) in table {
            let index = index(platforms);
            let found = containerd_default(&index, &host(architecture)).map(|entry| entry.position);
            assert_eq!(found, expected, "{architecture} {platforms:?}");
        }
    }

    #[test]
    fn only_what_can_run_is_a_candidate() {
        let index = index(&["linux/amd64/v4", "linux/386", "linux/arm64", "windows/amd64", ""]);
        let host = host("amd64");
        let found: Vec<_> = candidates(&index, &host).map(|(entry, class)| (entry.position, class)).collect();
        assert_eq!(found, [(0, PlatformClass::Native), (1, PlatformClass::Compatible32)]);
    }

    #[test]
    fn variants_ask_for_levels() {
        let ask = |architecture: &str, variant: &str| {
            Platform { architecture: architecture.into(), variant: Some(variant.into()), ..Platform::default() }
                .requirement()
        };
        assert_eq!(ask("amd64", "v3"), Some(VariantRequirement::Level("v3".into())));
        assert_eq!(ask("amd64", "v9"), Some(VariantRequirement::Unknown("v9".into())));
        assert_eq!(ask("arm64", "v8.2"), Some(VariantRequirement::Target("armv8.2a".into())));
        assert_eq!(ask("arm64", "v9"), Some(VariantRequirement::Target("armv9.0a".into())));
        assert_eq!((ask("arm64", "v8"), ask("amd64", ""), ask("amd64", "v1")), (None, None, None));
    }
}
