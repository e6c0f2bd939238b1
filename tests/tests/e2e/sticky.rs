//! A decision that is kept for a pod: what is attached later reaches the pods that come later, and what is revoked all of them.

use std::time::Duration;

use bestfit_tests::artifact::{self, fits};
use bestfit_tests::command::eventually;
use bestfit_tests::cri::{App, Pod};
use bestfit_tests::image::Image;
use bestfit_tests::node::{Node, Settings};
use bestfit_tests::registry::Kind;
use bestfit_tests::scenario::{Scenario, World};
use serde_json::{Value, json};

use crate::cri::{HANDLERS, app, client, end, node, record_of, says};
use crate::prepared::{Prepared, push};

pub(crate) const SCENARIOS: &[Scenario] =
    &[Scenario { name: "pods: a choice is kept for the pod until it is revoked", run: kept }];

/// How long lists are believed; they have expired after the sum.
const LIFETIME: Duration = Duration::from_secs(4);
const JITTER: Duration = Duration::from_secs(2);

/// Runs a container, and gives its record: it is of this build, and went by what the pod kept or not.
#[track_caller]
pub(crate) fn ran(
    node: &Node,
    pod: &Pod,
    image: &Prepared,
    name: &'static str,
    (build, sticky): (&str, bool),
) -> Value {
    let cri = client(node);
    let id = cri.run(pod, &App { args: vec!["hold".to_owned()], ..app(name, image) });
    says(&cri.log(&id), &[&format!("build={build}")]);
    // It is written after the container has gone on.
    let written = || node.records().iter().any(|record| record["container"] == json!(id)).then_some(());
    eventually("the record is written", Duration::from_secs(10), written);
    let found = record_of(node, &id);
    assert_eq!(found["sticky"] == json!(true), sticky, "{found:#}");
    cri.remove(&id);
    found
}

fn kept(world: &mut World) {
    let mut node = node(world);
    let hold = |build: &str| Image::new(build).with("Cmd", json!(["hold"]));
    let entries = [(hold("plain"), None), (hold("better"), Some(fits())), (hold("best"), None)];
    let image = push(world, Kind::Docker, &entries);
    let settings = Settings::default().select("referrers_lifetime", &format!("{}s", LIFETIME.as_secs()));
    node.configure(&settings);
    client(&node).pull(&image.reference);
    let pod = |name: &str| client(&node).run_pod(HANDLERS[0], name, "default");
    let old = pod("old");
    ran(&node, &old, &image, "first", ("better", false));

    let newer = artifact::compatibilities(&json!({"host": {"kernel.version": ">=3.20"}}));
    artifact::attach(world.registry(Kind::Docker), &image.repository, &image.index.entries[2].descriptor, &newer);
    std::thread::sleep(LIFETIME + JITTER);
    let found = ran(&node, &old, &image, "again", ("better", true));
    assert_eq!((&found["requests"], &found["remembered"]), (&json!(0), &Value::Null), "{found:#}");
    let new = pod("new");
    ran(&node, &new, &image, "first", ("best", false));
    // What the node remembers by now is not the old pod's.
    ran(&node, &old, &image, "and-again", ("better", true));

    let revoked = image.index.entry(1);
    node.reconfigure(&Settings { trust: format!("[trust]\nrevoked = [{revoked:?}]\n"), ..settings });
    ran(&node, &old, &image, "revoked", ("best", false));
    client(&node).remove_pod(&new);
    end(&node, &old);
}
