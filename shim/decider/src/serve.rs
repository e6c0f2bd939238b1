//! Owns the conversation with the worker: one question, one answer, then content until the pipe closes. The question is the
//! worker's own; the index behind it, and all that follows, is foreign: before that, the last rights are given up.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bestfit_registry::client::BackOff;
use bestfit_registry::{Client, Options, Reference, Repository, network};
use bestfit_selector::decide::Prepared;
use bestfit_selector::decision::{ImageConfigs, Inputs};
use bestfit_selector::exchange::{Answer, Ask, Fetch, FrameError, HEADER, Kind, header, parse_header};
use bestfit_selector::index::Index;
use bestfit_selector::json::plain;

use bestfit_decider::confine::Places;
use bestfit_decider::{Gathered, Verifier, gather};

/// The conversation ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The pipe broke.
    #[error("pipe: {0}")]
    Pipe(#[from] io::Error),
    /// The worker sent something else than expected.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message that is none.
    #[error("message: {0}")]
    Message(#[from] serde_json::Error),
}

/// The worker starts this process inside the cache: its path may lie where this uid cannot walk.
const CACHE: &str = ".";
/// The longest warning that is passed on, in characters.
const MAX_WARNING: usize = 300;

/// Answers the worker until it closes the pipe. What fails is said to the worker; an error here is a broken pipe.
/// `unenforced` is what the kernel could not enforce so far; a cache that cannot be used is said with it.
pub(crate) async fn serve(
    input: &mut impl Read,
    output: &mut impl Write,
    mut unenforced: Vec<String>,
) -> Result<(), ServeError> {
    let Some((Kind::Message, question)) = receive(input)? else { return Ok(()) };
    let ask: Ask = serde_json::from_slice(&question)?;
    let reference = match Reference::parse(&ask.reference) {
        Ok(reference) => reference,
        Err(error) => return send(output, Kind::Error, error.to_string().as_bytes()),
    };
    let mut options = options(&ask);
    let places = places(&options, &reference, &ask.registries.ports);
    unenforced.extend(places.restrict());
    options.ports = Some(places.ports);
    let Some((Kind::Bytes, index)) = receive(input)? else { return Ok(()) };
    let client = Client::new(options);
    unenforced.extend(warnings(&client));
    let repository = client.repository(&reference);
    match answer(&client, &repository, reference.name(), ask, index).await {
        Ok(answer) => send(output, Kind::Message, &serde_json::to_vec(&Answer { unenforced, ..answer })?)?,
        Err(why) => send(output, Kind::Error, why.as_bytes())?,
    }
    while let Some((Kind::Message, message)) = receive(input)? {
        let fetch: Fetch = serde_json::from_slice(&message)?;
        match content(&repository, &fetch, output).await {
            Ok(()) => send(output, Kind::End, &[])?,
            Err(ContentError::Registry(why)) => send(output, Kind::Error, why.as_bytes())?,
            Err(ContentError::Pipe(error)) => return Err(error),
        }
    }
    Ok(())
}

fn options(ask: &Ask) -> Options {
    Options {
        hosts_dir: Some(ask.registries.hosts_dir.clone()),
        plain_http: ask.registries.plain_http.clone(),
        redirects: ask.registries.redirects.clone(),
        docker_config: ask.registries.docker_config.clone(),
        // Helpers are the user's programs: they would run without a home and without rights.
        allow_credential_helpers: false,
        // A host that was silent for half of the time is left alone for a while, also where that time is short.
        back_off: BackOff { patience: (ask.deadline / 2).min(BackOff::default().patience), ..BackOff::default() },
        cache: Some(PathBuf::from(CACHE)),
        cache_max_bytes: ask.registries.cache_max_bytes,
        referrers_lifetime: ask.registries.referrers_lifetime,
        ..Options::default()
    }
}

/// What the client has to do without, in words of bounded length.
fn warnings(client: &Client) -> impl Iterator<Item = String> {
    client.warnings().iter().map(|warning| plain(warning, MAX_WARNING))
}

/// The files and ports without which this registry cannot be read. Where its configuration cannot be read, neither can it, and
/// asking it says why.
fn places(options: &Options, reference: &Reference, more: &[u16]) -> Places {
    let network = network(options, reference).unwrap_or_default();
    Places {
        read: network.files.into_iter().chain(options.hosts_dir.iter().flat_map(std::env::split_paths)).collect(),
        write: vec![PathBuf::from(CACHE)],
        ports: network.ports.into_iter().chain(more.iter().copied()).collect(),
    }
}

async fn answer(
    client: &Client,
    repository: &Repository,
    name: String,
    ask: Ask,
    index: Vec<u8>,
) -> Result<Answer, String> {
    let started = Instant::now();
    let parsed = Index::parse(&index).map_err(|error| error.to_string())?;
    let trust = &ask.policy.trust;
    if let Some((position, why)) = bestfit_trust::problems(trust).first() {
        let signer = trust.accept.get(*position).map(|accept| accept.name.as_str()).unwrap_or_default();
        return Err(format!("trust.accept[{position}] ({signer}) of this site's configuration: {why}"));
    }
    let verifier = Verifier { trust, name, now: ask.now };
    let gathered = gather(repository, &parsed, &ask.host, &verifier, ask.images.is_some(), Some(ask.deadline));
    let Gathered { evidence, standings, stale, images, fresh, lasts, .. } = gathered.await;
    let gather_us = micros(started);
    let matching = Instant::now();
    let images = ask.images.clone().zip(images).map(|(user, of)| ImageConfigs { user, of });
    let inputs = Inputs { evidence, standings, stale, images, ..ask.into_inputs(index) };
    let prepared = Prepared::new(&inputs).map_err(|error| error.to_string())?;
    let decision = prepared.on(&inputs.facts).decide().map_err(|error| error.to_string())?;
    // An answer that is remembered must not outlast the age that an artifact may have.
    let left = prepared.outdated_from().map(|second| u64::try_from(second.saturating_sub(inputs.now)).unwrap_or(0));
    let left = left.map_or(Duration::MAX, Duration::from_secs);
    let (fresh, lasts) = (fresh.map(|fresh| fresh.min(left)), lasts.min(left));
    Ok(Answer {
        decision,
        requests: client.requests(),
        gather_us,
        decide_us: micros(matching),
        fresh,
        lasts,
        unenforced: Vec::new(),
    })
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

enum ContentError {
    Registry(String),
    Pipe(ServeError),
}

/// Streams one piece of content; its digest is checked by the registry layer before the end is said.
async fn content(repository: &Repository, fetch: &Fetch, output: &mut impl Write) -> Result<(), ContentError> {
    let registry = |error: bestfit_registry::Error| ContentError::Registry(error.to_string());
    if fetch.manifest {
        let bytes = repository.manifest(&fetch.digest).await.map_err(registry)?;
        return send(output, Kind::Bytes, &bytes).map_err(ContentError::Pipe);
    }
    let mut stream = repository.blob_stream(&fetch.digest, fetch.size).await.map_err(registry)?;
    while let Some(chunk) = stream.chunk().await.map_err(registry)? {
        for part in chunk.chunks(1 << 20) {
            send(output, Kind::Bytes, part).map_err(ContentError::Pipe)?;
        }
    }
    Ok(())
}

/// Says why this process cannot answer: the worker hears nothing else of it.
pub(crate) fn say(output: &mut impl Write, why: &str) -> Result<(), ServeError> {
    send(output, Kind::Error, why.as_bytes())
}

fn send(output: &mut impl Write, kind: Kind, payload: &[u8]) -> Result<(), ServeError> {
    output.write_all(&header(kind, payload.len())?)?;
    output.write_all(payload)?;
    output.flush()?;
    Ok(())
}

/// The next frame, or None where the worker closed the pipe between two frames.
fn receive(input: &mut impl Read) -> Result<Option<(Kind, Vec<u8>)>, ServeError> {
    let mut head = [0; HEADER];
    match input.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let (kind, length) = parse_header(head)?;
    let mut payload = vec![0; length];
    input.read_exact(&mut payload)?;
    Ok(Some((kind, payload)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_cannot_be_used_is_said() {
        let of =
            |cache: &str| warnings(&Client::new(Options { cache: Some(cache.into()), ..Options::default() })).next();
        assert!(of("/dev/null").is_some_and(|warning| warning.starts_with("cache /dev/null: ")));
        let long = of(&format!("/dev/null/{}", "x".repeat(4000))).unwrap();
        assert!(long.chars().count() <= MAX_WARNING + 1, "{long}");
        assert_eq!(warnings(&Client::new(Options::default())).next(), None);
    }
}
