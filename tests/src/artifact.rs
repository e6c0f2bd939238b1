//! Owns attaching compatibility artifacts (Proposal F) to what lies in a registry: by hand, and by the real `oras`.

use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::command;
use crate::http;
use crate::image::{Content, Descriptor, digest, media};
use crate::peers;
use crate::registry::Registry;

/// The artifact type of Proposal F.
pub const ARTIFACT: &str = "application/vnd.oci.image-compatibility.v1";
/// The type of its layer.
pub const SPEC: &str = "application/vnd.oci.image-compatibility.spec.v1+json";

/// `{"compatibilities": …}` as bytes.
pub fn compatibilities(groups: &Value) -> Vec<u8> {
    serde_json::to_vec(&json!({ "compatibilities": groups })).expect("JSON")
}

/// What makes an entry fit every machine that the tests run on; more keys are more specific.
pub fn fits() -> Value {
    json!({"host": {"kernel.version": ">=3.10"}})
}

/// What no machine has.
pub fn fits_nowhere() -> Value {
    json!({"host": {"kernel.version": ">=999.0"}})
}

/// Attaches a document to a manifest or index. Registries without the Referrers API get the list under the fallback
/// tag, as clients have to do it (OCI distribution 1.1, "Unavailable Referrers API"). Gives the artifact's digest.
pub fn attach(registry: &Registry, repository: &str, subject: &Descriptor, document: &[u8]) -> String {
    attach_layers(registry, repository, subject, &[document])
}

/// The same with several layers.
pub fn attach_layers(registry: &Registry, repository: &str, subject: &Descriptor, documents: &[&[u8]]) -> String {
    attach_with(registry, repository, subject, documents, &json!({}))
}

/// The same with annotations, such as the date of creation.
pub fn attach_with(
    registry: &Registry,
    repository: &str,
    subject: &Descriptor,
    documents: &[&[u8]],
    annotations: &Value,
) -> String {
    let empty = Descriptor::of(media::EMPTY, b"{}");
    registry.put_blob(repository, &empty.digest, b"{}");
    let layers: Vec<Value> = documents
        .iter()
        .map(|document| {
            registry.put_blob(repository, &digest(document), document);
            Descriptor::of(SPEC, document).json()
        })
        .collect();
    let mut manifest = json!({
        "schemaVersion": 2, "mediaType": media::MANIFEST, "artifactType": ARTIFACT,
        "config": empty.json(), "layers": layers, "subject": subject.json(),
    });
    if annotations.as_object().is_some_and(|all| !all.is_empty()) {
        manifest["annotations"] = annotations.clone();
    }
    refer(registry, repository, &manifest)
}

/// Puts a manifest that refers to its `subject`, and makes the registry list it there. Gives its digest.
pub fn refer(registry: &Registry, repository: &str, manifest: &Value) -> String {
    let bytes = serde_json::to_vec(manifest).expect("JSON");
    let descriptor = Descriptor::of(media::MANIFEST, &bytes);
    let answer = registry.put_manifest(repository, &descriptor.digest, media::MANIFEST, &bytes);
    if answer.header("oci-subject").is_none() {
        let subject = manifest["subject"]["digest"].as_str().expect("a subject");
        add_to_fallback(registry, repository, subject, &descriptor, &manifest["artifactType"]);
    }
    descriptor.digest
}

/// A descriptor that carries an artifact about another entry of its index (matching.md §4, "Index-only"). It is a manifest,
/// and all of it is added to `content`: registries accept nothing else in an index.
pub fn carried(content: &mut Content, subject: &Descriptor, document: &[u8]) -> Value {
    let empty = content.add(media::EMPTY, b"{}".to_vec());
    let mut layer = content.add(SPEC, document.to_vec()).json();
    layer["data"] = json!(STANDARD.encode(document));
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media::MANIFEST, "artifactType": ARTIFACT,
        "config": empty.json(), "layers": [layer], "subject": subject.json(),
    });
    let bytes = serde_json::to_vec(&manifest).expect("JSON");
    let mut entry = content.add(media::MANIFEST, bytes.clone()).json();
    entry["artifactType"] = json!(ARTIFACT);
    entry["data"] = json!(STANDARD.encode(bytes));
    entry["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    entry["annotations"] = json!({"io.bestfit.subject": subject.digest});
    entry
}

