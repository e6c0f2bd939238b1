//! Owns the reading of the site's group schemas. A directory that is not there means none; anything else that cannot be
//! read, and every mistake in a file, is a problem.

use bestfit_selector::schema::{MAX_FILES, SchemaFile, Schemas};

use crate::location::{drop_ins, read_text};
use crate::model::SiteSchemas;
use crate::problem::Problem;

/// Reads the files. `None` where there are problems, `Some(None)` where the site has no schemas.
pub(crate) fn read(site: &mut SiteSchemas, problems: &mut Vec<Problem>) -> Option<Option<Schemas>> {
    let before = problems.len();
    let files = drop_ins(&site.dir, "json").unwrap_or_else(|problem| {
        problems.push(problem);
        Vec::new()
    });
    if files.len() > MAX_FILES {
        let message = format!("more than {MAX_FILES} schemas");
        problems.push(Problem { file: site.dir.clone(), position: None, message, hint: None });
        return None;
    }
    for file in files {
        match read_text(&file) {
            Ok(text) => {
                let name = file.to_string_lossy().into_owned();
                site.files.extend(text.map(|text| SchemaFile { name, text }));
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.len() > before {
        return None;
    }
    if site.files.is_empty() {
        return Some(None);
    }
    match Schemas::with(&site.files) {
        Ok(schemas) => Some(Some(schemas)),
        Err(errors) => {
            problems.extend(errors.0.into_iter().map(|finding| Problem {
                file: finding.file.into(),
                position: finding.position,
                message: finding.message,
                hint: None,
            }));
            None
        }
    }
}
