//! Owns compiling the demo's program once per entry of the index. Only rustc is needed: it is here, as cargo built this.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bestfit_tests::command;
use bestfit_tests::image::Image;
use bestfit_tests::isolate;
use bestfit_tests::tar::Tar;
use serde_json::json;

/// One entry of the index.
pub(crate) struct Build {
    /// Its name, for people; the program prints it.
    pub(crate) name: &'static str,
    /// `io.archspec` `cpu.target` in its artifact.
    pub(crate) target: &'static str,
    architecture: &'static str,
    /// `-C target-cpu`.
    cpu: &'static str,
}

/// The entries in the order of the index: the first one that a machine can run is its default.
pub(crate) const BUILDS: [Build; 4] = [
    Build { name: "baseline", target: "x86_64", architecture: "amd64", cpu: "x86-64" },
    Build { name: "x86-64-v3", target: "x86_64_v3", architecture: "amd64", cpu: "x86-64-v3" },
    Build { name: "x86-64-v4", target: "x86_64_v4", architecture: "amd64", cpu: "x86-64-v4" },
    Build { name: "arm64", target: "aarch64", architecture: "arm64", cpu: "generic" },
];

impl Build {
    /// The image with this build, and what had to be done otherwise than planned.
    pub(crate) fn image(&self) -> (Image, Option<String>) {
        let (program, note) = match self.compile() {
            Ok(program) => (program, None),
            // No container ever runs this entry here: an index with it still has the shape of a real one.
            Err(why) if self.architecture == "arm64" => (
                b"#!/bin/false\n".to_vec(),
                Some(format!("arm64: {why}; its entry holds a stand-in instead of the program")),
            ),
            Err(why) => panic!("{}: {why}", self.name),
        };
        let common = Tar::default()
            .dir("etc", 0o755)
            .file("etc/passwd", 0o644, b"root:x:0:0:root:/:/matmul\n")
            .file("etc/group", 0o644, b"root:x:0:\n")
            .finish();
        let own = Tar::default().file("matmul", 0o755, &program).finish();
        let mut image = Image::new(self.name).for_architecture(self.architecture).on(vec![common, own]);
        image.config = json!({"Entrypoint": ["/matmul"], "Env": ["PATH=/"], "WorkingDir": "/"});
        (image, note)
    }

    /// The static program, or why it cannot be had.
    fn compile(&self) -> Result<Vec<u8>, String> {
        let machine = if self.architecture == "arm64" { "aarch64" } else { "x86_64" };
        let triple = ["musl", "gnu"].map(|libc| format!("{machine}-unknown-linux-{libc}"));
        let sysroot = sysroot()?;
        let triple = triple.into_iter().find(|triple| sysroot.join("lib/rustlib").join(triple).is_dir());
        let triple = triple.ok_or_else(|| format!("Rust's standard library for {machine} is not installed"))?;
        let output = isolate::dir().join(self.name);
        let mut rustc = Command::new("rustc");
        rustc.args([
            "--edition",
            "2021",
            "-C",
            "opt-level=3",
            "-C",
            "strip=symbols",
            "-C",
            "target-feature=+crt-static",
        ]);
        rustc.args(["--target", &triple, "-C", &format!("target-cpu={}", self.cpu)]);
        if machine != std::env::consts::ARCH {
            rustc.args(["-C", linker(&triple)]);
        }
        rustc.arg("-o").arg(&output).arg(source()).env("DEMO_BUILD", self.name).env_remove("RUSTFLAGS");
        let done = command::run(&mut rustc, Duration::from_secs(120));
        if !done.is_ok() {
            return Err(done
                .stderr
                .lines()
                .find(|line| line.starts_with("error"))
                .unwrap_or("rustc failed")
                .to_owned());
        }
        std::fs::read(&output).map_err(|error| error.to_string())
    }
}

/// musl's target brings all that is linked, so Rust's own linker will do; for glibc a cross compiler has to be there.
fn linker(triple: &str) -> &'static str {
    if triple.ends_with("musl") { "linker=rust-lld" } else { "linker=aarch64-linux-gnu-gcc" }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/matmul.rs")
}

fn sysroot() -> Result<PathBuf, String> {
    let found = command::run(Command::new("rustc").args(["--print", "sysroot"]), Duration::from_secs(30));
    if found.is_ok() {
        Ok(PathBuf::from(found.stdout.trim()))
    } else {
        Err(format!("no rustc: {}", found.stderr.trim()))
    }
}
