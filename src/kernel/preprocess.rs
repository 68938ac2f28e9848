//! Directives in shader text: comment lines that start with `//#`.
//!
//! The text is parsed into [`Piece`]s, in which a condition contains its branches and a repeat its body, and these are
//! written for one kernel. An unknown directive or a flag that the kernel does not set is an error.

use std::collections::HashSet;

use super::{Kernel, SHARED};
use crate::error::{Error, Result};

/// A line, or a directive with its line number and the lines it encloses.
enum Piece<'a> {
    Line(&'a str),
    Use { line: usize, name: &'a str },
    If { line: usize, flag: &'a str, then: Vec<Piece<'a>>, otherwise: Vec<Piece<'a>> },
    Repeat { line: usize, name: &'a str, body: Vec<Piece<'a>> },
}

fn fail<T>(place: &str, line: usize, message: String) -> Result<T> {
    Err(Error::Shader(format!("{place}, line {line}: {message}")))
}

/// Parses lines of a text that is called `place` in messages.
struct Parser<'a> {
    place: &'a str,
    lines: std::iter::Enumerate<std::str::Lines<'a>>,
}

impl<'a> Parser<'a> {
    fn parse(place: &'a str, text: &'a str) -> Result<Vec<Piece<'a>>> {
        let mut parser = Parser { place, lines: text.lines().enumerate() };
        Ok(parser.pieces(0, &[])?.0)
    }

    /// The pieces up to one of `ends`, and which it was; with empty `ends`, up to the end of the text. `opened` is the
    /// line of the enclosing directive.
    fn pieces(&mut self, opened: usize, ends: &[&str]) -> Result<(Vec<Piece<'a>>, &'a str)> {
        let mut pieces = Vec::new();
        while let Some((index, text)) = self.lines.next() {
            let line = index + 1;
            let Some(directive) = text.trim_start().strip_prefix("//#") else {
                pieces.push(Piece::Line(text));
                continue;
            };
            match directive.split_whitespace().collect::<Vec<_>>()[..] {
                [end] if ends.contains(&end) => return Ok((pieces, end)),
                ["use", name] => pieces.push(Piece::Use { line, name }),
                ["if", flag] => pieces.push(self.condition(line, flag)?),
                ["repeat", name] => {
                    let (body, _) = self.pieces(line, &["end"])?;
                    pieces.push(Piece::Repeat { line, name, body });
                }
                ["else" | "endif" | "end"] => {
                    return fail(self.place, line, format!("unexpected {}", text.trim()));
                }
                _ => return fail(self.place, line, format!("unknown directive {}", text.trim())),
            }
        }
        match ends.last() {
            None => Ok((pieces, "")),
            Some(end) => fail(self.place, opened, format!("missing //#{end} for this line")),
        }
    }

    fn condition(&mut self, line: usize, flag: &'a str) -> Result<Piece<'a>> {
        let (then, end) = self.pieces(line, &["else", "endif"])?;
        let otherwise = if end == "else" { self.pieces(line, &["endif"])?.0 } else { Vec::new() };
        Ok(Piece::If { line, flag, then, otherwise })
    }
}

/// The text of one kernel during expansion.
pub(super) struct Expansion<'a> {
    kernel: &'a Kernel,
    /// Shared parts included so far.
    used: HashSet<String>,
    /// The indices of the repeats around the current line.
    numbers: Vec<(String, usize)>,
    out: String,
}

impl<'a> Expansion<'a> {
    /// The complete WGSL of a kernel.
    pub fn of(kernel: &'a Kernel) -> Result<String> {
        let out = kernel.enables.iter().map(|extension| format!("enable {extension};\n")).collect();
        let mut expansion = Self { kernel, used: HashSet::new(), numbers: Vec::new(), out };
        expansion.text(kernel.file, &kernel.text)?;
        Ok(expansion.out)
    }

    fn text(&mut self, place: &str, text: &str) -> Result<()> {
        let pieces = Parser::parse(place, text)?;
        // A part cannot see the repeats around its use.
        let numbers = std::mem::take(&mut self.numbers);
        self.write(place, &pieces)?;
        self.numbers = numbers;
        Ok(())
    }

    fn write(&mut self, place: &str, pieces: &[Piece]) -> Result<()> {
        for piece in pieces {
            match piece {
                Piece::Line(text) => self.line(text),
                Piece::Use { line, name } => self.part(place, *line, name)?,
                Piece::If { line, flag, then, otherwise } => match self.kernel.flags.get(flag) {
                    Some(true) => self.write(place, then)?,
                    Some(false) => self.write(place, otherwise)?,
                    None => return fail(place, *line, format!("the kernel does not set the flag {flag}")),
                },
                Piece::Repeat { line, name, body } => self.repeat(place, *line, name, body)?,
            }
        }
        Ok(())
    }

