//! Places: configuration, directories, ids, registries, credentials and hooks. Looks at owners and modes, and at no secret.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bestfit_config::{Config, ConfigErrors, Loaded, advice, places};
use bestfit_hostprobe::hook;
use bestfit_registry::{Options, Reference, network};

use super::{Check, State};
use crate::stages::file;

/// The bits that let others than the owner change, or read, a file.
const OTHERS_WRITE: u32 = 0o022;
const OTHERS_ANY: u32 = 0o077;
const MAX_CREDENTIALS: u64 = 1 << 20;
const MAX_ACCOUNTS: u64 = 16 << 20;
const MAX_HOSTS: usize = 1000;

pub(super) fn configuration(loaded: &Result<Loaded, ConfigErrors>) -> Check {
    match loaded {
        Ok(loaded) if loaded.files.is_empty() => Check::ok("configuration", "no file: the defaults hold"),
        Ok(loaded) => match advice(loaded).first() {
            Some(first) => Check::new("configuration", State::Warning, first.to_string())
                .hint(first.hint.as_deref().unwrap_or("`bestfit config check` shows every warning")),
            None => {
                let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
                Check::ok("configuration", files.join(", "))
            }
        },
        Err(errors) => {
            let first = errors.problems().first().map(ToString::to_string).unwrap_or_default();
            Check::new("configuration", State::Wrong, first)
                .hint("nothing is swapped until this is mended; `bestfit config check` shows every mistake")
        }
    }
}

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let log = config.log.file.parent().unwrap_or(Path::new("/"));
    vec![
        directory("cache", &config.cache.dir),
        decider_dir(config),
        directory("state", &config.state),
        directory("log", log),
        ids(config),
        registries(config),
        credentials(config.registries.docker_config.as_deref()),
        hooks(config),
    ]
}

/// A directory that is root's alone to change.
fn directory(name: &'static str, path: &Path) -> Check {
    let place = path.display();
    let meta = match found(name, path) {
        Ok(meta) => meta,
        Err(check) => return check,
    };
    let chown = format!("chown root {place}; chmod go-w {place}");
    match (meta.is_dir(), meta.uid(), meta.mode() & OTHERS_WRITE) {
        (false, ..) => Check::new(name, State::Wrong, format!("{place} is no directory")),
        (true, 0, 0) => Check::ok(name, format!("{place} (root, {:o})", meta.mode() & 0o7777)),
        (true, 0, _) => {
            Check::new(name, State::Wrong, format!("{place} can be changed by others ({:o})", meta.mode() & 0o7777))
                .hint(chown)
        }
        (true, uid, _) => Check::new(name, State::Wrong, format!("{place} belongs to uid {uid}")).hint(chown),
    }
}

/// What lies at a path, and no link; a check where nothing does, or where that cannot be seen.
fn found(name: &'static str, path: &Path) -> Result<Metadata, Check> {
    fs::symlink_metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Check::ok(name, format!("{} is not there yet", path.display())),
        _ => Check::new(name, State::Unknown, format!("{}: {error}", path.display())).hint("run it as root"),
    })
}

fn decider_dir(config: &Config) -> Check {
    const NAME: &str = "decider's cache";
    let path = places::decider(&config.cache.dir);
    let meta = match found(NAME, &path) {
        Ok(meta) => meta,
        Err(check) => return check,
    };
    let (place, uid) = (path.display(), config.decider.uid);
    let private = meta.is_dir() && meta.mode() & OTHERS_ANY == 0;
    match private && meta.uid() == uid {
        true => Check::ok(NAME, format!("{place} (uid {uid}, {:o})", meta.mode() & 0o7777)),
        false => {
            let is = format!("{place} belongs to uid {}, mode {:o}", meta.uid(), meta.mode() & 0o7777);
            Check::new(NAME, State::Wrong, is).hint(format!("remove it: it is made anew for uid {uid}"))
        }
    }
}

/// Nobody else may have the decider's ids: they could read its cache, and signal it.
fn ids(config: &Config) -> Check {
    const NAME: &str = "decider's ids";
    let (uid, gid) = (config.decider.uid, config.decider.gid);
    let hint = "set decider.uid and decider.gid to ids that nothing on this node uses";
    let wrong = |what: String| Check::new(NAME, State::Wrong, what).hint(hint);
    if let Some((group, _)) = config.hooks.iter().find(|(_, hook)| hook.uid == uid) {
        return wrong(format!("the hook of {group} has uid {uid} as well"));
    }
    for (path, id, what) in [("/etc/passwd", uid, "account"), ("/etc/group", gid, "group")] {
        match file::read(Path::new(path), MAX_ACCOUNTS) {
            Ok(bytes) => {
                if let Some(name) = named(&String::from_utf8_lossy(&bytes), id) {
                    return wrong(format!("{id} is the {what} {name}"));
                }
            }
            Err(failure) => return Check::new(NAME, State::Unknown, failure.first()),
        }
    }
    let ranges = file::read(Path::new("/etc/subuid"), MAX_ACCOUNTS).unwrap_or_default();
    match in_range(&String::from_utf8_lossy(&ranges), uid) {
        Some(name) => wrong(format!("{uid} is among the subordinate ids of {name} (/etc/subuid)")),
        None => Check::ok(NAME, format!("uid {uid}, gid {gid}: no account, no group, no subordinate id")),
    }
}

