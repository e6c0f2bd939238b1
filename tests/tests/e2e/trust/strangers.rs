//! Credentials and requests go to the registry, and to nobody whom it names.

use std::process::Command;

use bestfit_tests::artifact::{self, fits};
use bestfit_tests::hostile::{Answer, Hostile, tls};
use bestfit_tests::image::digest;
use bestfit_tests::isolate;
use bestfit_tests::node::{Node, Settings};
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World, skip};
use serde_json::json;

use super::hidden::behind;
use super::reading::next_page;
use super::{Pair, enforce, followed, ignored, signed};
use crate::prepared::Prepared;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "trust: credentials stay from a foreign realm", run: foreign_realm },
    Scenario { name: "trust: token servers inside are not asked, even without credentials", run: realm_inside },
    Scenario { name: "trust: redirects carry no credentials", run: redirects },
    Scenario { name: "trust: redirects into private networks, and too many", run: redirects_inward },
    Scenario { name: "trust: redirects to a name that resolves to a private network", run: redirected_by_name },
    Scenario { name: "trust: redirects from https to http", run: downgraded },
    Scenario { name: "trust: pages on another host are not asked for", run: foreign_pages },
    Scenario { name: "trust: urls of blobs are not followed", run: blob_urls },
];

/// No text that could be in a log by accident.
const PASSWORD: &str = "correct-horse-7f3a";
/// `operator:correct-horse-7f3a`.
const ENCODED: &str = "b3BlcmF0b3I6Y29ycmVjdC1ob3JzZS03ZjNh";
/// Addresses of the run's own loopback interface that are not of the loopback network: a stranger's (RFC 5737), a private
/// one, and the link-local one where clouds keep their secrets.
const STRANGER: &str = "203.0.113.9";
const PRIVATE: &str = "10.201.7.9";
const LINK_LOCAL: &str = "169.254.169.254";

/// Gives this run's network namespace an address; it is there until the run ends.
fn have_address(address: &str) {
    let mut command = Command::new("ip");
    command.args(["address", "replace", &format!("{address}/32"), "dev", "lo"]);
    bestfit_tests::command::run(&mut command, std::time::Duration::from_secs(5)).ok();
}

/// Gives a name an address, for all that looks into `/etc/hosts` of this run's mount namespace.
fn have_name(name: &str, address: &str) {
    let (hosts, original) = (isolate::dir().join("hosts"), isolate::dir().join("hosts.original"));
    if !original.exists() {
        std::fs::copy("/etc/hosts", &original).expect("/etc/hosts");
        std::fs::copy("/etc/hosts", &hosts).expect("a copy");
        let mut command = Command::new("mount");
        command.arg("--bind").arg(&hosts).arg("/etc/hosts");
        bestfit_tests::command::run(&mut command, std::time::Duration::from_secs(5)).ok();
    }
    let known = std::fs::read_to_string(&original).expect("/etc/hosts");
    std::fs::write(&hosts, format!("{known}\n{address} {name}\n")).expect("the names");
}

/// The policy, and credentials for a registry.
fn with_credentials(node: &Node, host: &str) -> Settings {
    let file = node.dir.join("docker.json");
    std::fs::write(&file, json!({"auths": {host: {"auth": ENCODED}}}).to_string()).expect("docker's configuration");
    Settings { docker_config: Some(file), ..enforce() }
}

/// What a server was asked with credentials, as far as it was.
fn credentials_seen(server: &Hostile) -> Vec<String> {
    let seen = server.take().into_iter();
    let told = seen.filter(|request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        request.header("authorization").is_some() || (request.target.clone() + &body).contains(PASSWORD)
    });
    told.map(|request| format!("{} {} {:?}", request.method, request.target, request.headers)).collect()
}

/// Neither the record nor any log says the password, as it is or encoded.
#[track_caller]
fn nothing_secret_is_written(node: &Node) {
    for file in [node.log(), node.decisions()] {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let secret = [PASSWORD, ENCODED].iter().any(|secret| text.contains(secret));
        assert!(!secret, "a password is in {}", file.display());
    }
}

fn foreign_realm(world: &mut World) {
    let pair = signed(world, Kind::Ferro);
    let (registry, pair) = behind(world, Kind::Ferro, &pair);
    have_address(STRANGER);
    let thief = Hostile::at(STRANGER, registry.port(), |_| Answer::json("application/json", &json!({"token": "t"})));
    for scheme in ["http", "https"] {
        let challenge = format!("Bearer realm=\"{scheme}://{STRANGER}:{}/token\",service=\"s\"", thief.port());
        registry.answer(move |_| Answer::challenge(&challenge));
        world.node.configure(&with_credentials(&world.node, &registry.host));
        ignored(world, &pair);
        let stolen = credentials_seen(&thief);
        assert!(stolen.is_empty(), "a foreign realm was given credentials: {stolen:#?}");
        // It does not speak TLS, as one that steals would: nobody may get so far as to find out.
        assert_eq!(thief.connections(), 0, "a foreign realm was asked by {scheme}");
        nothing_secret_is_written(&world.node);
    }
    own_realm(world, &pair, &registry);
}