    /// Writes a line with the indices of the repeats around it.
    fn line(&mut self, text: &str) {
        let number = |text: String, (variable, number): &(String, usize)| text.replace(variable, &number.to_string());
        match text.contains('$') {
            true => self.out += &self.numbers.iter().fold(text.to_string(), number),
            false => self.out += text,
        }
        self.out.push('\n');
    }

    /// Writes a shared part, or one provided by the kernel, where it is first used.
    fn part(&mut self, place: &str, line: usize, name: &str) -> Result<()> {
        if !self.used.insert(name.to_string()) {
            return Ok(());
        }
        let own = self.kernel.parts.iter().find(|(n, _)| *n == name).map(|(_, text)| text.as_str());
        match own.or_else(|| SHARED.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)) {
            Some(text) => self.text(&format!("{}, part {name}", self.kernel.file), text),
            None => fail(place, line, format!("unknown shared part {name}")),
        }
    }

    fn repeat(&mut self, place: &str, line: usize, name: &str, body: &[Piece]) -> Result<()> {
        let Some((_, count)) = self.kernel.repeats.iter().find(|(n, _)| *n == name) else {
            return fail(place, line, format!("the kernel does not set the repeat count of {name}"));
        };
        for i in 0..*count {
            self.numbers.push((format!("${name}"), i));
            self.write(place, body)?;
            self.numbers.pop();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &'static str) -> std::result::Result<String, String> {
        let kernel = Kernel::new("t.wgsl", text, "run").flag("ROWS", true).flag("OFF", false);
        kernel.repeat("I", 2).repeat("J", 2).source().map_err(|e| e.to_string())
    }

    #[test]
    fn flags_keep_lines_and_repeats_number_them() {
        assert_eq!(expanded("a\n//#if ROWS\nb\n//#else\nc\n//#endif\n//#if OFF\nd\n//#endif\ne").unwrap(), "a\nb\ne\n");
        assert_eq!(
            expanded("//#repeat I\nlet a$I = b[$I];\n//#end\nlast").unwrap(),
            "let a0 = b[0];\nlet a1 = b[1];\nlast\n"
        );
        let nested = "//#repeat I\n//#if ROWS\nrow $I\n//#endif\n//#repeat J\nc$I_$J\n//#end\n//#end";
        assert_eq!(expanded(nested).unwrap(), "row 0\nc0_0\nc0_1\nrow 1\nc1_0\nc1_1\n");
        // Dropped lines may refer to unknown names.
        assert_eq!(expanded("//#if OFF\n//#use nothing\n//#if NONE\n//#endif\n//#endif\nx").unwrap(), "x\n");
    }

    #[test]
    fn parts_are_included_once() {
        let items = expanded("//#use items\n//#use items\n").unwrap();
        assert_eq!(items.matches("fn item(").count(), 1);
        let kernel = Kernel::new("t.wgsl", "//#repeat I\n//#use own\n//#end", "run").repeat("I", 2);
        assert_eq!(kernel.part("own", "cost: $I\n".into()).source().unwrap(), "cost: $I\n");
    }

    #[test]
    fn errors_name_the_line() {
        for (text, want) in [
            ("a\n//#if ROWSS\n//#endif", "t.wgsl, line 2: the kernel does not set the flag ROWSS"),
            ("//#iff ROWS\n", "line 1: unknown directive //#iff ROWS"),
            ("//#if\n", "line 1: unknown directive //#if"),
            ("//#use\n", "unknown directive"),
            ("a\nb\n//#use nothing", "line 3: unknown shared part nothing"),
            ("a\n//#if ROWS\nb", "line 2: missing //#endif for this line"),
            ("//#if ROWS\n//#else\n//#else\n//#endif", "line 3: unexpected //#else"),
            ("//#repeat I\n//#if ROWS\n//#end\n//#endif", "line 3: unexpected //#end"),
            ("a\n//#endif", "line 2: unexpected //#endif"),
            ("//#repeat I\nx", "line 1: missing //#end for this line"),
            ("//#repeat K\nx\n//#end", "line 1: the kernel does not set the repeat count of K"),
        ] {
            let got = expanded(text).unwrap_err();
            assert!(got.contains(want), "{text:?}: {got}");
        }
        let kernel = Kernel::new("t.wgsl", "//#use own", "run").part("own", "a\n//#if A\n//#endif".into());
        assert!(kernel.source().unwrap_err().to_string().contains("t.wgsl, part own, line 2"));
    }
}
