//! Owns the indexes that the benchmarks run: without artifacts, with a better entry, and with many entries.

use bestfit_tests::artifact;
use bestfit_tests::image::{Image, Index};
use bestfit_tests::node::Node;
use bestfit_tests::registry::Registry;
use serde_json::Value;

/// What the timed starts run.
pub(crate) struct Images {
    /// An index of two entries about which nothing is said.
    pub(crate) plain: String,
    /// The same with artifacts: the second entry is swapped in.
    pub(crate) better: String,
}

/// Pushes and pulls both.
pub(crate) fn prepare(node: &Node, registry: &Registry) -> Images {
    let entries = [(Image::new("plain"), None), (Image::new("better"), Some(artifact::fits()))];
    let silent = entries.clone().map(|(image, _)| (image, None));
    let plain = push(registry, &registry.host, "bench/plain", &silent);
    let better = push(registry, &registry.host, "bench/better", &entries);
    node.ctr().pull(&plain);
    node.ctr().pull(&better);
    Images { plain, better }
}

/// An index of `count` entries that all fit this machine, each with an artifact.
pub(crate) fn of_entries(count: usize) -> Vec<(Image, Option<Value>)> {
    (0..count).map(|number| (Image::new(&format!("entry {number}")), Some(artifact::fits()))).collect()
}

/// Pushes an index with its artifacts; the reference names `host`, which need not be the registry itself.
pub(crate) fn push(registry: &Registry, host: &str, repository: &str, entries: &[(Image, Option<Value>)]) -> String {
    let images: Vec<Image> = entries.iter().map(|(image, _)| image.clone()).collect();
    let index = Index::of(&images);
    registry.push(repository, "1", &index);
    for (entry, (_, document)) in index.entries.iter().zip(entries) {
        if let Some(groups) = document {
            artifact::attach(registry, repository, &entry.descriptor, &artifact::compatibilities(groups));
        }
    }
    format!("{host}/{repository}:1")
}

/// Pushes an index of `count` entries that carries its artifacts itself.
pub(crate) fn push_carrying(registry: &Registry, host: &str, repository: &str, count: usize) -> String {
    let images: Vec<Image> = of_entries(count).into_iter().map(|(image, _)| image).collect();
    let document = artifact::compatibilities(&artifact::fits());
    let index = Index::carrying(&images, |entries, content| {
        entries.iter().map(|entry| artifact::carried(content, &entry.descriptor, &document)).collect()
    });
    registry.push(repository, "1", &index);
    format!("{host}/{repository}:1")
}