/// Lists an artifact, which has a subject of its own, as one of another.
pub fn list_under(registry: &Registry, repository: &str, subject: &Descriptor, artifact: &str) {
    let bytes = registry.get_manifest(repository, artifact).expect("the artifact");
    let descriptor = Descriptor::of(media::MANIFEST, &bytes);
    add_to_fallback(registry, repository, &subject.digest, &descriptor, &json!(ARTIFACT));
}

/// The manifests that refer to a digest, as the registry lists them.
pub fn referrers(registry: &Registry, repository: &str, subject: &str) -> Vec<Value> {
    let api = format!("/v2/{repository}/referrers/{subject}");
    let listed = http::request("GET", &registry.host, &api, &[], &[]).ok().filter(|answer| answer.status == 200);
    let list = listed.map(|answer| answer.body);
    let list = list.or_else(|| registry.get_manifest(repository, &subject.replace(':', "-")));
    let list: Value = list.map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).expect("a list"));
    let manifests = list["manifests"].as_array().into_iter().flatten();
    let digests = manifests.map(|manifest| manifest["digest"].as_str().expect("a digest").to_owned());
    let read = |digest: String| registry.get_manifest(repository, &digest).expect("a referrer");
    digests.map(|digest| serde_json::from_slice(&read(digest)).expect("a manifest")).collect()
}

/// Removes a manifest that refers to `subject`, from the list under the fallback tag as well.
pub fn forget(registry: &Registry, repository: &str, subject: &str, digest: &str) {
    registry.delete_manifest(repository, digest);
    let tag = subject.replace(':', "-");
    if let Some(list) = registry.get_manifest(repository, &tag) {
        let mut list: Value = serde_json::from_slice(&list).expect("the fallback list");
        list["manifests"].as_array_mut().expect("a list").retain(|entry| entry["digest"] != digest);
        registry.put_manifest(repository, &tag, media::INDEX, &serde_json::to_vec(&list).expect("JSON"));
    }
}

fn add_to_fallback(registry: &Registry, repository: &str, subject: &str, artifact: &Descriptor, kind: &Value) {
    let tag = subject.replace(':', "-");
    let mut list: Value = registry.get_manifest(repository, &tag).map_or_else(
        || json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": []}),
        |bytes| serde_json::from_slice(&bytes).expect("the fallback list"),
    );
    let mut entry = artifact.json();
    if !kind.is_null() {
        entry["artifactType"] = kind.clone();
    }
    list["manifests"].as_array_mut().expect("a list").push(entry);
    registry.put_manifest(repository, &tag, media::INDEX, &serde_json::to_vec(&list).expect("JSON"));
}

/// Attaches a document by `oras attach`, or says that oras is missing.
pub fn attach_with_oras(
    registry: &Registry,
    repository: &str,
    subject: &Descriptor,
    document: &[u8],
) -> Result<(), String> {
    let oras = peers::program("oras").ok_or_else(|| "oras is missing".to_owned())?;
    let dir = crate::isolate::dir().join(format!("oras-{}", &subject.digest[7..19]));
    std::fs::create_dir_all(&dir).expect("a directory");
    std::fs::write(dir.join("compatibility.json"), document).expect("a file");
    let target = format!("{}/{repository}@{}", registry.host, subject.digest);
    let mut command = Command::new(oras);
    command.args(["attach", "--plain-http", "--artifact-type", ARTIFACT, &target]);
    command.arg(format!("compatibility.json:{SPEC}")).current_dir(&dir).env("HOME", &dir);
    command::run(&mut command, Duration::from_secs(30)).ok();
    std::fs::remove_dir_all(&dir).ok();
    Ok(())
}
