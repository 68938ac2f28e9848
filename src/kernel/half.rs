//! Tensors that are stored in f16: the text of a shader is changed where it declares, reads and writes them.
//!
//! Shaders are written for f32. For a binding x that is stored in f16, `array<f32>` becomes `array<f16>`, `x[i]` becomes
//! `f32(x[i])`, and `x[i] = v;` becomes `x[i] = to_half(v);` with `to_half` of the shared part `half`. Arithmetic and sums
//! stay in f32. WGSL converts no type implicitly, so an access of another form is an error when the shader is compiled.

use super::SHARED;

/// How a binding is stored in f16: its values are multiplied by powers of two, given as exponents, that bring them into the
/// range of f16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Half {
    /// The exponent of the values that are read.
    pub read: i32,
    /// The exponent of the values that are written. It differs where they overwrite another tensor.
    pub written: i32,
}

/// The text of a shader with some of its bindings in f16.
pub(super) fn stored_in_half(source: &str, bindings: Vec<(String, Half)>) -> String {
    let vector = |name: &str| source.contains(&format!("{name}: array<vec4<f32>>"));
    let halves = bindings.into_iter().map(|(name, half)| Stored { vector: vector(&name), name, half }).collect();
    let mut text = Shader(halves).rewritten(source);
    if !text.contains("enable f16;") {
        text.insert_str(0, "enable f16;\n");
    }
    if !text.contains("fn to_half(") {
        text += SHARED.iter().find(|(name, _)| *name == "half").expect("it is a shared part").1;
    }
    text
}

/// A binding in f16.
struct Stored {
    name: String,
    half: Half,
    /// Whether its elements are vectors of four.
    vector: bool,
}

/// The bindings in f16 of a shader.
struct Shader(Vec<Stored>);

impl Shader {
    /// Changes the declarations and accesses in a text, up to its end.
    fn rewritten(&self, text: &str) -> String {
        let (mut out, mut rest) = (String::new(), text);
        while let Some(first) = rest.chars().next() {
            let len = match first {
                '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
                c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                c => c.len_utf8(),
            };
            let (word, after) = rest.split_at(len);
            // A name after a dot is that of a component.
            let stored = self.0.iter().find(|stored| stored.name == word && !out.ends_with('.'));
            out += word;
            rest = match stored {
                Some(_) if after.starts_with(": array<") => {
                    let (declared, rest) = after.split_at(after.find(';').unwrap_or(after.len()));
                    out += &declared.replace("f32", "f16");
                    rest
                }
                Some(stored) if after.starts_with('[') => {
                    out.truncate(out.len() - len);
                    self.access(stored, after, &mut out)
                }
                _ => after,
            };
        }
        out
    }

    /// Writes an access, given the text from its index on; returns the text after it.
    fn access<'a>(&self, Stored { name, half, vector }: &Stored, text: &'a str, out: &mut String) -> &'a str {
        let (index, after) = text[1..].split_at(closing(&text[1..]));
        let (index, after) = (self.rewritten(index), &after[1..]);
        let assigned = after.trim_start().strip_prefix('=').filter(|value| !value.starts_with('='));
        if let Some(value) = assigned {
            let (value, rest) = value.split_at(value.find(';').unwrap_or(value.len()));
            let value = scaled(self.rewritten(value.trim()), half.written);
            *out += &format!("{name}[{index}] = to_half({value})");
            return rest;
        }
        let number = if *vector { "vec4<f32>" } else { "f32" };
        *out += &scaled(format!("{number}({name}[{index}])"), -half.read);
        after
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The position of the bracket that closes an index.
fn closing(text: &str) -> usize {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        depth += (c == '[') as usize;
        depth -= (c == ']') as usize;
        if depth == 0 {
            return at;
        }
    }
    unreachable!("the text was parsed")
}

/// An expression times a power of two.
fn scaled(value: String, exponent: i32) -> String {
    if exponent == 0 { value } else { format!("(({value}) * {:?})", 2f64.powi(exponent)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Kernel;

    const TEXT: &str = "\
        @group(0) @binding(0) var<storage, read> x: array<f32>;  // x[0] is first\n\
        @group(0) @binding(1) var<storage, read> w: array<vec4<f32>>;\n\
        @group(0) @binding(2) var<storage, read> i: array<u32>;\n\
        @group(0) @binding(3) var<storage, read_write> y: array<f32>;\n\
        fn at(x: u32) -> u32 { return x; }\n\
        @compute @workgroup_size(1) fn run() {\n\
        let v = w[at(1u)].y;\n\
        if (y[0] == x[i[0]]) { y[i[1]] = x[at(i[2])] + v; }\n\
        }\n";

    fn source(reads: [Option<Half>; 3], writes: [Option<Half>; 1]) -> String {
        Kernel::new("t.wgsl", TEXT, "run").stored([reads.to_vec(), writes.to_vec()]).source().unwrap()
    }

    #[test]
    fn accesses_convert_and_scale_by_powers_of_two() {
        let half = |read, written| Some(Half { read, written });
        let text = source([half(3, 3), half(0, 0), None], [half(-1, 4)]);
        for line in [
            "enable f16;",
            "var<storage, read> x: array<f16>;  // x[0] is first",
            "var<storage, read> w: array<vec4<f16>>;",
            "var<storage, read> i: array<u32>;",
            "fn at(x: u32) -> u32 { return x; }",
            "let v = vec4<f32>(w[at(1u)]).y;",
            "if (((f32(y[0])) * 2.0) == ((f32(x[i[0]])) * 0.125)) { y[i[1]] = to_half(((((f32(x[at(i[2])])) * 0.125) + v) * 16.0)); }",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        crate::kernel::bindings("t", &text, "run").unwrap();
    }

    #[test]
    fn a_kernel_without_tensors_in_f16_keeps_its_text() {
        assert_eq!(source([None; 3], [None]), TEXT);
    }
}
