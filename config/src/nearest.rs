//! Owns "did you mean": the nearest of some names, if it is near at all.

/// The name of `names` that `given` was most likely meant to be; the first of several that are equally near.
pub(crate) fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given: Vec<char> = given.to_lowercase().chars().take(64).collect();
    let limit = given.len().div_ceil(3);
    names
        .into_iter()
        .map(|name| (distance(&given, &name.chars().collect::<Vec<_>>()), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= limit)
        .map(|(_, name)| name)
}

/// Whether one name was most likely written by mistake for the other: at most two letters, or one pair that changed places.
pub(crate) fn slip(given: &str, meant: &str) -> bool {
    distance(&given.chars().take(64).collect::<Vec<_>>(), &meant.chars().collect::<Vec<_>>()) <= 2
}

/// The edit distance: insertions, deletions, replacements, each 1.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, b) in right.iter().enumerate() {
            let replaced = previous[column] + usize::from(a != b);
            current.push(replaced.min(previous[column + 1] + 1).min(current[column] + 1));
        }
        previous = current;
    }
    previous[right.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["mode", "delegate", "on_no_fit", "on_error"];
        for (given, expected) in [
            ("mod", Some("mode")),
            ("MODE", Some("mode")),
            ("delgate", Some("delegate")),
            ("on_nofit", Some("on_no_fit")),
            ("on-error", Some("on_error")),
            ("trust", None),
            ("", None),
            (&"x".repeat(5000), None),
        ] {
            assert_eq!(nearest(given, names), expected, "{given}");
        }
    }
}
