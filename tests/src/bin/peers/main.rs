//! Holds bestfit against the peers' own code on the same input: NFD's features and rules (Go), archspec's targets (Python).
//! Prints how many cases were compared and each difference; ends with 1 when one is not on the documented list.

mod archspec;
mod features;
mod rules;

use std::process::ExitCode;

/// Prints its numbers and differences; an error where one is not documented.
type Compare = fn() -> Result<(), String>;

fn main() -> ExitCode {
    let only: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|word| word == name);
    let all: [(&str, Compare); 3] =
        [("archspec", archspec::compare), ("features", features::compare), ("rules", rules::compare)];
    let mut code = ExitCode::SUCCESS;
    for (name, compare) in all.into_iter().filter(|(name, _)| wanted(name)) {
        println!("== {name}");
        if let Err(why) = compare() {
            eprintln!("{name}: {why}");
            code = ExitCode::FAILURE;
        }
    }
    code
}
