//! What lies in a cache is no more trusted than what comes from a registry; and what was verified is what is used.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use bestfit_tests::artifact::{self, SPEC, fits, fits_nowhere};
use bestfit_tests::hostile::Answer;
use bestfit_tests::image::{Image, base_layer, digest, media};
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World};
use bestfit_tests::signing::Way;
use serde_json::{Value, json};

use super::hidden::behind;
use super::{Pair, enforce, followed, ignored, pair_of, pair_with, sign, signed, unsigned, untrusted, vendor};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "trust: a poisoned cache", run: poisoned },
    Scenario { name: "trust: a poisoned list in the cache", run: poisoned_list },
    Scenario { name: "trust: a cache that others can change is not used", run: cache_of_others },
    Scenario { name: "trust: verify one thing, use another", run: verify_one_use_another },
    Scenario { name: "trust: other layers than those of the entry that was decided on", run: other_layers },
];

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The file of the cache that keeps a blob or manifest.
#[track_caller]
fn kept(world: &World, digest: &str) -> PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    let found = files(&world.node.cache()).into_iter().find(|file| file.ends_with(hex));
    found.unwrap_or_else(|| panic!("{digest} is not in the cache"))
}

/// The vendor says that the entry fits nowhere; whoever can write to the cache would have it fit.
fn poisoned(world: &mut World) {
    let pair = pair_with(world, Kind::Docker, &fits_nowhere(), &json!({}));
    sign(world, Kind::Docker, &pair, &pair.artifact, Way::Bundle(&vendor()));
    world.node.configure(&enforce().select("on_no_fit", "run-default"));
    ignored(world, &pair);
    let document = kept(world, &digest(&artifact::compatibilities(&fits_nowhere())));
    let forged = artifact::compatibilities(&fits());
    fs::write(&document, &forged).expect("poison");
    again(world, &pair);
    let outside = world.node.dir.join("forged.json");
    fs::write(&outside, &forged).expect("a file");
    fs::remove_file(&document).ok();
    symlink(&outside, &document).expect("a link");
    again(world, &pair);
    // A manifest with another document, under the name of the one that was signed.
    let manifest = kept(world, &pair.artifact);
    let text = String::from_utf8(fs::read(&manifest).expect("the manifest")).expect("text");
    let layer = digest(&artifact::compatibilities(&fits_nowhere()));
    fs::write(&manifest, text.replace(&layer, &digest(&forged))).expect("poison");
    let repository = pair.image.repository.clone();
    world.registry(Kind::Docker).put_blob(&repository, &digest(&forged), &forged);
    again(world, &pair);
    linked(world, &pair, &document);
}

/// A link in the cache, to the very bytes in another file of it, is not followed: nobody has the document then.
fn linked(world: &mut World, pair: &Pair, document: &Path) {
    fs::rename(document, document.with_file_name("elsewhere")).expect("another name");
    symlink("elsewhere", document).expect("a link");
    let genuine = digest(&artifact::compatibilities(&fits_nowhere()));
    world.registry(Kind::Docker).delete_blob(&pair.image.repository, &genuine);
    fs::remove_dir_all(world.node.remembered()).ok();
    let record = ignored(world, pair);
    let entry = &record["decision"]["entries"][1];
    assert_eq!(entry["verdict"], json!("undetermined"), "a link was followed: {entry:#}");
}

/// The next create, which has to read the cache: no decision is remembered.
#[track_caller]
fn again(world: &World, pair: &Pair) {
    fs::remove_dir_all(world.node.remembered()).ok();
    let record = ignored(world, pair);
    let entry = &record["decision"]["entries"][1];
    assert_eq!(entry["verdict"], json!("incompatible"), "the vendor's word does not count: {entry:#}");
}

