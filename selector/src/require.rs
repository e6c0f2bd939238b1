//! Owns `NVIDIA_REQUIRE_*`: what CUDA images ask of the driver in the environment of their config. NVIDIA's container toolkit
//! enforces it when a container starts, which is after the choice (libnvidia-container, `src/dsl.c`). A variable holds
//! alternatives parted by spaces, each of them conditions parted by commas; all variables hold. Says nothing about hosts; that
//! is `crate::matching`'s.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::json::{self, JsonError};

/// The longest image config that is read, in bytes.
pub const MAX_CONFIG: usize = 256 << 10;
/// The most variables, the most conditions of all of them together, and the longest of one, in bytes.
const MAX_VARIABLES: usize = 16;
const MAX_CONDITIONS: usize = 1024;
const MAX_CONDITION: usize = 256;
/// What the names begin with.
const PREFIX: &str = "NVIDIA_REQUIRE_";
/// Where this is true, nothing is required.
const DISABLE: &str = "NVIDIA_DISABLE_REQUIRE";

/// One variable: one of the alternatives holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// Its name.
    pub variable: String,
    /// Each is a list of conditions that all hold.
    pub alternatives: Vec<Vec<Condition>>,
    /// What is wrong with the alternative after these: the toolkit takes the first that holds, and gives up at one that it
    /// cannot read.
    pub broken: Option<String>,
}

/// One condition: `driver>=470`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// As written.
    pub text: String,
    /// `cuda`, `driver`, `arch` or `brand`; others are nobody's.
    pub subject: String,
    /// How it compares.
    pub op: Op,
    /// With what.
    pub value: String,
}

/// How a condition compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

/// How they are written. The toolkit compares only as many characters as stand there, so that `!` is `!=`.
const OPS: [(&str, Op); 7] =
    [("!=", Op::Ne), ("!", Op::Ne), ("<=", Op::Le), (">=", Op::Ge), ("<", Op::Lt), (">", Op::Gt), ("=", Op::Eq)];

/// Why nobody knows what is required.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequireError {
    /// The config is no JSON of the right shape.
    #[error(transparent)]
    Config(#[from] JsonError),
    /// A variable is not what the toolkit reads.
    #[error("{variable}: {why}")]
    Variable {
        /// Its name.
        variable: String,
        /// What is wrong.
        why: String,
    },
}

#[derive(Deserialize)]
struct RawImage {
    config: Option<RawConfig>,
}

#[derive(Deserialize)]
struct RawConfig {
    #[serde(rename = "Env")]
    env: Option<Vec<String>>,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(OPS.iter().find(|(_, op)| op == self).map_or("", |(text, _)| text))
    }
}

/// What the config of an image requires, at most [`MAX_CONFIG`] long, in the order of the names. `user` are variables that the
/// container's user set, `NAME=VALUE`: they go before the image's own.
pub fn read(config: &[u8], user: &[String]) -> Result<Vec<Constraint>, RequireError> {
    let image: RawImage = json::read(config, MAX_CONFIG)?;
    let env = image.config.and_then(|config| config.env).unwrap_or_default();
    let variables = env.iter().chain(user).filter_map(|variable| variable.split_once('='));
    let variables: BTreeMap<&str, &str> = variables.filter(|(name, _)| is_variable(name)).collect();
    // As Go's strconv.ParseBool, which the toolkit asks.
    if variables.get(DISABLE).is_some_and(|value| matches!(*value, "1" | "t" | "T" | "true" | "TRUE" | "True")) {
        return Ok(Vec::new());
    }
    let required = variables.into_iter().filter(|(name, value)| *name != DISABLE && !value.trim().is_empty());
    let constraints: Vec<Constraint> =
        required.map(|(name, value)| constraint(name, value)).collect::<Result<_, _>>()?;
    let conditions: usize = constraints.iter().flat_map(|one| &one.alternatives).map(Vec::len).sum();
    if constraints.len() > MAX_VARIABLES || conditions > MAX_CONDITIONS {
        let why = format!("more than {MAX_VARIABLES} variables, or {MAX_CONDITIONS} conditions");
        return Err(RequireError::Variable { variable: format!("{PREFIX}*"), why });
    }
    Ok(constraints)
}

