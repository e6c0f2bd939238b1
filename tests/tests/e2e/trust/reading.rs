//! What a registry sends is bounded, checked against its digest, and read strictly, signed or not.

use std::collections::BTreeMap;

use bestfit_tests::artifact::{self, SPEC, fits};
use bestfit_tests::hostile::{Answer, Request};
use bestfit_tests::image::{Image, Index, digest, media};
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World};
use bestfit_tests::signing::Way;
use serde_json::{Value, json};

use super::hidden::behind;
use super::{Pair, denied, enforce, followed, ignored, require, sign, signed, standing, vendor};
use crate::prepared::{Prepared, build, run};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "trust: other bytes than the digest names", run: wrong_bytes },
    Scenario { name: "trust: floods of referrers, pages, signatures and bytes", run: floods },
    Scenario { name: "trust: an index of too many entries, and a nested one", run: too_many_entries },
    Scenario { name: "trust: slow answers end with the deadline", run: drips },
    Scenario { name: "trust: signed, but deep, doubled or oversized JSON", run: malformed },
    Scenario { name: "trust: digests that are none", run: digest_confusion },
];

type Rule = Box<dyn Fn(&Request) -> Answer + Send + Sync>;

/// Under each rule of the registry the default runs, and `require` denies.
fn nothing_is_followed(world: &mut World, pair: &Pair, rules: Vec<(&str, Rule)>) {
    let (hostile, pair) = behind(world, Kind::Ferro, pair);
    world.node.configure(&require());
    followed(world, &pair);
    for (name, rule) in rules {
        println!("    {name}");
        hostile.answer(rule);
        world.node.configure(&enforce().select("decision_deadline", "10s"));
        ignored(world, &pair);
        assert!(hostile.flooded() < 64 << 20, "{name}: {} bytes were taken of a flood", hostile.flooded());
        world.node.configure(&require().select("decision_deadline", "10s"));
        denied(world, &pair);
    }
}

