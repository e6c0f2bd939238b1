//! The kernel: what it offers for confinement, and what of the decider's it really holds, by letting the decider try.

use bestfit_config::Config;
use bestfit_hostprobe::{HostRoot, probe};
use bestfit_selector::facts::{Facts, State as Fact};
use serde::Deserialize;

use super::{Check, State};
use crate::stages::program::{DECIDER, ask, beside, own_dir};

#[derive(Deserialize)]
struct Report {
    unenforced: Vec<String>,
}

pub(super) async fn checks(config: &Config) -> Vec<Check> {
    vec![features(&probe(&HostRoot::running())), confinement(config).await]
}

fn features(facts: &Facts) -> Check {
    let fact = |key: &str| match facts.get("host", key).map(|fact| &fact.state) {
        Some(Fact::Known { value }) => value.to_string(),
        Some(Fact::Absent) => "none".to_owned(),
        _ => "unknown".to_owned(),
    };
    let seccomp = if fact("seccomp.actions").contains("errno") { "yes" } else { "none" };
    Check::ok("kernel", format!("{}, Landlock {}, seccomp {seccomp}", fact("kernel.version"), fact("landlock.abi")))
}

/// The decider gives up its rights as it always does, and says what was left.
async fn confinement(config: &Config) -> Check {
    const NAME: &str = "confinement";
    let Some(decider) = beside(own_dir().as_deref(), DECIDER) else {
        return Check::new(NAME, State::Unknown, format!("{DECIDER} is not there to be asked"));
    };
    let (uid, gid) = (config.decider.uid.to_string(), config.decider.gid.to_string());
    let said = match ask(&decider, &["--uid", &uid, "--gid", &gid, "--report"]).await {
        Ok(said) => said,
        Err(error) => return Check::new(NAME, State::Unknown, format!("{}: {error}", decider.display())),
    };
    if said.status.code() == Some(77) {
        return Check::new(NAME, State::Unknown, said.complaint.trim()).hint("run it as root, as containerd does");
    }
    match serde_json::from_slice::<Report>(&said.output) {
        Ok(report) if report.unenforced.is_empty() => {
            Check::ok(NAME, format!("all of it: uid {uid}, system calls, files, TCP ports, limits"))
        }
        Ok(report) => Check::new(NAME, State::Warning, report.unenforced.join("; "))
            .hint("docs/threats.md says what that leaves open; a newer kernel closes it"),
        Err(_) => Check::new(NAME, State::Wrong, format!("{} does not say ({})", decider.display(), said.status))
            .hint("install all programs from one package"),
    }
}
