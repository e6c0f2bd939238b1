//! Owns the order of candidates. [`Rank`] is compared field by field, so the order of its fields is the order of
//! matching.md §6, and there is no comparator to disagree with it. Every field depends on its candidate alone.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::platform::PlatformClass;
use crate::schema::Dimension;
use crate::value::Depth;

/// The place of a Compatible candidate in the order; the greater, the better.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rank {
    /// Native before 32-bit compatible.
    pub class: PlatformClass,
    /// The site's score; 0 where the site has none.
    pub policy: i64,
    /// The place of the author in the trust policy; 0 is unsigned and last.
    pub author: u32,
    /// The author's weight, within ±100.
    pub weight: i32,
    /// Specificity of the satisfied required atoms, per dimension the greatest.
    pub specificity: PerDimension,
    /// The schema weights of the satisfied preferred atoms.
    pub preferred: u64,
    /// Preferred atoms that could not be told.
    pub unknown_preferred: Reverse<u32>,
    /// The entry that containerd chose goes before others.
    pub default: bool,
    /// Position in the index.
    pub position: Reverse<usize>,
    /// Digest.
    pub digest: Reverse<Digest>,
}

/// How specific a satisfied requirement is: first its schema weight, then its value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Specificity {
    /// The weight of its key.
    pub weight: u32,
    /// The depth in a graph, the size of a set, the lower bound of a version.
    pub depth: Depth,
}

/// One specificity per dimension, in the order in which dimensions count; `None` where nothing was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PerDimension {
    /// GPUs and the like.
    pub accelerator: Option<Specificity>,
    /// The processor.
    pub cpu: Option<Specificity>,
    /// The network between nodes.
    pub fabric: Option<Specificity>,
    /// Libraries of the host.
    pub libs: Option<Specificity>,
    /// The kernel.
    pub kernel: Option<Specificity>,
    /// Everything else.
    pub other: Option<Specificity>,
}

impl PerDimension {
    /// Counts one satisfied requirement: the greatest stays.
    pub fn count(&mut self, dimension: Dimension, specificity: Specificity) {
        let slot = match dimension {
            Dimension::Accelerator => &mut self.accelerator,
            Dimension::Cpu => &mut self.cpu,
            Dimension::Fabric => &mut self.fabric,
            Dimension::Libs => &mut self.libs,
            Dimension::Kernel => &mut self.kernel,
            Dimension::Other => &mut self.other,
        };
        *slot = (*slot).max(Some(specificity));
    }

    /// The greater of both, per dimension.
    pub fn max(self, other: Self) -> Self {
        Self {
            accelerator: self.accelerator.max(other.accelerator),
            cpu: self.cpu.max(other.cpu),
            fabric: self.fabric.max(other.fabric),
            libs: self.libs.max(other.libs),
            kernel: self.kernel.max(other.kernel),
            other: self.other.max(other.other),
        }
    }
}

impl Rank {
    /// Every component with its name, in the order in which they count.
    pub fn components(&self) -> Vec<(&'static str, String)> {
        let class = match self.class {
            PlatformClass::Native => "native",
            PlatformClass::Compatible32 => "32-bit compatible",
        };
        let by = &self.specificity;
        vec![
            ("platform class", class.to_owned()),
            ("site policy", self.policy.to_string()),
            ("author rank", if self.author == 0 { "unsigned".to_owned() } else { self.author.to_string() }),
            ("author weight", self.weight.to_string()),
            ("accelerator", shown(by.accelerator)),
            ("cpu", shown(by.cpu)),
            ("fabric", shown(by.fabric)),
            ("libs", shown(by.libs)),
            ("kernel", shown(by.kernel)),
            ("other", shown(by.other)),
            ("preferred", self.preferred.to_string()),
            ("unknown preferred", self.unknown_preferred.0.to_string()),
            ("chosen by containerd", if self.default { "yes" } else { "no" }.to_owned()),
            ("position", self.position.0.to_string()),
            ("digest", self.digest.0.short()),
        ]
    }

    /// The first component in which two ranks differ, with both values: why one goes before the other.
    pub fn difference(&self, other: &Self) -> Option<(&'static str, String, String)> {
        let pairs = self.components().into_iter().zip(other.components());
        pairs.into_iter().find(|(a, b)| a.1 != b.1).map(|((name, a), (_, b))| (name, a, b))
    }
}

/// `50:6` is weight 50, depth 6; trailing zeros of the depth are left out.
fn shown(specificity: Option<Specificity>) -> String {
    let Some(Specificity { weight, depth }) = specificity else { return "-".to_owned() };
    let used = depth.iter().rposition(|part| *part != 0).map_or(1, |last| last + 1);
    let depth: Vec<String> = depth[..used].iter().map(u64::to_string).collect();
    format!("{weight}:{}", depth.join("."))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn rank() -> Rank {
        Rank {
            class: PlatformClass::Native,
            policy: 0,
            author: 0,
            weight: 0,
            specificity: PerDimension::default(),
            preferred: 0,
            unknown_preferred: Reverse(0),
            default: false,
            position: Reverse(3),
            digest: Reverse(Digest::of(b"")),
        }
    }

    fn cpu(weight: u32, depth: u64) -> PerDimension {
        let mut all = PerDimension::default();
        all.count(Dimension::Cpu, Specificity { weight, depth: [depth, 0, 0, 0] });
        all
    }

    /// Each row beats the one before it although everything that counts later is worse.
    #[test]
    fn the_order_of_the_fields_is_the_order_of_matching() {
        let mut gpu = PerDimension::default();
        gpu.count(Dimension::Accelerator, Specificity::default());
        let mut kernel = PerDimension::default();
        (0..20).for_each(|depth| kernel.count(Dimension::Kernel, Specificity { weight: 9, depth: [depth; 4] }));
        let rising = [
            Rank { default: true, position: Reverse(9), unknown_preferred: Reverse(5), ..rank() },
            Rank { digest: Reverse(Digest::of(b"x").max(Digest::of(b""))), ..rank() },
            Rank { digest: Reverse(Digest::of(b"x").min(Digest::of(b""))), ..rank() },
            Rank { position: Reverse(2), ..rank() },
            Rank { default: true, position: Reverse(9), ..rank() },
            Rank { preferred: 1, unknown_preferred: Reverse(9), ..rank() },
            Rank { specificity: kernel, ..rank() },
            Rank { specificity: cpu(0, 0), ..rank() },
            Rank { specificity: cpu(0, 1), ..rank() },
            Rank { specificity: cpu(1, 0), ..rank() },
            Rank { specificity: gpu, ..rank() },
            Rank { weight: 1, ..rank() },
            Rank { author: 1, weight: -100, ..rank() },
            Rank { policy: 1, ..rank() },
        ];
        assert!(rising.windows(2).all(|pair| pair[0] < pair[1]), "{rising:#?}");
        assert!(Rank { class: PlatformClass::Compatible32, policy: 9, ..rank() } < rising[0]);
    }

    #[test]
    fn names_the_first_difference() {
        let better = Rank { specificity: cpu(50, 6), ..rank() };
        let worse = Rank { specificity: cpu(50, 2), position: Reverse(1), ..rank() };
        assert!(better > worse);
        assert_eq!(better.difference(&worse), Some(("cpu", "50:6".to_owned(), "50:2".to_owned())));
        assert_eq!(better.difference(&better), None);
    }

    #[test]
    fn survives_json() {
        let json = serde_json::to_string(&rank()).unwrap();
        assert_eq!(serde_json::from_str::<Rank>(&json).unwrap(), rank());
    }
}
