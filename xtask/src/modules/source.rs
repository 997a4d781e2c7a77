//! Parses a file for its modules, items, imports and paths.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{Token, tokens};

/// The path of a module from the crate's root.
pub(super) type Path = Vec<String>;

#[derive(Default)]
pub(super) struct Source {
    /// The module of the file, and its inline modules.
    pub(super) scopes: BTreeMap<Path, Scope>,
    /// Paths in expressions, types and attributes.
    pub(super) mentions: Vec<Mention>,
    /// Names that are used outside imports, with the line of the first use. A name in lower case counts
    /// only as a call, a macro or the start of a path, because a field or a variable may have the same
    /// name.
    pub(super) used: BTreeMap<String, usize>,
}

/// The names of one module.
#[derive(Default)]
pub(super) struct Scope {
    /// Child modules, declared or inline.
    pub(super) children: BTreeSet<String>,
    /// The items that it defines.
    pub(super) items: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
}

/// One name of a `use`.
#[derive(Clone)]
pub(super) struct Import {
    pub(super) path: Vec<String>,
    /// The local name, or `None` for a glob.
    pub(super) name: Option<String>,
    pub(super) is_public: bool,
    pub(super) line: usize,
}

/// A path of at least two segments outside imports.
pub(super) struct Mention {
    pub(super) module: Path,
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// Parses the file of a module.
pub(super) fn parse(code: &str, module: Path) -> Source {
    let tokens = tokens(code);
    let mut source = Source::default();
    source.scopes.entry(module.clone()).or_default();
    let reader = Reader { tokens: &tokens, at: 0, modules: vec![(module, 0)], depth: 0, source };
    reader.read()
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    /// The enclosing modules, each with the brace depth of its items.
    modules: Vec<(Path, usize)>,
    depth: usize,
    source: Source,
}

impl<'a> Reader<'a> {
    fn read(mut self) -> Source {
        while let Some(word) = self.text(0) {
            let next = self.text(1).unwrap_or_default();
            match word {
                "{" => self.depth += 1,
                "}" => self.close(),
                "mod" if self.is_word(1) => self.module(next),
                // Excludes `impl Trait + use<'a>`.
                "use" if next != "<" => self.imports(),
                // `pub(in crate::a)` is not an import.
                "pub" if next == "(" && self.text(2) == Some("in") => {
                    while self.text(1).is_some_and(|text| text != ")") {
                        self.at += 1;
                    }
                }
                "const" | "enum" | "fn" | "static" | "struct" | "trait" | "type" | "union"
                    if self.is_word(1) =>
                {
                    self.define(next);
                }
                "macro_rules" if next == "!" => self.define(self.text(2).unwrap_or_default()),
                _ if self.is_word(0) => self.word(),
                _ => {}
            }
            self.at += 1;
        }
        self.source
    }

    /// Returns the text of a token ahead.
    fn text(&self, ahead: usize) -> Option<&'a str> {
        self.tokens.get(self.at + ahead).map(|token| token.text.as_str())
    }

    fn previous(&self) -> &'a str {
        let token = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        token.map_or("", |token| token.text.as_str())
    }

    fn is_word(&self, ahead: usize) -> bool {
        self.tokens.get(self.at + ahead).is_some_and(Token::is_word)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |token| token.line)
    }

    fn current_module(&self) -> Path {
        self.modules.last().map(|(module, _)| module.clone()).unwrap_or_default()
    }

    fn scope(&mut self) -> &mut Scope {
        let current_module = self.current_module();
        self.source.scopes.entry(current_module).or_default()
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self.modules.len() > 1 && self.modules.last().is_some_and(|(_, it)| *it > self.depth) {
            self.modules.pop();
        }
    }

    /// `mod name;` or `mod name {`.
    fn module(&mut self, name: &str) {
        self.scope().children.insert(name.to_owned());
        self.at += 2;
        if self.text(0) == Some("{") {
            self.depth += 1;
            let mut path = self.current_module();
            path.push(name.to_owned());
            self.source.scopes.entry(path.clone()).or_default();
            self.modules.push((path, self.depth));
        }
    }

    /// Adds an item of the module; methods and items within functions are ignored.
    fn define(&mut self, name: &str) {
        if self.modules.last().is_some_and(|(_, depth)| *depth == self.depth) {
            self.scope().items.insert(name.to_owned());
        }
    }

    fn word(&mut self) {
        let is_defined = matches!(
            self.previous(),
            "const" | "enum" | "fn" | "mod" | "static" | "struct" | "trait" | "type" | "union"
        );
        if is_defined || matches!(self.previous(), "::" | ".") {
            return;
        }
        let (line, mut path) = (self.line(), vec![self.text(0).unwrap_or_default().to_owned()]);
        while self.text(1) == Some("::") && self.is_word(2) {
            self.at += 2;
            path.push(self.text(0).unwrap_or_default().to_owned());
        }
        if let [name] = path.as_slice() {
            let is_used = matches!(self.text(1), Some("(" | "!" | "::"));
            if is_used || name.starts_with(char::is_uppercase) {
                self.source.used.entry(name.clone()).or_insert(line);
            }
            return;
        }
        self.source.used.entry(path.first().cloned().unwrap_or_default()).or_insert(line);
        let module = self.current_module();
        self.source.mentions.push(Mention { module, path, line });
    }

    /// Parses from `use` to its semicolon.
    fn imports(&mut self) {
        let is_public = self.is_after_visibility();
        self.at += 1;
        // `::name` is another crate.
        let is_foreign = self.text(0) == Some("::");
        let mut imports = Vec::new();
        self.branch(&[], is_public, &mut imports);
        while self.text(0).is_some_and(|text| text != ";") {
            self.at += 1;
        }
        if !is_foreign {
            self.scope().imports.extend(imports);
        }
    }

    fn is_after_visibility(&self) -> bool {
        let mut previous = self.tokens.get(..self.at).unwrap_or_default().iter().rev();
        match previous.next().map(|token| token.text.as_str()) {
            Some("pub") => true,
            Some(")") => {
                let mut opened = previous.skip_while(|token| token.text != "(").skip(1);
                opened.next().is_some_and(|token| token.text == "pub")
            }
            _ => false,
        }
    }

    /// Parses one branch of a use tree, up to the next comma, brace or semicolon.
    fn branch(&mut self, stem: &[String], is_public: bool, imports: &mut Vec<Import>) {
        let (mut path, mut line, mut alias) = (stem.to_vec(), self.line(), None);
        let mut is_glob = false;
        while let Some(text) = self.text(0) {
            match text {
                "," | "}" | ";" => break,
                "{" => {
                    self.at += 1;
                    while self.text(0).is_some_and(|text| text != "}" && text != ";") {
                        self.branch(&path, is_public, imports);
                        self.at += usize::from(self.text(0) == Some(","));
                    }
                    self.at += 1;
                    return;
                }
                "*" => is_glob = true,
                "as" => alias = self.text(1).map(str::to_owned),
                // `a::{self}` is `a`.
                "self" if !path.is_empty() => line = self.line(),
                _ if self.is_word(0) && alias.is_none() => {
                    path.push(text.to_owned());
                    line = self.line();
                }
                _ => {}
            }
            self.at += 1;
        }
        if !path.is_empty() {
            let name = if is_glob { None } else { alias.or_else(|| path.last().cloned()) };
            imports.push(Import { path, name, is_public, line });
        }
    }
}
