//! Owns the demo's second part: somebody who may push tries to steer the choice by an artifact that nobody signed.

use bestfit_tests::artifact;
use bestfit_tests::ctr::OURS;
use bestfit_tests::image::{Image, Index};
use bestfit_tests::node::Settings;
use bestfit_tests::record;
use bestfit_tests::signing::{self, Algorithm, Desk, Key, Way};
use serde_json::{Value, json};

use crate::{Stage, explain, heading, pull, step};

/// The builds of the index, in its order; the first is the default.
const BUILDS: [&str; 3] = ["default", "vendor's", "stranger's"];

/// Whether everything went as it should, or why it could not be shown.
pub(crate) fn show(stage: &mut Stage) -> Result<bool, String> {
    heading("Signed artifacts only");
    let desk = signing::desk()?;
    let vendor = step("make a key pair for the vendor", || desk.key("vendor", Algorithm::P256));
    let signed =
        step("push an index; the vendor signs its artifact by cosign, a stranger attaches one unsigned", || {
            prepare(stage, "demo/signed", Some((desk, &vendor)))
        });
    let unsigned =
        step("push another one, with the stranger's artifact alone", || prepare(stage, "demo/unsigned", None));
    println!("    {}", vendor.accepted().trim_end().replace('\n', "; "));
    let mut right = true;
    for (mode, image, runs) in [
        ("off", &signed, Some("stranger's")),
        ("enforce", &signed, Some("vendor's")),
        ("enforce", &unsigned, Some("default")),
        ("require", &signed, Some("vendor's")),
        ("require", &unsigned, None),
    ] {
        let settings = Settings::default().trust(mode, &[vendor.accepted()]);
        stage.node.configure(&if mode == "off" { Settings::default() } else { settings });
        right &= one(stage, mode, image, runs);
    }
    stage.node.configure(&Settings::default());
    Ok(right)
}

/// Pushes an index with the stranger's artifact, and with the vendor's where there is a key; gives its reference.
fn prepare(stage: &Stage, repository: &str, vendor: Option<(&Desk, &Key)>) -> String {
    let index = Index::of(&BUILDS.map(Image::new));
    let registry = &stage.registry;
    let reference = registry.push(repository, "v1", &index);
    let attach = |entry: usize, groups: Value| {
        let document = artifact::compatibilities(&groups);
        artifact::attach(registry, repository, &index.entries[entry].descriptor, &document)
    };
    // The stranger's asks for more, and so would win.
    attach(2, json!({"host": {"kernel.version": ">=3.20"}}));
    if let Some((desk, key)) = vendor {
        let artifact = attach(1, artifact::fits());
        desk.sign(&format!("{}/{repository}@{artifact}", registry.host), Way::Bundle(key));
    }
    pull(&stage.node, &reference);
    reference
}

/// Runs an image under a mode, and tells whether the right build ran, or none.
fn one(stage: &Stage, mode: &str, image: &str, expected: Option<&str>) -> bool {
    println!("\n  trust.mode = {mode:?}");
    println!("  $ ctr run --rm --runtime {OURS} {image} signed");
    let out = stage.node.ctr().run(OURS, &[], image, "signed", &[]);
    let ran = out.stdout.lines().next().and_then(|line| line.strip_prefix("build="));
    match ran {
        Some(build) => println!("    the {build} build ran"),
        None => {
            stage.node.ctr().call(&["containers", "rm", "signed"]);
            println!("    refused: {}", out.stderr.trim());
        }
    }
    explain(stage, &["explain", image]);
    let last = stage.node.last_record();
    let denied = record::applied(&last) == "denied";
    let right = ran == expected && denied == expected.is_none();
    if !right {
        println!("  FAILED: {} was to run; {last:#}", expected.unwrap_or("nothing"));
    }
    right
}
