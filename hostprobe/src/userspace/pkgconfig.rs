//! Owns the version in a pkg-config file (pc(5)): the field `Version:`, variables filled in. Asks for no file itself.

/// The most steps of variables that stand for others.
const MOST_STEPS: usize = 8;
/// The longest text that variables make.
const MOST_BYTES: usize = 256;

/// The version that the file names; `None` where it has none, or one that cannot be told.
pub(super) fn version(text: &str) -> Option<String> {
    let field = |line: &str| line.trim().strip_prefix("Version:").map(|value| value.trim().to_owned());
    let mut version = text.lines().find_map(field)?;
    for _ in 0..MOST_STEPS {
        let Some((before, rest)) = version.split_once("${") else {
            return (!version.is_empty() && !version.contains(char::is_whitespace)).then_some(version);
        };
        let (name, after) = rest.split_once('}')?;
        version = format!("{before}{}{after}", variable(text, name)?);
        if version.len() > MOST_BYTES {
            return None;
        }
    }
    None
}

fn variable<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut assignments = text.lines().filter_map(|line| line.split_once('='));
    assignments.find(|(variable, _)| variable.trim() == name).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    // The fields of Open MPI's ompi.pc and MPICH's mpich.pc, and made-up ones.
    #[test]
    fn versions_are_read() {
        let cases = [
            ("Name: Open MPI\nVersion: 4.1.6\nURL: x\n", Some("4.1.6")),
            ("prefix=/usr\nrelease = 4.2\nName: mpich\nVersion: ${release}.1\n", Some("4.2.1")),
            ("Version:5.0.2", Some("5.0.2")),
            ("Version: ${gone}", None),
            ("Version: ${open", None),
            ("a=${a}${a}\nVersion: ${a}", None),
            ("Version:\n", None),
            ("Name: x\n", None),
        ];
        for (text, expected) in cases {
            assert_eq!(version(text).as_deref(), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken(text in r"([a${}=:\n]|Version:|b=){0,60}") {
            let _ = version(&text);
        }
    }
}
