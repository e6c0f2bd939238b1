//! Owns the one question about the site's policy that the relay answers itself, and only where no worker can: whether a
//! container about which nobody decided must be refused. Nothing here runs where a worker answers.
//!
//! The answer is the worker's for a sound configuration. Where a file cannot be read or is not understood, `require` in any of
//! them counts; a kill switch (`mode = "off"` or `"observe"`) that can be read goes before it.

use std::path::{Path, PathBuf};

use crate::bundle;
use crate::site::{self, Site};
use crate::toml::{self, Value};

/// What can be said about trust.
const WORDS: [&str; 4] = ["off", "warn", "enforce", "require"];
const REQUIRE: &str = "require";

/// Whether the site asks, or may ask, that a container of these namespaces is refused unless it is decided about.
#[cold]
pub(crate) fn is_asked(site: &Site, namespace: &str, bundle: &Path) -> bool {
    let kubernetes = bundle::kubernetes_namespace(bundle).unwrap_or_default();
    is_asked_for(site, &[namespace, &kubernetes])
}

fn is_asked_for(site: &Site, namespaces: &[&str]) -> bool {
    let base = match site.files() {
        Ok(files) => Said::in_files(&files),
        Err(_) => Said { doubt: true, ..Said::in_files(std::slice::from_ref(&site.file)) },
    };
    let profile = site.profile_file().map(|file| Said::in_profile(&file)).unwrap_or_default();
    let both = [&base, &profile];
    let doubt = both.iter().any(|said| said.doubt);
    let required = both.iter().any(|said| said.requires() || (doubt && said.mentions));
    let leaves = |path: &[&str]| both.iter().any(|said| said.leaves(path));
    let named = namespaces.iter().filter(|name| !name.is_empty());
    required && !leaves(&["mode"]) && !named.into_iter().any(|name| leaves(&["namespaces", name, "mode"]))
}

/// What some files say about modes.
#[derive(Debug, Default)]
struct Said {
    /// Every `mode` with its path, in the order of the files.
    modes: Vec<(Vec<String>, Value)>,
    /// Something could not be read or was not understood.
    doubt: bool,
    /// Some `mode` is `require`, which only trust's can be; in a file that is not understood, any text.
    mentions: bool,
}

impl Said {
    fn in_files(files: &[PathBuf]) -> Self {
        let mut said = Self::default();
        files.iter().for_each(|file| said.read(file, false));
        said
    }

    /// A profile without its file is a mistake.
    fn in_profile(file: &Path) -> Self {
        let mut said = Self::default();
        said.read(file, true);
        said
    }

    fn read(&mut self, file: &Path, needed: bool) {
        match site::text(file) {
            Ok(Some(text)) => {
                let mut found = toml::tables::keys(&text);
                found.values.retain(|(path, _)| path.last().is_some_and(|last| last == "mode"));
                if !found.whole {
                    self.doubt = true;
                    self.mentions |= ["\"require\"", "'require'"].iter().any(|word| text.contains(word));
                }
                let require = Value::Text(REQUIRE.to_owned());
                self.mentions |= found.values.iter().any(|(_, value)| *value == require);
                self.modes.extend(found.values);
            }
            Ok(None) => self.doubt |= needed,
            Err(_) => self.doubt = true,
        }
        let known = |value: &Value| matches!(value, Value::Text(text) if WORDS.contains(&text.as_str()));
        let unknown = self.at(&["trust", "mode"]).any(|value| !known(value));
        self.doubt |= unknown;
    }

    /// The values of a path, the last of which counts.
    fn at(&self, path: &[&str]) -> impl DoubleEndedIterator<Item = &Value> {
        self.modes.iter().filter(move |(found, _)| found == path).map(|(_, value)| value)
    }

    /// Whether the last word about trust is `require`, or one that may be.
    fn requires(&self) -> bool {
        match self.at(&["trust", "mode"]).next_back() {
            Some(Value::Text(text)) => text == REQUIRE,
            Some(_) => true,
            None => false,
        }
    }

    /// Whether the last word that is known says that containers are left as they are.
    fn leaves(&self, path: &[&str]) -> bool {
        let mut words = self.at(path).filter_map(|value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        });
        let last = words.rfind(|word| matches!(*word, "select" | "observe" | "off"));
        last.is_some_and(|word| word != "select")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    const REQUIRES: &str = "[trust]\nmode = \"require\"\n";
    const ENFORCES: &str = "[trust]\nmode = \"enforce\"\n";

    /// Whether a container of `k8s.io` and of the pod namespace `shop` is refused under these files.
    fn refused(files: &[(&str, &str)], profile: &str) -> bool {
        let folder = Folder::new();
        for (name, text) in files {
            folder.write(name, text);
        }
        is_asked_for(&Site::at(folder.path().join("config.toml"), profile), &["k8s.io", "shop"])
    }

