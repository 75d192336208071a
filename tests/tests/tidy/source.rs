//! Just enough of a Rust lexer to tell code from comments and strings, and to spell out `use` groups.

/// A source file, taken apart.
pub(crate) struct Source {
    /// The file with comments and the insides of literals blanked out, line by line.
    code: Vec<String>,
    /// String literals with the line they begin in, counted from 1.
    strings: Vec<(usize, String)>,
    /// Imports, spelled out, with the line their statement begins in.
    imports: Vec<(usize, String)>,
    /// Lines before the test module.
    lines_without_tests: usize,
}

impl Source {
    pub(crate) fn parse(text: &str) -> Self {
        let mut lexer = Lexer { rest: text, line: 1, code: String::new(), strings: Vec::new() };
        lexer.run();
        let Lexer { code, strings, .. } = lexer;
        let code: Vec<String> = code.lines().map(str::to_owned).collect();
        let tests = code.windows(2).position(|pair| {
            pair[0].trim() == "#[cfg(test)]"
                && pair[1].trim_start().starts_with("mod ")
                && pair[1].ends_with('{')
        });
        let lines_without_tests = tests.unwrap_or(code.len());
        let imports = imports(&code);
        Self { code, strings, imports, lines_without_tests }
    }

    pub(crate) fn strings(&self) -> &[(usize, String)] {
        &self.strings
    }

    pub(crate) fn lines_without_tests(&self) -> usize {
        self.lines_without_tests
    }

    /// The first line that names a path: in an import, as the beginning of a longer path or as a whole.
    pub(crate) fn line_naming(&self, name: &str) -> Option<usize> {
        let below = |path: &str| path == name || path.starts_with(&format!("{name}::"));
        let imported = self.imports.iter().find(|(_, path)| below(path)).map(|(line, _)| *line);
        imported.or_else(|| self.code.iter().position(|line| mentions(line, name)).map(|index| index + 1))
    }
}

/// Whether a line of code holds `name::…`, a call `…name(`, or `extern crate name`. A path that goes on to the
/// left (`self::edge`) counts only for names that are paths themselves (`Instant::now`).
fn mentions(line: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(start, _)| {
        let (before, after) = (&line[..start], &line[start + name.len()..]);
        if before.ends_with(is_word) || after.starts_with(is_word) {
            return false;
        }
        if name.contains("::") {
            return true;
        }
        let begins_path = !before.ends_with("::") || before.trim_end_matches("::").is_empty();
        let root = begins_path && !before.ends_with('.');
        root && (after.starts_with("::") || before.trim_end().ends_with("extern crate"))
    })
}

/// Every `use` statement's paths.
fn imports(code: &[String]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in code.iter().enumerate() {
        for start in use_statements(line) {
            let mut statement = line[start..].to_owned();
            for next in &code[index + 1..] {
                if statement.contains(';') {
                    break;
                }
                statement.push(' ');
                statement.push_str(next);
            }
            let tree = statement.split(';').next().unwrap_or_default();
            let mut paths = Vec::new();
            expand("", tree, &mut paths);
            found.extend(paths.into_iter().map(|path| (index + 1, path)));
        }
    }
    found
}

/// Where the trees of a line's `use` statements begin.
fn use_statements(line: &str) -> Vec<usize> {
    line.match_indices("use ")
        .filter(|(start, _)| {
            let before = line[..*start].trim_end();
            before.is_empty() || before.ends_with([';', '{', '}', ')']) || before.ends_with("pub")
        })
        .map(|(start, keyword)| start + keyword.len())
        .collect()
}

/// Spells out a use tree: `std::{fmt, fs as f}` gives `std::fmt` and `std::fs`.
fn expand(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    if let Some((head, group)) = tree.split_once('{') {
        let group = group.rsplit_once('}').map_or(group, |(inside, _)| inside);
        let (mut depth, mut item) = (0, String::new());
        let prefix = format!("{prefix}{}", head.trim());
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    expand(&prefix, &std::mem::take(&mut item), found);
                    continue;
                }
                _ => {}
            }
            item.push(c);
        }
        expand(&prefix, &item, found);
    } else if !tree.is_empty() {
        let path = tree.split(" as ").next().unwrap_or(tree).trim();
        let path = format!("{prefix}{path}");
        let path = path.trim_start_matches("::").trim_end_matches("::*").trim_end_matches("::self");
        found.push(path.to_owned());
    }
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    code: String,
    strings: Vec<(usize, String)>,
}

impl<'a> Lexer<'a> {
    fn run(&mut self) {
        while let Some(c) = self.rest.chars().next() {
            if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.blank(end);
            } else if self.rest.starts_with("/*") {
                let end = self.block_comment_end();
                self.blank(end);
            } else if let Some(hashes) = self.raw_string_hashes() {
                let open = self.rest.find('"').unwrap_or(0) + 1;
                let close = format!("\"{}", "#".repeat(hashes));
                let length = self.rest[open..].find(&close).unwrap_or(self.rest.len() - open);
                self.string(open, length, close.len());
            } else if c == '"' {
                let length = quoted_length(&self.rest[1..], '"');
                self.string(1, length, 1);
            } else if c == '\'' && self.is_char_literal() {
                let length = quoted_length(&self.rest[1..], '\'');
                self.blank((length + 2).min(self.rest.len()));
            } else {
                self.keep(c);
            }
        }
    }

    fn keep(&mut self, c: char) {
        self.line += usize::from(c == '\n');
        self.code.push(c);
        self.rest = &self.rest[c.len_utf8()..];
    }

    /// Leaves out text, keeping its line breaks.
    fn blank(&mut self, bytes: usize) {
        let (text, rest) = self.rest.split_at(bytes);
        let breaks = text.matches('\n').count();
        self.line += breaks;
        self.code.push_str(&"\n".repeat(breaks));
        self.rest = rest;
    }

    fn string(&mut self, open: usize, length: usize, close: usize) {
        self.strings.push((self.line, self.rest[open..open + length].to_owned()));
        self.code.push_str("\"\"");
        self.blank((open + length + close).min(self.rest.len()));
    }

    fn block_comment_end(&self) -> usize {
        let (mut depth, mut at) = (0, 0);
        while at < self.rest.len() {
            let rest = &self.rest[at..];
            if rest.starts_with("/*") {
                depth += 1;
                at += 2;
            } else if rest.starts_with("*/") {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            } else {
                at += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
        self.rest.len()
    }

    /// The number of hashes when a raw string begins here.
    fn raw_string_hashes(&self) -> Option<usize> {
        if self.code.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            return None;
        }
        let rest = self.rest.strip_prefix("br").or_else(|| self.rest.strip_prefix('r'))?;
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        rest[hashes..].starts_with('"').then_some(hashes)
    }

    /// A quote begins a character unless it begins a lifetime.
    fn is_char_literal(&self) -> bool {
        let mut after = self.rest[1..].chars();
        match after.next() {
            Some('\\') => true,
            Some(_) => after.next() == Some('\''),
            None => false,
        }
    }
}

/// Bytes before the closing quote, escapes skipped.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at,
            _ => {}
        }
    }
    text.len()
}