/// The name that has this id in the third field, as in passwd(5) and group(5).
fn named(text: &str, id: u32) -> Option<&str> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    })
}

/// The name whose range holds this id, as in subuid(5).
fn in_range(text: &str, id: u32) -> Option<&str> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, first, count) =
            (fields.next()?, fields.next()?.parse::<u64>().ok()?, fields.next()?.parse::<u64>().ok()?);
        (first..first.saturating_add(count)).contains(&u64::from(id)).then_some(name)
    })
}

/// Every folder of `hosts_dir`, read as for an image of that registry.
fn registries(config: &Config) -> Check {
    const NAME: &str = "registries";
    let registries = &config.registries;
    let dir = registries.hosts_dir.display();
    let options = Options {
        hosts_dir: Some(registries.hosts_dir.clone()),
        plain_http: registries.plain_http.clone(),
        ..Options::default()
    };
    let mut count = 0;
    for root in std::env::split_paths(&registries.hosts_dir) {
        let entries = match fs::read_dir(&root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Check::new(NAME, State::Unknown, format!("{}: {error}", root.display())),
        };
        let folders = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
        for folder in folders.take(MAX_HOSTS) {
            count += 1;
            if let Err(why) = host(&options, &folder, config.decider.uid) {
                return Check::new(NAME, State::Wrong, why)
                    .hint("images of this registry run as containerd made them until this is mended");
            }
        }
    }
    Check::ok(NAME, format!("{dir}: {count} hosts"))
}

/// One folder: its configuration can be used, and the decider can read the files that it names.
fn host(options: &Options, folder: &Path, uid: u32) -> Result<(), String> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let host = match name.strip_suffix('_').and_then(|name| name.rsplit_once('_')) {
        Some((name, port)) => format!("{name}:{port}"),
        // Any name without a folder of its own.
        None if name == "_default" => "registry.invalid".to_owned(),
        None => name.into_owned(),
    };
    let reference =
        Reference::parse(&format!("{host}/a:1")).map_err(|error| format!("{}: {error}", folder.display()))?;
    for file in network(options, &reference).map_err(|error| error.to_string())?.files {
        let meta = fs::metadata(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let readable = meta.mode() & 0o004 != 0 || (meta.uid() == uid && meta.mode() & 0o400 != 0);
        if !readable {
            return Err(format!("{} cannot be read by the decider (uid {uid})", file.display()));
        }
    }
    Ok(())
}

fn credentials(path: Option<&Path>) -> Check {
    const NAME: &str = "credentials";
    let Some(path) = path else { return Check::ok(NAME, "none are used") };
    let place = path.display();
    let meta = match found(NAME, path) {
        Ok(meta) => meta,
        Err(check) => return check,
    };
    let config: Option<serde_json::Value> =
        file::read(path, MAX_CREDENTIALS).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let Some(config) = config else {
        return Check::new(
            NAME,
            State::Wrong,
            format!("{place} is no JSON, or larger than {} KiB", MAX_CREDENTIALS >> 10),
        )
        .hint("registries are asked without a login until this is mended");
    };
    if config.get("credsStore").is_some() || config.get("credHelpers").is_some() {
        return Check::new(NAME, State::Warning, format!("{place} names credential helpers"))
            .hint("the shim runs none of them: log in with `docker --config` or `oras login` into a file of its own");
    }
    match meta.mode() & OTHERS_ANY {
        0 => Check::ok(NAME, place.to_string()),
        _ => Check::new(NAME, State::Warning, format!("{place} can be read by others ({:o})", meta.mode() & 0o7777))
            .hint(format!("chmod 600 {place}")),
    }
}

fn hooks(config: &Config) -> Check {
    let refused =
        config.hooks.iter().find_map(|(group, hook)| Some(format!("{group}: {}", hook::check(&hook.command).err()?)));
    match refused {
        Some(why) => Check::new("hooks", State::Wrong, why).hint("its group is unknown until this is mended"),
        None => Check::ok("hooks", config.hooks.len().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_accounts_and_ranges() {
        let passwd = "root:x:0:0::/root:/bin/sh\nbroken\nweb:x:61183:33::/:/bin/false\n";
        assert_eq!((named(passwd, 61183), named(passwd, 33)), (Some("web"), None));
        let ranges = "a:100000:65536\nb:61000:200\nc:x:1\n";
        assert_eq!((in_range(ranges, 61183), in_range(ranges, 61200)), (Some("b"), None));
    }
}