/// Whether a variable of the environment is one of these.
pub fn is_variable(name: &str) -> bool {
    name.starts_with(PREFIX) || name == DISABLE
}

fn constraint(name: &str, value: &str) -> Result<Constraint, RequireError> {
    let variable = json::plain(name, 60);
    let mut alternatives = Vec::new();
    for text in value.split_ascii_whitespace() {
        match alternative(text) {
            Ok(conditions) => alternatives.push(conditions),
            Err(why) if alternatives.is_empty() => return Err(RequireError::Variable { variable, why }),
            Err(why) => return Ok(Constraint { variable, alternatives, broken: Some(why) }),
        }
    }
    Ok(Constraint { variable, alternatives, broken: None })
}

/// Conditions parted by commas; the toolkit skips empty ones. One without any would end the toolkit's search, whatever came of
/// it so far: nobody can have meant that.
fn alternative(text: &str) -> Result<Vec<Condition>, String> {
    let conditions = text.split(',').filter(|text| !text.is_empty()).map(condition).collect::<Result<Vec<_>, _>>()?;
    if conditions.is_empty() { Err(format!("{:?} compares nothing", json::plain(text, 60))) } else { Ok(conditions) }
}

fn condition(text: &str) -> Result<Condition, String> {
    let shown = || json::plain(text, 60);
    if text.len() > MAX_CONDITION {
        return Err(format!("{:?} is longer than {MAX_CONDITION} bytes", shown()));
    }
    let at = text.find(['=', '!', '<', '>']).ok_or_else(|| format!("{:?} compares nothing", shown()))?;
    let (subject, rest) = text.split_at(at);
    let value = rest.trim_start_matches(['=', '!', '<', '>']);
    let sign = &rest[..rest.len() - value.len()];
    let op = OPS.iter().find(|(known, _)| *known == sign).map(|(_, op)| *op);
    match op {
        Some(op) if !subject.is_empty() && !value.is_empty() => {
            Ok(Condition { text: shown(), subject: subject.to_ascii_lowercase(), op, value: value.to_owned() })
        }
        _ => Err(format!("{:?} is no condition", shown())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(env: &[&str]) -> String {
        serde_json::json!({"os": "linux", "config": {"Env": env, "Labels": {}}, "rootfs": {}}).to_string()
    }

    fn shown(env: &[&str], user: &[&str]) -> Result<Vec<String>, String> {
        let user: Vec<String> = user.iter().map(|variable| (*variable).to_owned()).collect();
        let constraints = read(config(env).as_bytes(), &user).map_err(|error| error.to_string())?;
        let one = |constraint: &Constraint| {
            let each = |all: &Vec<Condition>| {
                let all = all.iter().map(|one| format!("{} {} {}", one.subject, one.op, one.value));
                all.collect::<Vec<_>>().join(" and ")
            };
            let alternatives: Vec<String> = constraint.alternatives.iter().map(each).collect();
            let broken = constraint.broken.as_ref().map_or_else(String::new, |why| format!(" or {why}"));
            format!("{}: {}{broken}", constraint.variable, alternatives.join(" or "))
        };
        Ok(constraints.iter().map(one).collect())
    }

    #[test]
    fn spaces_are_or_and_commas_are_and() {
        let env =
            ["PATH=/bin", "NVIDIA_REQUIRE_CUDA=cuda>=12.4 brand=tesla,driver>=470,driver<471", "CUDA_VERSION=12.4"];
        let cuda = "NVIDIA_REQUIRE_CUDA: cuda >= 12.4 or brand = tesla and driver >= 470 and driver < 471";
        assert_eq!(shown(&env, &[]).unwrap(), [cuda]);
        let two = ["NVIDIA_REQUIRE_CUDA=cuda>=12.0", "NVIDIA_REQUIRE_ARCH=arch!=7.0  arch<=9.0"];
        let both = ["NVIDIA_REQUIRE_ARCH: arch != 7.0 or arch <= 9.0", "NVIDIA_REQUIRE_CUDA: cuda >= 12.0"];
        assert_eq!(shown(&two, &[]).unwrap(), both);
        for nothing in [&[][..], &["NVIDIA_REQUIRE_CUDA="], &["NVIDIA_REQUIRE_CUDA= "], &["NVIDIA_VISIBLE_DEVICES=all"]]
        {
            assert!(shown(nothing, &[]).unwrap().is_empty(), "{nothing:?}");
        }
        assert!(read(b"{}", &[]).unwrap().is_empty() && read(br#"{"config":{"Env":null}}"#, &[]).unwrap().is_empty());
    }

    /// What libnvidia-container's dsl.c makes of it.
    #[test]
    fn what_the_toolkit_reads_is_read() {
        for (value, expected) in [
            ("cuda>=12,", "cuda >= 12"),
            (",cuda>=12,,driver>=535", "cuda >= 12 and driver >= 535"),
            ("CUDA>=12", "cuda >= 12"),
            ("cuda!12", "cuda != 12"),
            ("cuda>=12 bogus driver>=535", "cuda >= 12 or \"bogus\" compares nothing"),
        ] {
            let expected = format!("NVIDIA_REQUIRE_X: {expected}");
            assert_eq!(shown(&[&format!("NVIDIA_REQUIRE_X={value}")], &[]).unwrap(), [expected], "{value}");
        }
    }

    #[test]
    fn the_user_goes_before_the_image() {
        let env = ["NVIDIA_REQUIRE_CUDA=cuda>=13.0"];
        assert_eq!(shown(&env, &["NVIDIA_REQUIRE_CUDA=cuda>=12.0"]).unwrap(), ["NVIDIA_REQUIRE_CUDA: cuda >= 12.0"]);
        assert!(shown(&env, &["NVIDIA_REQUIRE_CUDA="]).unwrap().is_empty());
        assert!(shown(&env, &["NVIDIA_DISABLE_REQUIRE=1"]).unwrap().is_empty());
        assert!(shown(&["NVIDIA_REQUIRE_CUDA=cuda>=13.0", "NVIDIA_DISABLE_REQUIRE=true"], &[]).unwrap().is_empty());
        let back = ["NVIDIA_DISABLE_REQUIRE=0"];
        assert_eq!(shown(&["NVIDIA_REQUIRE_CUDA=cuda>=13", "NVIDIA_DISABLE_REQUIRE=1"], &back).unwrap().len(), 1);
    }

    #[test]
    fn what_the_toolkit_would_not_read_is_an_error() {
        let table = [
            ("cuda", "NVIDIA_REQUIRE_X: \"cuda\" compares nothing"),
            ("cuda>=", "NVIDIA_REQUIRE_X: \"cuda>=\" is no condition"),
            (">=12", "NVIDIA_REQUIRE_X: \">=12\" is no condition"),
            ("cuda==12", "NVIDIA_REQUIRE_X: \"cuda==12\" is no condition"),
            ("cuda=>12", "NVIDIA_REQUIRE_X: \"cuda=>12\" is no condition"),
            (",", "NVIDIA_REQUIRE_X: \",\" compares nothing"),
        ];
        for (value, expected) in table {
            assert_eq!(shown(&[&format!("NVIDIA_REQUIRE_X={value}")], &[]).unwrap_err(), expected);
        }
        let many = format!("NVIDIA_REQUIRE_X={}", "cuda>=1 ".repeat(MAX_CONDITIONS + 1));
        assert!(shown(&[&many], &[]).unwrap_err().starts_with("NVIDIA_REQUIRE_*: more than 16 variables"));
        assert!(shown(&[&format!("NVIDIA_REQUIRE_X=cuda>={}", "1".repeat(300))], &[]).unwrap_err().contains("longer"));
        assert_eq!(read(b"{\n", &[]).unwrap_err().to_string(), "line 2 column 0: EOF while parsing an object");
        let huge = format!("{{}}{}", " ".repeat(MAX_CONFIG));
        assert!(read(huge.as_bytes(), &[]).unwrap_err().to_string().contains("are accepted"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(value in ".{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(config(&[&format!("NVIDIA_REQUIRE_X={value}")]).as_bytes(), &[]);
            let _ = read(&bytes, &[value]);
        }
    }
}
