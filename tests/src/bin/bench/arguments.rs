//! Owns the command line of the benchmarks.

use bestfit_tests::peers::Containerd;

/// How it is called.
pub(crate) const USAGE: &str =
    "usage: bench [--n STARTS-PER-SIDE] [--line 1.6|1.7|2.1|system] [--only matching|facts|starts|memory]";

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// Measured starts per side.
    pub(crate) n: usize,
    /// The line of containerd.
    pub(crate) line: Containerd,
    /// Measure one thing and nothing else.
    pub(crate) only: Option<Only>,
}

/// What can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Only {
    /// How fast entries are matched: needs no containerd and no root.
    Matching,
    /// How long facts take: likewise.
    Facts,
    /// Starts of containers, stages and programs.
    Starts,
    /// What relays keep in memory.
    Memory,
}

impl Arguments {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self { n: 100, line: newest(), only: None };
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--n" => arguments.n = value.parse().ok().filter(|n| *n > 0).ok_or("--n is a number above 0")?,
                "--line" => arguments.line = line(&value)?,
                "--only" => arguments.only = Some(only(&value)?),
                _ => return Err(format!("unknown option {word} {value}")),
            }
        }
        Ok(arguments)
    }
}

/// The newest line that was unpacked, else what is installed.
fn newest() -> Containerd {
    let newest_first = [Containerd::V2_1, Containerd::V1_7, Containerd::V1_6];
    newest_first.into_iter().find(|line| line.program("containerd").is_some()).unwrap_or(Containerd::System)
}

fn only(name: &str) -> Result<Only, String> {
    Ok(match name {
        "matching" => Only::Matching,
        "facts" => Only::Facts,
        "starts" => Only::Starts,
        "memory" => Only::Memory,
        _ => return Err(format!("{name:?} cannot be measured alone")),
    })
}

fn line(name: &str) -> Result<Containerd, String> {
    Ok(match name {
        "1.6" => Containerd::V1_6,
        "1.7" => Containerd::V1_7,
        "2.1" => Containerd::V2_1,
        "system" => Containerd::System,
        _ => return Err(format!("no line {name:?}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Arguments, String> {
        Arguments::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_have_values() {
        assert_eq!(parse("--n 7 --line 1.6"), Ok(Arguments { n: 7, line: Containerd::V1_6, only: None }));
        assert_eq!(parse("--only facts").map(|arguments| arguments.only), Ok(Some(Only::Facts)));
        for wrong in ["--n", "--n 0", "--n x", "--line 9", "--what 1", "--only one"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
