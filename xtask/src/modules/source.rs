//! What a file says about modules: which it declares, what it imports, and which paths it names.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{Token, tokens};

/// A module's path from the crate's root.
pub(super) type Path = Vec<String>;

#[derive(Default)]
pub(super) struct Source {
    /// The file's own module, and those that it has between braces.
    pub(super) scopes: BTreeMap<Path, Scope>,
    /// Paths in expressions, types and attributes.
    pub(super) mentions: Vec<Mention>,
    /// Words that are not imported here, but used, and where first. Those in lower case only where they
    /// are called or lead on, since a field or a variable may have the same name.
    pub(super) used: BTreeMap<String, usize>,
}

/// The names of one module.
#[derive(Default)]
pub(super) struct Scope {
    /// Modules of files that it declares, and those between braces.
    pub(super) children: BTreeSet<String>,
    /// What is defined in it.
    pub(super) items: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
}

/// One name of a `use`.
#[derive(Clone)]
pub(super) struct Import {
    pub(super) path: Vec<String>,
    /// What it is called here, or nothing for `*`.
    pub(super) name: Option<String>,
    pub(super) is_public: bool,
    pub(super) line: usize,
}

/// A path of at least two words that stands in the code.
pub(super) struct Mention {
    pub(super) module: Path,
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// Reads the file of a module.
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
    /// The modules around, each with the depth of braces at which its items stand.
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
                // Not `impl Trait + use<'a>`.
                "use" if next != "<" => self.imports(),
                // `pub(in crate::a)` imports nothing.
                "pub" if next == "(" && self.text(2) == Some("in") => {
                    while self.text(1).is_some_and(|text| text != ")") {
                        self.at += 1;
                    }
                }
                "const" | "enum" | "fn" | "static" | "struct" | "trait" | "type" | "union"
                    if self.is_word(1) =>
                {
                    self.defines(next);
                }
                "macro_rules" if next == "!" => self.defines(self.text(2).unwrap_or_default()),
                _ if self.is_word(0) => self.word(),
                _ => {}
            }
            self.at += 1;
        }
        self.source
    }

    /// The token that many places ahead.
    fn text(&self, ahead: usize) -> Option<&'a str> {
        self.tokens.get(self.at + ahead).map(|token| token.text.as_str())
    }

    fn before(&self) -> &'a str {
        let token = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        token.map_or("", |token| token.text.as_str())
    }

    fn is_word(&self, ahead: usize) -> bool {
        self.tokens.get(self.at + ahead).is_some_and(Token::is_word)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |token| token.line)
    }

    fn here(&self) -> Path {
        self.modules.last().map(|(module, _)| module.clone()).unwrap_or_default()
    }

    fn scope(&mut self) -> &mut Scope {
        let here = self.here();
        self.source.scopes.entry(here).or_default()
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
            let mut path = self.here();
            path.push(name.to_owned());
            self.source.scopes.entry(path.clone()).or_default();
            self.modules.push((path, self.depth));
        }
    }

    /// Methods and what is defined in functions are not names of the module.
    fn defines(&mut self, name: &str) {
        if self.modules.last().is_some_and(|(_, depth)| *depth == self.depth) {
            self.scope().items.insert(name.to_owned());
        }
    }

    fn word(&mut self) {
        let is_defined = matches!(
            self.before(),
            "const" | "enum" | "fn" | "mod" | "static" | "struct" | "trait" | "type" | "union"
        );
        if is_defined || matches!(self.before(), "::" | ".") {
            return;
        }
        let (line, mut path) = (self.line(), vec![self.text(0).unwrap_or_default().to_owned()]);
        while self.text(1) == Some("::") && self.is_word(2) {
            self.at += 2;
            path.push(self.text(0).unwrap_or_default().to_owned());
        }
        if let [name] = path.as_slice() {
            let leads_on = matches!(self.text(1), Some("(" | "!" | "::"));
            if leads_on || name.starts_with(char::is_uppercase) {
                self.source.used.entry(name.clone()).or_insert(line);
            }
            return;
        }
        self.source.used.entry(path.first().cloned().unwrap_or_default()).or_insert(line);
        let module = self.here();
        self.source.mentions.push(Mention { module, path, line });
    }

    /// From `use` to its semicolon.
    fn imports(&mut self) {
        let is_public = self.is_after_visibility();
        self.at += 1;
        // `::name` is of another crate.
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
        let mut before = self.tokens.get(..self.at).unwrap_or_default().iter().rev();
        match before.next().map(|token| token.text.as_str()) {
            Some("pub") => true,
            Some(")") => {
                let mut opened = before.skip_while(|token| token.text != "(").skip(1);
                opened.next().is_some_and(|token| token.text == "pub")
            }
            _ => false,
        }
    }

    /// One branch of the tree, up to the comma, brace or semicolon behind it.
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
