//! Owns turning this host's facts into those of an older CPU: x86-64-v2 or v3, without what came after.

use serde_json::{Value, json};

/// Names of flags, as /proc/cpuinfo and NFD spell them, that came with v3.
const V3: &[&str] = &["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "fma3", "abm", "lzcnt", "movbe", "x86_64_v3"];

/// Whether a CPU of this level (2 or 3) lacks a flag. Names of later kinds are known by how they begin.
fn lacks(level: u8, flag: &str) -> bool {
    let flag = flag.to_ascii_lowercase();
    let after_v3 =
        ["avx512", "avx10", "avx_", "avxvnni", "avxifma", "avxne", "amx", "x86_64_v4", "vaes", "vpclmul", "gfni"];
    after_v3.iter().any(|start| flag.starts_with(start)) || (level < 3 && V3.contains(&flag.as_str()))
}

/// `bestfit host --json` of this host, as a CPU of that level (2 or 3) would have answered.
pub(crate) fn facts(mut host: Value, level: u8) -> Value {
    let facts = &mut host["facts"];
    facts["host"]["cpu.level"]["value"] = json!(format!("v{level}"));
    let archspec = &mut facts["io.archspec"];
    archspec["cpu.target"]["value"] = json!(format!("x86_64_v{level}"));
    let names = ["x86_64", "x86_64_v2", "x86_64_v3"];
    archspec["cpu.candidates"]["value"] = json!(names[..usize::from(level)]);
    if let Some(flags) = archspec["cpu.features"]["value"].as_array_mut() {
        flags.retain(|flag| !flag.as_str().is_some_and(|flag| lacks(level, flag)));
    }
    if let Some(nfd) = facts["nfd"].as_object_mut() {
        nfd.retain(|key, _| !key.strip_prefix("cpu-cpuid.").is_some_and(|flag| lacks(level, flag)));
    }
    // Whoever reads an explanation of these facts should see that they were made up.
    for key in ["cpu.target", "cpu.candidates", "cpu.features"] {
        facts["io.archspec"][key]["source"] = json!("made up by the demo");
    }
    host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_cpu_has_nothing_newer() {
        let known = |value: Value| json!({"state": "known", "value": value, "source": "test"});
        let host = json!({"facts": {
            "host": {"cpu.level": known(json!("v4")), "kernel.version": known(json!("6.1"))},
            "io.archspec": {
                "cpu.target": known(json!("icelake")),
                "cpu.candidates": known(json!(["icelake", "x86_64_v4", "x86_64"])),
                "cpu.features": known(json!(["avx", "avx2", "avx512f", "sse4_2"])),
            },
            "nfd": {
                "cpu-cpuid.AVX512F": known(json!(true)), "cpu-cpuid.AVX2": known(json!(true)),
                "cpu-cpuid.SSE42": known(json!(true)), "cpu-cpuid.X86_64_V4": known(json!(true)),
            },
        }});
        let v3 = facts(host.clone(), 3);
        assert_eq!(v3["facts"]["io.archspec"]["cpu.candidates"]["value"], json!(["x86_64", "x86_64_v2", "x86_64_v3"]));
        assert_eq!(v3["facts"]["io.archspec"]["cpu.features"]["value"], json!(["avx", "avx2", "sse4_2"]));
        let v2 = facts(host, 2);
        assert_eq!(v2["facts"]["host"]["cpu.level"]["value"], json!("v2"));
        assert_eq!(v2["facts"]["io.archspec"]["cpu.features"]["value"], json!(["sse4_2"]));
        assert_eq!(v2["facts"]["nfd"].as_object().unwrap().keys().collect::<Vec<_>>(), ["cpu-cpuid.SSE42"]);
    }
}