    #[test]
    fn sound_files_say_what_the_worker_would() {
        let (main, drop_in, profile) = ("config.toml", "conf.d/10.toml", "profiles/p.toml");
        let node = |mode: &str| format!("mode = \"{mode}\"\n{REQUIRES}");
        let namespace = |name: &str, mode: &str| format!("{REQUIRES}[namespaces.\"{name}\"]\nmode = \"{mode}\"\n");
        for (files, profile, expected) in [
            (vec![], "", false),
            (vec![(main, "mode = \"select\"\n")], "", false),
            (vec![(main, ENFORCES)], "", false),
            (vec![(main, REQUIRES)], "", true),
            (vec![(main, "trust = { mode = \"require\" }")], "", true),
            (vec![(main, "trust.mode = '''require'''")], "", true),
            (vec![(main, "[[trust.accept]]\nmode = \"require\"\n")], "", false),
            (vec![(main, ENFORCES), (drop_in, REQUIRES)], "", true),
            (vec![(main, REQUIRES), (drop_in, ENFORCES)], "", false),
            (vec![(main, ENFORCES), (profile, REQUIRES)], "", false),
            (vec![(main, ENFORCES), (profile, REQUIRES)], "p", true),
            (vec![(main, REQUIRES), (profile, ENFORCES)], "p", true),
            (vec![(main, REQUIRES), (profile, "mode = \"off\"\n")], "p", false),
            (vec![(main, &node("off")), (profile, "mode = \"select\"\n")], "p", false),
            (vec![(main, &node("off"))], "", false),
            (vec![(main, &node("observe"))], "", false),
            (vec![(main, &node("off")), (drop_in, "mode = \"select\"\n")], "", true),
            (vec![(main, &namespace("k8s.io", "off"))], "", false),
            (vec![(main, &namespace("shop", "observe"))], "", false),
            (vec![(main, &namespace("other", "off"))], "", true),
        ] {
            assert_eq!(refused(&files, profile), expected, "{files:?} {profile}");
        }
    }

    #[test]
    fn in_doubt_require_in_any_file_counts_and_the_kill_switch_goes_before_it() {
        let (main, drop_in) = ("config.toml", "conf.d/10.toml");
        for (files, profile, expected) in [
            (vec![(main, "nonsense\n")], "", false),
            (vec![(main, REQUIRES), (drop_in, "nonsense\n[trust]\nmode = \"off\"\n")], "", true),
            (vec![(main, REQUIRES), (drop_in, "[trust]\nmode = \"enforcing\"\n")], "", true),
            (vec![(main, "[trust]\nmode = \"enforcing\"\n")], "", false),
            (vec![(main, "[trust\nmode = \"require\"\n")], "", true),
            (vec![(main, "x = { y = 1\ntrust.mode = 'require'\n")], "", true),
            (vec![(main, "[trust]\nmode = \"enforce\" # or \"require\"\n")], "", false),
            (vec![(main, "mode = \"off\"\n[trust\nmode = \"require\"\n")], "", false),
            (vec![(main, "mode = \"of\"\n[trust]\nmode = \"require\"\n")], "", true),
            (vec![(main, REQUIRES), (drop_in, ENFORCES)], "missing", true),
            (vec![(main, ENFORCES)], "missing", false),
        ] {
            assert_eq!(refused(&files, profile), expected, "{files:?} {profile}");
        }
        // No folder of drop-ins can be read where a file is in its place.
        assert!(refused(&[(main, REQUIRES), ("conf.d", "")], ""));
        assert!(!refused(&[(main, &format!("mode = \"off\"\n{REQUIRES}")), ("conf.d", "")], ""));
        let folder = Folder::new();
        folder.write("conf.d/10.toml", REQUIRES);
        std::os::unix::fs::symlink("/nowhere/at/all", folder.path().join("config.toml")).unwrap();
        let site = Site::at(folder.path().join("config.toml"), "");
        assert!(is_asked_for(&site, &["default"]), "a drop-in requires, whatever the file that cannot be read says");
    }

    #[test]
    fn the_pods_namespace_is_read_from_the_bundle() {
        let folder = Folder::new();
        let site =
            Site::at(folder.write("config.toml", &format!("{REQUIRES}[namespaces.kube-system]\nmode = \"off\"\n")), "");
        assert!(is_asked(&site, "k8s.io", folder.path()));
        folder.write("config.json", r#"{"annotations":{"io.kubernetes.cri.sandbox-namespace":"kube-system"}}"#);
        assert!(!is_asked(&site, "k8s.io", folder.path()));
    }
}
