//! Reading what is in the checkout.

use std::fs;
use std::path::Path;

use crate::tools::{Failure, root};

/// A file's text.
pub(crate) fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| cannot_be_read(file, &error))
}

/// The names of the folders in a folder of the checkout, in order.
pub(crate) fn folders(folder: &str) -> Result<Vec<String>, Failure> {
    let names = entries(&root().join(folder))?.into_iter();
    Ok(names.filter_map(|name| name.strip_suffix('/').map(str::to_owned)).collect())
}

/// All that is in a folder of the checkout, at whatever depth: paths from that folder, in order, a
/// folder's with a slash at its end.
pub(crate) fn tree(folder: &str) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    let mut open = vec![String::new()];
    while let Some(inside) = open.pop() {
        for name in entries(&root().join(folder).join(&inside))? {
            let path = format!("{inside}{name}");
            if path.ends_with('/') {
                open.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// What is in a folder, without hidden files; folders have a slash at their end.
fn entries(folder: &Path) -> Result<Vec<String>, Failure> {
    let failed = |error| cannot_be_read(folder, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let slash = if entry.path().is_dir() { "/" } else { "" };
        if !name.starts_with('.') {
            names.push(format!("{name}{slash}"));
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn cannot_be_read(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{} cannot be read: {error}", path.display()), "see why")
}
