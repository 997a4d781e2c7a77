//! From a path in the code to the file that has what it names.

use std::collections::BTreeMap;

use super::source::{Import, Path, Scope, Source, parse};

/// The files of a crate.
pub(super) struct Crate {
    pub(super) files: Vec<File>,
    modules: BTreeMap<Path, Module>,
}

pub(super) struct File {
    /// From the crate's `src`.
    pub(super) path: String,
    pub(super) module: Path,
    pub(super) source: Source,
}

struct Module {
    file: usize,
    scope: Scope,
}

/// What a path leads to.
pub(super) enum Target {
    /// Something that the crate's root defines or exports, and the file that has it.
    Root(Option<usize>),
    /// The files that are named: the one that has it, and those that hand it on from elsewhere. That
    /// the face of a folder hands on what is in the folder names the face no more than
    /// `folder::file::Name` does.
    Files(Vec<usize>),
}

/// Imports of imports are followed so far; who imports in a circle does not compile.
const FOLLOWED: usize = 16;

/// Neither is a module of the crate that others could name.
pub(super) fn is_root(path: &str) -> bool {
    matches!(path, "lib.rs" | "main.rs")
}

impl Crate {
    /// From each file's path in `src` and its text.
    pub(super) fn new(texts: &[(String, String)]) -> Self {
        let mut modules = BTreeMap::new();
        let mut files = Vec::new();
        for (file, (path, text)) in texts.iter().enumerate() {
            let module = module(path);
            let mut source = parse(text, module.clone());
            // A binary is a crate of its own.
            if path != "main.rs" {
                let scopes = std::mem::take(&mut source.scopes).into_iter();
                modules.extend(scopes.map(|(path, scope)| (path, Module { file, scope })));
            }
            files.push(File { path: path.clone(), module, source });
        }
        Self { files, modules }
    }

    /// The imports of a file, each with the module that has it.
    pub(super) fn imports(&self, file: usize) -> impl Iterator<Item = (&Path, &Import)> {
        let modules = self.modules.iter().filter(move |(_, module)| module.file == file);
        modules.flat_map(|(path, module)| module.scope.imports.iter().map(move |it| (path, it)))
    }

    /// Nothing if it leads out of the crate.
    pub(super) fn target(&self, from: &Path, path: &[String]) -> Option<Target> {
        let path = self.absolute(from, path, FOLLOWED)?;
        if path.first().is_none_or(|first| !self.modules.contains_key(std::slice::from_ref(first)))
        {
            let defined = self.hops(&path, FOLLOWED).last().copied();
            return Some(Target::Root(defined.filter(|it| !self.is_root_file(*it))));
        }
        let hops = self.hops(&path, FOLLOWED);
        let named = hops.iter().enumerate().filter(|(at, hop)| {
            let next = hops.get(at + 1);
            next.is_none_or(|next| !self.is_face_of(**hop, *next)) && !self.is_root_file(**hop)
        });
        Some(Target::Files(named.map(|(_, hop)| *hop).collect()))
    }

    /// Whether a file is the `mod.rs` of a folder with the other in it.
    pub(super) fn is_face_of(&self, file: usize, other: usize) -> bool {
        let module = |file: usize| self.files.get(file).map(|it| &it.module);
        file != other
            && module(file).zip(module(other)).is_some_and(|(it, other)| other.starts_with(it))
    }

    fn is_root_file(&self, file: usize) -> bool {
        self.files.get(file).is_none_or(|it| is_root(&it.path))
    }

    /// The path from the crate's root.
    fn absolute(&self, from: &Path, path: &[String], limit: usize) -> Option<Path> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => self.relative(from.clone(), rest),
            "super" => self.relative(parent(from)?, rest),
            name => Some([self.local(from, name, limit)?.as_slice(), rest].concat()),
        }
    }

    /// Behind `self` or `super` there may be more of the latter.
    fn relative(&self, mut module: Path, mut rest: &[String]) -> Option<Path> {
        while let Some((first, others)) = rest.split_first()
            && first == "super"
        {
            (module, rest) = (parent(&module)?, others);
        }
        module.extend_from_slice(rest);
        Some(module)
    }

    /// What a name without a path in front of it is in a module: one of its own modules or imports.
    fn local(&self, module: &Path, name: &str, limit: usize) -> Option<Path> {
        let limit = limit.checked_sub(1)?;
        let scope = &self.modules.get(module)?.scope;
        if scope.children.contains(name) {
            return Some([module.as_slice(), &[name.to_owned()]].concat());
        }
        let import = scope.imports.iter().find(|it| it.name.as_deref() == Some(name));
        if let Some(import) = import {
            return self.absolute(module, &import.path, limit);
        }
        let mut globs = scope.imports.iter().filter(|it| it.name.is_none());
        globs.find_map(|glob| self.local(&self.absolute(module, &glob.path, limit)?, name, limit))
    }

    /// The files on the way to a definition, which is in the last.
    fn hops(&self, path: &[String], limit: usize) -> Vec<usize> {
        let prefixes = (0..=path.len()).rev().filter_map(|len| path.split_at_checked(len));
        let longest = prefixes.map(|(module, rest)| (self.modules.get(module), module, rest));
        let Some((module, at, rest)) =
            longest.filter_map(|(it, module, rest)| Some((it?, module, rest))).next()
        else {
            return Vec::new();
        };
        let mut hops = vec![module.file];
        let Some((name, behind)) = rest.split_first() else { return hops };
        if let Some(elsewhere) = self.imported(at, module, name, limit) {
            let path = [elsewhere.as_slice(), behind].concat();
            hops.extend(self.hops(&path, limit.saturating_sub(1)));
        }
        hops.dedup();
        hops
    }

    /// Where a module has a name from, if it does not define it.
    fn imported(&self, at: &[String], module: &Module, name: &str, limit: usize) -> Option<Path> {
        let limit = limit.checked_sub(1)?;
        if module.scope.items.contains(name) {
            return None;
        }
        let at = at.to_vec();
        let imports = &module.scope.imports;
        if let Some(import) = imports.iter().find(|it| it.name.as_deref() == Some(name)) {
            // A `use` of what is imported beside it is rare, and of another crate frequent.
            return self.absolute(&at, &import.path, limit);
        }
        imports.iter().filter(|it| it.name.is_none()).find_map(|glob| {
            let from = self.absolute(&at, &glob.path, limit)?;
            let other = self.modules.get(&from)?;
            let has = other.scope.items.contains(name)
                || other.scope.children.contains(name)
                || self.imported(&from, other, name, limit).is_some();
            has.then(|| [from.as_slice(), &[name.to_owned()]].concat())
        })
    }
}

/// `net/mod.rs` is `net`, and so would `net.rs` be.
fn module(path: &str) -> Path {
    if is_root(path) {
        return Path::new();
    }
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').map(str::to_owned).collect()
}

fn parent(module: &Path) -> Option<Path> {
    module.split_last().map(|(_, parents)| parents.to_vec())
}
