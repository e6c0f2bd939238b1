//! Replays the corpus of every fuzz target (`fuzz/corpus/NAME/*`), findings among it: no parser panics on it.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test fails by panicking")]

#[path = "../../fuzz/parsers.rs"]
#[allow(clippy::missing_panics_doc, unreachable_pub, reason = "shared with the fuzz targets")]
mod parsers;

use std::path::Path;

fn corpus() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

#[test]
fn every_parser_bears_its_corpus() {
    for (name, parser) in parsers::PARSERS {
        let files = std::fs::read_dir(corpus().join(name)).unwrap_or_else(|error| panic!("corpus of {name}: {error}"));
        let mut count = 0;
        for file in files {
            let path = file.unwrap().path();
            println!("{}", path.display());
            parser(&std::fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count > 0, "the corpus of {name} is empty");
    }
}

#[test]
fn every_parser_has_a_target_and_every_corpus_a_parser() {
    let manifest = std::fs::read_to_string(corpus().join("../Cargo.toml")).unwrap();
    let names: Vec<&str> = parsers::PARSERS.iter().map(|(name, _)| *name).collect();
    for name in &names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml has no target {name}");
    }
    for folder in std::fs::read_dir(corpus()).unwrap() {
        let folder = folder.unwrap().file_name().into_string().unwrap();
        assert!(names.contains(&folder.as_str()), "fuzz/corpus/{folder} belongs to no parser");
    }
}