/// There is no login, so none could be stolen: the request itself would reach what the registry must not.
fn realm_inside(world: &mut World) {
    let pair = signed(world, Kind::Ferro);
    let (registry, pair) = behind(world, Kind::Ferro, &pair);
    for address in [LINK_LOCAL, PRIVATE] {
        have_address(address);
        let inside = Hostile::at(address, registry.port(), |_| Answer::status(200));
        let challenge = format!("Bearer realm=\"https://{address}:{}/token\",service=\"s\"", inside.port());
        registry.answer(move |_| Answer::challenge(&challenge));
        world.node.configure(&enforce());
        ignored(world, &pair);
        assert_eq!(inside.connections(), 0, "{address} was asked for a token");
    }
}

/// The same credentials do go to the registry's own realm, and open it.
fn own_realm(world: &mut World, pair: &Pair, registry: &Hostile) {
    let own = format!("Bearer realm=\"http://{}/token\",service=\"s\"", registry.host);
    registry.answer(move |request| match (request.target.starts_with("/token"), request.header("authorization")) {
        (true, Some(header)) if header == format!("Basic {ENCODED}") => {
            Answer::json("application/json", &json!({"token": "opens"}))
        }
        (false, Some("Bearer opens")) => Answer::Honest,
        _ => Answer::challenge(&own),
    });
    let settings = with_credentials(&world.node, &registry.host);
    world.node.configure(&settings);
    followed(world, pair);
    nothing_secret_is_written(&world.node);
}

/// A server that has all that the registry has.
fn copy_at(address: &str, port: u16, world: &mut World) -> Hostile {
    let honest = world.registry(Kind::Ferro).host.clone();
    Hostile::at(address, port, move |request| {
        let answer = bestfit_tests::http::request("GET", &honest, &request.target, &[], &[]).expect("the registry");
        Answer::Plain(answer.status, answer.headers, answer.body)
    })
}

/// Redirects whoever asks for the document of the pairs to `origin`.
fn redirect_document(registry: &Hostile, origin: String) {
    let document = digest(&artifact::compatibilities(&fits()));
    registry.answer(move |request| match request.is_for("blobs", &document) {
        true => Answer::redirect(&format!("{origin}{}", request.target)),
        false => Answer::Honest,
    });
}

/// The document is not followed, and the words are why; nobody has asked `server`.
#[track_caller]
fn not_fetched(world: &World, pair: &Pair, server: &Hostile, words: &str) {
    let before = server.connections();
    let record = ignored(world, pair);
    assert_eq!(server.connections(), before, "the redirect was followed: {record:#}");
    assert!(record.to_string().contains(words), "{words:?} is not why: {record:#}");
}

fn redirects(world: &mut World) {
    let pair = signed(world, Kind::Ferro);
    let (registry, pair) = behind(world, Kind::Ferro, &pair);
    have_address(STRANGER);
    let thief = copy_at(STRANGER, registry.port(), world);
    let target = format!("http://{STRANGER}:{}", thief.port());
    let document = digest(&artifact::compatibilities(&fits()));
    registry.answer(move |request| match request.header("authorization") {
        None => Answer::challenge("Basic realm=\"r\""),
        Some(_) if request.is_for("blobs", &document) => Answer::redirect(&format!("{target}{}", request.target)),
        Some(_) => Answer::Honest,
    });
    let settings = with_credentials(&world.node, &registry.host);
    world.node.configure(&settings);
    // The blob has its digest, wherever it came from.
    followed(world, &pair);
    let asked = thief.take();
    assert!(!asked.is_empty(), "the redirect was not followed: nothing is shown");
    let stolen: Vec<_> = asked.iter().filter(|request| request.header("authorization").is_some()).collect();
    assert!(stolen.is_empty(), "a redirect carried credentials: {stolen:#?}");
    nothing_secret_is_written(&world.node);
}

fn redirects_inward(world: &mut World) {
    let pair = signed(world, Kind::Ferro);
    let (registry, pair) = behind(world, Kind::Ferro, &pair);
    let document = digest(&artifact::compatibilities(&fits()));
    for address in [LINK_LOCAL, PRIVATE] {
        have_address(address);
        let inside = Hostile::at(address, registry.port(), |_| Answer::status(200));
        let (target, document) = (format!("http://{address}:{}/secret", inside.port()), document.clone());
        registry.answer(move |request| match request.is_for("blobs", &document) {
            true => Answer::redirect(&target),
            false => Answer::Honest,
        });
        world.node.configure(&enforce());
        ignored(world, &pair);
        let asked = inside.take();
        assert!(asked.is_empty(), "{address} was asked: {asked:#?}");
    }
    registry.answer(move |request| match request.is_for("blobs", &document) {
        true => Answer::redirect(&request.target),
        false => Answer::Honest,
    });
    registry.take();
    world.node.configure(&enforce());
    ignored(world, &pair);
    let round = registry.take().into_iter().filter(|request| request.is_kind("blobs")).count();
    assert!(round <= 8, "a redirect was followed {round} times");
}

