//! The checks of examples/browser that need no server: the module's tests, its bindings, its declarations
//! for TypeScript, and its package.

use std::fs;
use std::path::{Path, PathBuf};

use crate::files::{read, tree};
use crate::tools::{Failure, command, root, succeed};

const FOLDER: &str = "examples/browser";

/// The declarations, which are generated beside the files of the module.
const DECLARATIONS: &[&str] =
    &["feed-host.d.ts", "options.d.ts", "protocol.d.ts", "shared-feed.d.ts", "status-feed.d.ts"];

/// The unit tests of the module.
pub(crate) fn module() -> Result<(), Failure> {
    run_tests(&root().join(FOLDER), "tests/")
}

/// The declarations are current, and the tests of the bindings and of the package pass.
pub(crate) fn bindings() -> Result<(), Failure> {
    // Node.js finds packages in a parent of the importing file only.
    let copy = copy()?;
    generate_declarations(&copy)?;
    for name in DECLARATIONS {
        let current = read(&root().join(FOLDER).join(name)).unwrap_or_default();
        if current != read(&copy.join(name))? {
            let problem = format!("{FOLDER}/{name} does not match the comments of the module");
            return Err(Failure::new(problem, "run `cargo xtask browser-types`"));
        }
    }
    run_tests(&copy, "bindings/")?;
    run_tests(&copy, "packaging/")
}

/// Writes the declarations.
pub(crate) fn write_declarations() -> Result<(), Failure> {
    let copy = copy()?;
    generate_declarations(&copy)?;
    DECLARATIONS
        .iter()
        .try_for_each(|name| copy_file(&copy.join(name), &root().join(FOLDER).join(name)))
}

/// Copies the folder, without the declarations, to one below which npm's packages are found.
fn copy() -> Result<PathBuf, Failure> {
    let copy = root().join("target/node/browser");
    let _ = fs::remove_dir_all(&copy);
    create(&copy)?;
    for path in tree(FOLDER)?.into_iter().filter(|path| !path.ends_with(".d.ts")) {
        match path.strip_suffix('/') {
            Some(folder) => create(&copy.join(folder))?,
            None => copy_file(&root().join(FOLDER).join(&path), &copy.join(&path))?,
        }
    }
    Ok(copy)
}

/// Checks the types of the module, and writes the declarations beside its files.
fn generate_declarations(folder: &Path) -> Result<(), Failure> {
    let tsc = root().join("target/node/node_modules/typescript/bin/tsc");
    let mut tsc = command(&["node", &tsc.to_string_lossy(), "-p", ".", "--outDir", "."]);
    succeed(tsc.current_dir(folder), "fix the types in the comments of the module")
}

/// Runs the tests in a subfolder.
fn run_tests(folder: &Path, under: &str) -> Result<(), Failure> {
    let paths = tree(FOLDER)?.into_iter();
    let tests = paths.filter(|path| path.starts_with(under) && path.ends_with(".test.js"));
    let mut node = command(&["node", "--no-warnings", "--test", "--test-reporter=spec"]);
    succeed(node.args(tests).current_dir(folder), "fix the failing test above")
}

fn create(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| failure(folder, &error))
}

fn copy_file(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::copy(from, to).map(drop).map_err(|error| failure(from, &error))
}

fn failure(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()), "see the message of the system")
}
