//! Reads files and folders of the checkout.

use std::fs;
use std::path::Path;

use crate::tools::{Failure, root};

/// Reads the text of a file.
pub(crate) fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| cannot_be_read(file, &error))
}

/// Returns the sorted names of the folders in a folder of the checkout.
pub(crate) fn folders(folder: &str) -> Result<Vec<String>, Failure> {
    let names = entries(&root().join(folder))?.into_iter();
    Ok(names.filter_map(|name| name.strip_suffix('/').map(str::to_owned)).collect())
}

/// Returns the contents of a folder of the checkout, recursively: sorted paths relative to that folder,
/// with a trailing slash for folders.
pub(crate) fn tree(folder: &str) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    let mut pending = vec![String::new()];
    while let Some(folder_path) = pending.pop() {
        for name in entries(&root().join(folder).join(&folder_path))? {
            let path = format!("{folder_path}{name}");
            if path.ends_with('/') {
                pending.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Returns the sorted names in a folder, without hidden files, with a trailing slash for folders.
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
    Failure::new(
        format!("{} cannot be read: {error}", path.display()),
        "check that it exists and is readable",
    )
}