/// The same name and bytes: at a public address they are fetched, at one inside nobody connects.
fn redirected_by_name(world: &mut World) {
    const NAME: &str = "storage.example";
    let pair = signed(world, Kind::Ferro);
    let (registry, pair) = behind(world, Kind::Ferro, &pair);
    [STRANGER, PRIVATE].into_iter().for_each(have_address);
    let [public, inside] = [STRANGER, PRIVATE].map(|address| copy_at(address, registry.port(), world));
    redirect_document(&registry, format!("http://{NAME}:{}", registry.port()));
    have_name(NAME, STRANGER);
    world.node.configure(&enforce());
    followed(world, &pair);
    assert!(public.connections() > 0, "the redirect was not followed: nothing is shown");
    have_name(NAME, PRIVATE);
    world.node.configure(&enforce());
    not_fetched(world, &pair, &inside, "a network that is not public");
}

/// The bytes would be the genuine ones, but anybody on the way could see what is asked, and answer.
fn downgraded(world: &mut World) {
    let (certificate, key) = tls::certificate().unwrap_or_else(|why| skip(&why));
    let pair = signed(world, Kind::Ferro);
    let registry = Hostile::before_by_tls(world.registry(Kind::Ferro), (&certificate, &key));
    let reference = format!("{}/{}:1", registry.host, pair.image.repository);
    world.node.ctr().call(&["images", "tag", &pair.image.reference, &reference]).ok();
    let (repository, index) = (pair.image.repository.clone(), pair.image.index.clone());
    let pair = Pair { image: Prepared { repository, reference, index }, artifact: pair.artifact };
    have_address(STRANGER);
    let thief = copy_at(STRANGER, registry.port(), world);
    redirect_document(&registry, format!("http://{STRANGER}:{}", thief.port()));
    let configure = |world: &mut World| {
        world.node.configure(&enforce());
        let dir = world.node.cache().with_file_name("certs.d").join(&registry.host);
        std::fs::create_dir_all(&dir).expect("a directory of hosts");
        std::fs::copy(&certificate, dir.join("registry.pem")).expect("the certificate");
        let hosts = format!("server = \"https://{}\"\nca = \"registry.pem\"\n", registry.host);
        std::fs::write(dir.join("hosts.toml"), hosts).expect("hosts.toml");
    };
    configure(world);
    not_fetched(world, &pair, &thief, "from https to http");
    registry.be_honest();
    configure(world);
    followed(world, &pair);
}

fn foreign_pages(world: &mut World) {
    let pair = signed(world, Kind::Ferro);
    let (registry, pair) = behind(world, Kind::Ferro, &pair);
    have_address(STRANGER);
    let thief = Hostile::at(STRANGER, registry.port(), |_| Answer::status(404));
    let next = format!("http://{STRANGER}:{}/v2/", thief.port());
    registry.answer(move |request| match request.is_kind("referrers") {
        true => next_page(request, &next),
        false => Answer::Honest,
    });
    world.node.configure(&enforce());
    ignored(world, &pair);
    let asked = thief.take();
    assert!(asked.is_empty(), "another host was asked for the next page: {asked:#?}");
}

/// The descriptors of documents say that their bytes lie elsewhere, as OCI descriptors may.
fn blob_urls(world: &mut World) {
    have_address(STRANGER);
    let bytes = artifact::compatibilities(&json!({"host": {"kernel.version": ">=3.12"}}));
    let served = bytes.clone();
    let pair = super::unsigned(world, Kind::Docker);
    let registry = world.registry(Kind::Docker);
    let port = registry.host.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let thief = Hostile::at(STRANGER, port, move |_| Answer::ok(artifact::SPEC, served.clone()));
    let repository = &pair.image.repository;
    let manifest = registry.get_manifest(repository, &pair.artifact).expect("the artifact");
    let mut manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    let mut layer = bestfit_tests::image::Descriptor::of(artifact::SPEC, &bytes).json();
    layer["urls"] = json!([format!("http://{STRANGER}:{}/blob", thief.port())]);
    manifest["layers"] = json!([layer]);
    // A registry that checks wants its blobs: it has this one until the manifest is there.
    registry.put_blob(repository, &digest(&bytes), &bytes);
    artifact::forget(registry, repository, pair.better(), &pair.artifact);
    let artifact = artifact::refer(registry, repository, &manifest);
    registry.delete_blob(repository, &digest(&bytes));
    let pair = Pair { artifact, ..pair };
    super::sign(world, Kind::Docker, &pair, &pair.artifact, bestfit_tests::signing::Way::Bundle(&super::vendor()));
    world.node.configure(&enforce());
    ignored(world, &pair);
    let asked = thief.take();
    assert!(asked.is_empty(), "urls were followed: {asked:#?}");
}
