//! Resolves a path in the source to the file that defines the item.

use std::collections::BTreeMap;

use super::source::{Import, Path, Scope, Source, parse};

/// The files of a crate.
pub(super) struct Crate {
    pub(super) files: Vec<File>,
    modules: BTreeMap<Path, Module>,
}

pub(super) struct File {
    /// Relative to the crate's `src`.
    pub(super) path: String,
    pub(super) module: Path,
    pub(super) source: Source,
}

struct Module {
    file: usize,
    scope: Scope,
}

/// The target of a path.
pub(super) enum Target {
    /// A name that the crate's root defines or exports, with the file that defines it if that is
    /// another.
    Root(Option<usize>),
    /// The file that defines the name, and the files that re-export it. A `mod.rs` that re-exports a
    /// name of its own folder is not included: the path depends on it no more than `folder::file::Name`
    /// would.
    Files(Vec<usize>),
}

/// Limit for following re-exports. A cycle of imports does not compile.
const MAX_HOPS: usize = 16;

/// Whether a file is the root of the library or of the binary.
pub(super) fn is_root(path: &str) -> bool {
    matches!(path, "lib.rs" | "main.rs")
}

impl Crate {
    /// Parses the files of a crate, given as paths relative to `src` and texts.
    pub(super) fn new(texts: &[(String, String)]) -> Self {
        let mut modules = BTreeMap::new();
        let mut files = Vec::new();
        for (file, (path, text)) in texts.iter().enumerate() {
            let module = module(path);
            let mut source = parse(text, module.clone());
            // The binary is a separate crate.
            if path != "main.rs" {
                let scopes = std::mem::take(&mut source.scopes).into_iter();
                modules.extend(scopes.map(|(path, scope)| (path, Module { file, scope })));
            }
            files.push(File { path: path.clone(), module, source });
        }
        Self { files, modules }
    }

    /// Returns the imports of a file, each with its module.
    pub(super) fn imports(&self, file: usize) -> impl Iterator<Item = (&Path, &Import)> {
        let modules = self.modules.iter().filter(move |(_, module)| module.file == file);
        modules.flat_map(|(path, module)| module.scope.imports.iter().map(move |it| (path, it)))
    }

    /// Resolves a path, or returns `None` if it leads to another crate.
    pub(super) fn target(&self, from: &Path, path: &[String]) -> Option<Target> {
        let path = self.absolute(from, path, MAX_HOPS)?;
        if path.first().is_none_or(|first| !self.modules.contains_key(std::slice::from_ref(first)))
        {
            let defined = self.hops(&path, MAX_HOPS).last().copied();
            return Some(Target::Root(defined.filter(|it| !self.is_root_file(*it))));
        }
        let hops = self.hops(&path, MAX_HOPS);
        let named = hops.iter().enumerate().filter(|(at, hop)| {
            let next = hops.get(at + 1);
            next.is_none_or(|next| !self.is_mod_rs_of(**hop, *next)) && !self.is_root_file(**hop)
        });
        Some(Target::Files(named.map(|(_, hop)| *hop).collect()))
    }

    /// Whether a file is the `mod.rs` of a folder that contains the other.
    pub(super) fn is_mod_rs_of(&self, file: usize, other: usize) -> bool {
        let module = |file: usize| self.files.get(file).map(|it| &it.module);
        file != other
            && module(file).zip(module(other)).is_some_and(|(it, other)| other.starts_with(it))
    }

    fn is_root_file(&self, file: usize) -> bool {
        self.files.get(file).is_none_or(|it| is_root(&it.path))
    }

    /// Returns the absolute path.
    fn absolute(&self, from: &Path, path: &[String], limit: usize) -> Option<Path> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => self.relative(from.clone(), rest),
            "super" => self.relative(parent(from)?, rest),
            name => Some([self.local(from, name, limit)?.as_slice(), rest].concat()),
        }
    }

    /// Resolves further `super` segments after `self` or `super`.
    fn relative(&self, mut module: Path, mut rest: &[String]) -> Option<Path> {
        while let Some((first, others)) = rest.split_first()
            && first == "super"
        {
            (module, rest) = (parent(&module)?, others);
        }
        module.extend_from_slice(rest);
        Some(module)
    }

    /// Resolves the first segment of a path in a module: a child module or an import.
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

    /// Returns the files from a path to its definition, which is in the last file.
    fn hops(&self, path: &[String], limit: usize) -> Vec<usize> {
        let prefixes = (0..=path.len()).rev().filter_map(|len| path.split_at_checked(len));
        let longest = prefixes.map(|(module, rest)| (self.modules.get(module), module, rest));
        let Some((module, at, rest)) =
            longest.filter_map(|(it, module, rest)| Some((it?, module, rest))).next()
        else {
            return Vec::new();
        };
        let mut hops = vec![module.file];
        let Some((name, rest_of_path)) = rest.split_first() else { return hops };
        if let Some(elsewhere) = self.imported(at, module, name, limit) {
            let path = [elsewhere.as_slice(), rest_of_path].concat();
            hops.extend(self.hops(&path, limit.saturating_sub(1)));
        }
        hops.dedup();
        hops
    }

    /// Returns the path from which a module imports a name, unless it defines the name itself.
    fn imported(&self, at: &[String], module: &Module, name: &str, limit: usize) -> Option<Path> {
        let limit = limit.checked_sub(1)?;
        if module.scope.items.contains(name) {
            return None;
        }
        let at = at.to_vec();
        let imports = &module.scope.imports;
        if let Some(import) = imports.iter().find(|it| it.name.as_deref() == Some(name)) {
            // Not resolved as a local name first: imports of another crate are frequent, imports through
            // another import of the same module are rare.
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

/// Returns the module of a file: `net/mod.rs` and `net.rs` are `net`.
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
