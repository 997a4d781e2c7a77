//! The dependencies between the files of a crate.

use super::resolve::{Crate, File, Target, is_root};
use super::source::Path;
use super::{Problem, ROOT};

/// A dependency of one file on another.
#[derive(Clone)]
pub(super) struct Dependency {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) line: usize,
    /// The path in the source.
    pub(super) path: String,
}

/// Returns the dependencies of a crate, and reports each use of a name of the root. The dependencies of
/// the root itself are not included: it may use every module.
pub(super) fn dependencies(
    krate: &Crate,
    src: &str,
    problems: &mut Vec<Problem>,
) -> Vec<Dependency> {
    let mut all = Vec::new();
    for (at, file) in krate.files.iter().enumerate().filter(|(_, file)| !is_root(&file.path)) {
        let mut from_file = FromFile { krate, src, at, file, problems, dependencies: Vec::new() };
        for (module, import) in krate.imports(at) {
            let exported_as = import.is_public.then(|| import.name.as_deref().unwrap_or("*"));
            from_file.add(module, &import.path, import.line, exported_as);
        }
        for mention in &file.source.mentions {
            from_file.add(&mention.module, &mention.path, mention.line, None);
        }
        all.append(&mut from_file.dependencies);
    }
    all
}

struct FromFile<'a> {
    krate: &'a Crate,
    src: &'a str,
    at: usize,
    file: &'a File,
    problems: &'a mut Vec<Problem>,
    dependencies: Vec<Dependency>,
}

impl FromFile<'_> {
    /// Adds the dependencies of one path. `exported_as` is the name of a public re-export.
    fn add(&mut self, module: &Path, path: &[String], line: usize, exported_as: Option<&str>) {
        match self.krate.target(module, path) {
            None => {}
            Some(Target::Root(defined)) => self.reject_root(path, line, defined),
            Some(Target::Files(named)) => {
                for to in named {
                    let line = match exported_as.filter(|_| self.krate.is_mod_rs_of(self.at, to)) {
                        // A re-export by the `mod.rs` of the folder is no dependency unless `mod.rs`
                        // also uses the name.
                        Some(name) => self.file.source.used.get(name).copied(),
                        None => Some(line),
                    };
                    let is_new = to != self.at
                        && self.dependencies.iter().all(|dependency| dependency.to != to);
                    if let Some(line) = line.filter(|_| is_new) {
                        self.dependencies.push(Dependency {
                            from: self.at,
                            to,
                            line,
                            path: path.join("::"),
                        });
                    }
                }
            }
        }
    }

    fn reject_root(&mut self, path: &[String], line: usize, defined: Option<usize>) {
        let (src, at, path) = (self.src, &self.file.path, path.join("::"));
        let defined = defined.and_then(|file| self.krate.files.get(file));
        let defined = defined.map(|it| format!(", and is in {src}/{}", it.path));
        let defined = defined.unwrap_or_default();
        let message = format!("{src}/{at}:{line}: `{path}` is of the root, {src}/lib.rs{defined}");
        self.problems.push(Problem { message, remedy: ROOT });
    }
}