fn wrong_bytes(world: &mut World) {
    let pair = signed(world, Kind::Ferro);
    let (artifact, entry) = (pair.artifact.clone(), pair.better().to_owned());
    let document = digest(&artifact::compatibilities(&fits()));
    // The same manifest with one space more: all that is said in it stays right.
    let spaced: Rule = Box::new(move |request| match request.is_for("manifests", &artifact) {
        true => Answer::ok(media::MANIFEST, [request.honest().body, b" ".to_vec()].concat()),
        false => Answer::Honest,
    });
    let other: Rule = Box::new(move |request| match request.is_for("blobs", &document) {
        true => Answer::ok(SPEC, br#"{"compatibilities":{"host":{"kernel.version":">=3.11"}}}"#.as_slice()),
        false => Answer::Honest,
    });
    // A list that is about another digest than was asked for.
    let list: Rule = Box::new(move |request| match request.is_for("referrers", &entry) {
        true => request.list_with(|list| list.iter_mut().for_each(|one| one["digest"] = json!(digest(b"other")))),
        false => Answer::Honest,
    });
    let rules = vec![("manifest", spaced), ("document", other), ("list", list)];
    nothing_is_followed(world, &pair, rules);
}

/// Copies of a manifest, each with a digest of its own: true to their subject, and as good as the original.
fn copies(manifest: &Value, number: usize) -> BTreeMap<String, Vec<u8>> {
    let copy = |at: usize| {
        let mut copy = manifest.clone();
        copy["annotations"]["io.bestfit.test"] = json!(at.to_string());
        let bytes = serde_json::to_vec(&copy).expect("JSON");
        (digest(&bytes), bytes)
    };
    (0..number).map(copy).collect()
}

/// Puts copies of what refers to `subject` before it, and serves them.
fn flooded(subject: &str, manifest: &Value, number: usize) -> Rule {
    let (subject, copies) = (subject.to_owned(), copies(manifest, number));
    let kind = manifest["artifactType"].clone();
    let descriptor = move |(digest, bytes): (&String, &Vec<u8>)| json!({"mediaType": media::MANIFEST, "artifactType": kind, "digest": digest, "size": bytes.len()});
    Box::new(move |request| {
        if request.is_for("referrers", &subject) {
            return request.list_with(|list| list.splice(0..0, copies.iter().map(&descriptor)).for_each(drop));
        }
        match copies.iter().find(|(digest, _)| request.is_for("manifests", digest)) {
            Some((_, bytes)) => Answer::ok(media::MANIFEST, bytes.clone()),
            None => Answer::Honest,
        }
    })
}

/// What follows is all true, but for its amount: only the limits are in the way.
fn floods(world: &mut World) {
    let pair = signed(world, Kind::Ferro);
    let registry = world.registry(Kind::Ferro);
    let first = |subject: &str| artifact::referrers(registry, &pair.image.repository, subject).remove(0);
    let (artifact, signature) = (first(pair.better()), first(&pair.artifact));
    let at = |subject: &str, answer: fn(&Request) -> Answer| -> Rule {
        let subject = subject.to_owned();
        Box::new(move |request| if request.is_for("referrers", &subject) { answer(request) } else { Answer::Honest })
    };
    let padded = |request: &Request| Answer::ok(media::INDEX, [request.honest().body, vec![b' '; 5 << 20]].concat());
    let entry = pair.better().to_owned();
    let pages: Rule = Box::new(move |request| match request.is_kind("referrers") && request.target.contains(&entry) {
        // The fifth is the last one, and each is true.
        true if !request.target.ends_with("page=5") => next_page(request, &page_after(&request.target)),
        _ => Answer::Honest,
    });
    let rules = vec![
        ("257 artifacts", flooded(pair.better(), &artifact, 257)),
        ("257 signatures", flooded(&pair.artifact, &signature, 257)),
        ("33 signatures", flooded(&pair.artifact, &signature, 33)),
        ("five pages", pages),
        ("a list of 5 MiB", at(pair.better(), padded)),
        ("signatures in a list of 5 MiB", at(&pair.artifact, padded)),
        ("bytes without end for artifacts", at(pair.better(), |_| Answer::Flood)),
        ("bytes without end for signatures", at(&pair.artifact, |_| Answer::Flood)),
    ];
    nothing_is_followed(world, &pair, rules);
}

/// The target of the page after this one.
fn page_after(target: &str) -> String {
    match target.rsplit_once("page=") {
        Some((before, number)) => format!("{before}page={}", number.parse::<usize>().unwrap_or(1) + 1),
        None => format!("{target}{}page=2", if target.contains('?') { '&' } else { '?' }),
    }
}

/// The honest answer, with a link to another page.
pub(super) fn next_page(request: &Request, next: &str) -> Answer {
    let honest = request.honest();
    let link = vec![("Link".to_owned(), format!("<{next}>; rel=\"next\""))];
    Answer::Plain(200, [honest.headers, link].concat(), honest.body)
}

/// Such an index is not read at all, whatever is signed in it.
fn too_many_entries(world: &mut World) {
    let mut images = vec![Image::new("plain"), Image::new("better")];
    // Of another architecture and without layers of a base: they only have to be there.
    let small = |number: usize| Image {
        gzip: false,
        ..Image::new(&number.to_string()).for_architecture("s390x").on(Vec::new())
    };
    images.extend((0..63).map(small));
    let many = Index::of(&images);
    let repository = world.repository();
    let registry = world.registry(Kind::Docker);
    let reference = registry.push(&repository, "1", &many);
    let artifact =
        artifact::attach(registry, &repository, &many.entries[1].descriptor, &artifact::compatibilities(&fits()));
    let pair = Pair { image: Prepared { repository, reference, index: many }, artifact };
    sign(world, Kind::Docker, &pair, &pair.artifact, Way::Bundle(&vendor()));
    world.node.ctr().pull(&pair.image.reference);
    world.node.configure(&enforce());
    assert_eq!(build(&run(world, &pair.image, &[], &[])), "plain");
    nested(world);
}

/// An index in the index, which a signed artifact says to fit, has them for its entry, too; neither is a candidate.
fn nested(world: &mut World) {
    let pair = signed(world, Kind::Docker);
    let registry = world.registry(Kind::Docker);
    let (inner, repository) = (&pair.image.index, &pair.image.repository);
    let plain = Index::of(&[Image::new("plain")]);
    registry.push_content(repository, &plain.content);
    let mut entries = [&plain.entries[0].descriptor, &inner.descriptor].map(|descriptor| descriptor.json());
    for entry in &mut entries {
        entry["platform"] = json!({"os": "linux", "architecture": bestfit_tests::image::architecture()});
    }
    let outer = json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": entries});
    registry.put_manifest(repository, "nested", media::INDEX, &serde_json::to_vec(&outer).expect("JSON"));
    let about_inner = artifact::attach(registry, repository, &inner.descriptor, &artifact::compatibilities(&fits()));
    sign(world, Kind::Docker, &pair, &about_inner, Way::Bundle(&vendor()));
    let registry = world.registry(Kind::Docker);
    let reference = registry.reference(repository, "nested");
    let outer = Pair {
        image: Prepared { repository: repository.clone(), reference, index: plain },
        artifact: pair.artifact.clone(),
    };
    world.node.ctr().pull(&outer.image.reference);
    world.node.configure(&enforce());
    let record = ignored(world, &outer);
    let entry = &record["decision"]["entries"][1];
    assert_eq!(entry["verdict"], json!("skipped"), "an index is no candidate: {entry:#}");
}

fn drips(world: &mut World) {
    let pair = signed(world, Kind::Ferro);
    let (hostile, pair) = behind(world, Kind::Ferro, &pair);
    for subject in [pair.better().to_owned(), pair.artifact.clone()] {
        hostile.answer(move |request| if request.is_list(&subject) { Answer::Drip } else { Answer::Honest });
        world.node.configure(&enforce().select("decision_deadline", "2s"));
        let record = ignored(world, &pair);
        assert!(record["decision"].to_string().contains("within the deadline"), "it was no deadline: {record:#}");
        world.node.configure(&require().select("decision_deadline", "2s"));
        denied(world, &pair);
    }
}

/// Documents of a trusted signer that are wrong in themselves: their signature makes them no better.
fn malformed(world: &mut World) {
    let repository = world.repository();
    let deep = format!("{{\"compatibilities\": {}1{}}}", "{\"a\":".repeat(500), "}".repeat(500));
    let doubled = br#"{"compatibilities": {"host": {"kernel.version": ">=999.0", "kernel.version": ">=3.10"}}}"#;
    let padded = [artifact::compatibilities(&fits()), vec![b' '; 300 << 10]].concat();
    for (name, document, words) in [
        ("deep", deep.as_bytes(), "nested deeper than"),
        ("doubled", doubled, "stands there twice"),
        ("oversized", &padded, "bytes"),
    ] {
        let index = Index::of(&[Image::new("plain"), Image::new(name)]);
        let registry = world.registry(Kind::Docker);
        let reference = registry.push(&repository, name, &index);
        let artifact = artifact::attach(registry, &repository, &index.entries[1].descriptor, document);
        let pair = Pair { image: Prepared { repository: repository.clone(), reference, index }, artifact };
        sign(world, Kind::Docker, &pair, &pair.artifact, Way::Bundle(&vendor()));
        world.node.ctr().pull(&pair.image.reference);
        world.node.configure(&enforce());
        let record = ignored(world, &pair);
        assert!(standing(&record, &pair.artifact)["trusted"].is_object(), "{name}: {record:#}");
        let entry = &record["decision"]["entries"][1];
        assert_eq!(entry["verdict"], json!("undetermined"), "{name}: {entry:#}");
        assert!(entry["reasons"].to_string().contains(words), "{name}: {words:?} is not why: {entry:#}");
    }
}

/// Names that would lead out of a path or a cache, or mean another algorithm, where a digest belongs.
fn digest_confusion(world: &mut World) {
    let pair = signed(world, Kind::Ferro);
    let (hostile, pair) = behind(world, Kind::Ferro, &pair);
    let upper = pair.artifact.to_uppercase().replacen("SHA256", "sha256", 1);
    let names = ["sha256:../../../../tags/list", "sha256:", "md5:d41d8cd98f00b204e9800998ecf8427e", "1", &upper];
    for name in names.map(str::to_owned) {
        let (entry, given) = (pair.better().to_owned(), name.clone());
        hostile.answer(move |request| match request.is_list(&entry) {
            true => request.list_with(|list| list.iter_mut().for_each(|one| one["digest"] = json!(given))),
            false => Answer::Honest,
        });
        hostile.take();
        world.node.configure(&enforce());
        ignored(world, &pair);
        let asked: Vec<String> = hostile.take().into_iter().map(|request| request.target).collect();
        let confused = asked.iter().any(|target| {
            target.ends_with(&format!("/{name}")) || target.contains("..") || target.ends_with("/tags/list")
        });
        assert!(!confused, "{name:?} became part of a request: {asked:#?}");
    }
}