/// A list in the cache that names the signature of another artifact: it is held against what it is about.
fn poisoned_list(world: &mut World) {
    let pair = unsigned(world, Kind::Docker);
    let genuine = super::pair_in(world, Kind::Docker, "-genuine", &fits_nowhere(), &json!({}));
    sign(world, Kind::Docker, &genuine, &genuine.artifact, Way::Bundle(&vendor()));
    world.node.configure(&enforce());
    ignored(world, &pair);
    let registry = world.registry(Kind::Docker);
    let signature = artifact::referrers(registry, &genuine.image.repository, &genuine.artifact).remove(0);
    let bundle = signature["layers"][0]["digest"].as_str().expect("a bundle").to_owned();
    let blob = registry.get_blob(&genuine.image.repository, &bundle);
    registry.put_blob(&pair.image.repository, &bundle, &blob);
    registry.put_blob(&pair.image.repository, &digest(b"{}"), b"{}");
    let copied = artifact::refer(registry, &pair.image.repository, &signature);
    let lists: Vec<PathBuf> = files(&world.node.cache().join("registry/referrers"));
    let about = pair.artifact.trim_start_matches("sha256:").to_owned();
    let lists: Vec<&PathBuf> = lists.iter().filter(|file| file.display().to_string().contains(&about)).collect();
    assert!(!lists.is_empty(), "no list of signatures is in the cache");
    for list in lists {
        let mut kept: Value = serde_json::from_slice(&fs::read(list).expect("a list")).expect("JSON");
        let place = kept.as_object_mut().and_then(|list| list.values_mut().find(|value| value.is_array()));
        let descriptor = json!({"media_type": media::MANIFEST, "digest": copied, "size": 900});
        *place.expect("the list of manifests") = json!([descriptor]);
        fs::write(list, kept.to_string()).expect("poison");
    }
    fs::remove_dir_all(world.node.remembered()).ok();
    untrusted(&ignored(world, &pair), &pair.artifact, "its manifest is about");
}

/// Nothing is decided by what somebody else than root can put there.
fn cache_of_others(world: &mut World) {
    let pair = signed(world, Kind::Docker);
    world.node.configure(&enforce());
    followed(world, &pair);
    fs::set_permissions(world.node.cache(), PermissionsExt::from_mode(0o777)).expect("the cache's mode");
    fs::remove_dir_all(world.node.remembered()).ok();
    let record = ignored(world, &pair);
    assert!(record["error"].to_string().contains("somebody else than root"), "{record:#}");
    fs::set_permissions(world.node.cache(), PermissionsExt::from_mode(0o755)).expect("the cache's mode");
    followed(world, &pair);
}

/// The registry gives the genuine bytes once, for verifying, and others to whoever asks again.
fn verify_one_use_another(world: &mut World) {
    let pair = pair_with(world, Kind::Ferro, &fits_nowhere(), &json!({}));
    sign(world, Kind::Ferro, &pair, &pair.artifact, Way::Bundle(&vendor()));
    let (hostile, pair) = behind(world, Kind::Ferro, &pair);
    let document = digest(&artifact::compatibilities(&fits_nowhere()));
    let (artifact, forged) = (pair.artifact.clone(), artifact::compatibilities(&fits()));
    let asked = AtomicUsize::new(0);
    hostile.answer(move |request| {
        let first = |count: usize| count == 0;
        if request.is_for("manifests", &artifact) && !first(asked.fetch_add(1, Ordering::SeqCst)) {
            let text = String::from_utf8(request.honest().body).expect("text");
            return Answer::ok(media::MANIFEST, text.replace(&document, &digest(&forged)));
        }
        if request.is_for("blobs", &digest(&forged)) {
            return Answer::ok(SPEC, forged.clone());
        }
        Answer::Honest
    });
    for _ in 0..2 {
        world.node.configure(&enforce());
        ignored(world, &pair);
    }
}

/// The decision stands, but the bytes of a layer of the chosen entry are others.
fn other_layers(world: &mut World) {
    // A base of its own, so that nothing of it lies on the node.
    let better = Image::new("better").on(vec![base_layer("of its own")]);
    let pair = pair_of(world, Kind::Ferro, "", better, (&fits(), &json!({})));
    sign(world, Kind::Ferro, &pair, &pair.artifact, Way::Bundle(&vendor()));
    let (hostile, pair) = behind(world, Kind::Ferro, &pair);
    let chosen = pair.image.index.entries[1].layers[0].digest.clone();
    let mut other = world.registry(Kind::Ferro).get_blob(&pair.image.repository, &chosen);
    *other.last_mut().expect("a layer") ^= 1;
    // ctr pulls every entry of this platform.
    world.node.ctr().call(&["content", "rm", &chosen]).ok();
    hostile.answer(move |request| match request.is_for("blobs", &chosen) {
        true => Answer::ok(media::LAYER, other.clone()),
        false => Answer::Honest,
    });
    world.node.configure(&enforce());
    let record = ignored(world, &pair);
    // containerd would refuse them, too.
    let seen = record.to_string().contains("the bytes that came have the digest");
    assert!(seen, "what came was not held against its digest: {record:#}");
    hostile.be_honest();
    world.node.configure(&enforce());
    followed(world, &pair);
}
