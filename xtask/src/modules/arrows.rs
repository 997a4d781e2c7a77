//! Which files a file names.

use super::resolve::{Crate, File, Target, is_root};
use super::source::Path;
use super::{Problem, ROOT};

/// One file names another.
#[derive(Clone)]
pub(super) struct Arrow {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) line: usize,
    /// The path that stands there.
    pub(super) path: String,
}

/// All arrows of a crate; the root has none, since it may name everything. Whoever names the root is
/// refused here.
pub(super) fn arrows(krate: &Crate, src: &str, problems: &mut Vec<Problem>) -> Vec<Arrow> {
    let mut all = Vec::new();
    for (at, file) in krate.files.iter().enumerate().filter(|(_, file)| !is_root(&file.path)) {
        let mut from_file = FromFile { krate, src, at, file, problems, arrows: Vec::new() };
        for (module, import) in krate.imports(at) {
            let handed_on = import.is_public.then(|| import.name.as_deref().unwrap_or("*"));
            from_file.name(module, &import.path, import.line, handed_on);
        }
        for mention in &file.source.mentions {
            from_file.name(&mention.module, &mention.path, mention.line, None);
        }
        all.append(&mut from_file.arrows);
    }
    all
}

struct FromFile<'a> {
    krate: &'a Crate,
    src: &'a str,
    at: usize,
    file: &'a File,
    problems: &'a mut Vec<Problem>,
    arrows: Vec<Arrow>,
}

impl FromFile<'_> {
    /// `handed_on` is the name that the path has for others.
    fn name(&mut self, module: &Path, path: &[String], line: usize, handed_on: Option<&str>) {
        match self.krate.target(module, path) {
            None => {}
            Some(Target::Root(defined)) => self.refuse(path, line, defined),
            Some(Target::Files(named)) => {
                for to in named {
                    let line = match handed_on.filter(|_| self.krate.is_face_of(self.at, to)) {
                        // The face of a folder hands on what is in it, and that alone is no use of it.
                        Some(name) => self.file.source.used.get(name).copied(),
                        None => Some(line),
                    };
                    let is_new = to != self.at && self.arrows.iter().all(|arrow| arrow.to != to);
                    if let Some(line) = line.filter(|_| is_new) {
                        self.arrows.push(Arrow { from: self.at, to, line, path: path.join("::") });
                    }
                }
            }
        }
    }

    fn refuse(&mut self, path: &[String], line: usize, defined: Option<usize>) {
        let (src, at, path) = (self.src, &self.file.path, path.join("::"));
        let defined = defined.and_then(|file| self.krate.files.get(file));
        let defined = defined.map(|it| format!(", and is in {src}/{}", it.path));
        let defined = defined.unwrap_or_default();
        let what = format!("{src}/{at}:{line}: `{path}` is of the root, {src}/lib.rs{defined}");
        self.problems.push(Problem { what, remedy: ROOT });
    }
}
