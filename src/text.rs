//! Conversion between enums and their names in files and options; numbers in messages.

/// "1 sample", "2 samples", "0 samples".
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The shortest text that parses to the same number: 0.1, 3, 1e300.
pub fn exact(value: f64) -> String {
    let text = format!("{value:?}");
    text.strip_suffix(".0").map(str::to_string).unwrap_or(text)
}

/// `value` + `offset` with the fewest decimals of which `value` is the float32 after subtracting the offset: 168.7, not
/// 168.69999980926514.
#[cfg(feature = "files")]
pub fn shortest_sum(value: f32, offset: f64) -> f64 {
    let sum = f64::from(value) + offset;
    let rounded = |decimals: usize| format!("{sum:.decimals$}").parse::<f64>().ok();
    let same = |near: &f64| (near - offset) as f32 == value;
    (0..=17).filter_map(rounded).find(same).unwrap_or(sum)
}

/// A number with at most four significant digits, without trailing zeros.
pub fn short(value: f64) -> String {
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    match value.abs() {
        0.0 => "0".to_string(),
        size if !size.is_finite() => value.to_string(),
        size if (1e-3..1e5).contains(&size) => {
            trim(&format!("{value:.*}", (3 - size.log10().floor() as i32).max(0) as usize))
        }
        _ => {
            let text = format!("{value:.3e}");
            let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
            format!("{}e{power}", trim(digits))
        }
    }
}

/// A number with grouped digits: 1234567 as "1 234 567".
pub fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

/// Replaces control characters, and characters that change the direction of text, by escape sequences of JSON, so that
/// names from files cannot change the state of a terminal. Line breaks are kept.
#[cfg(feature = "cli")]
pub fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    let unsafe_char = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(unsafe_char) {
        return text.into();
    }
    let escaped = |c: char| if unsafe_char(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    text.chars().map(escaped).collect::<String>().into()
}

/// Implements the conversions of serde's `into` and `try_from` for a type with `Display` and `FromStr`.
macro_rules! stands_as_text {
    ($kind:ty) => {
        impl From<$kind> for String {
            fn from(value: $kind) -> Self {
                value.to_string()
            }
        }

        impl TryFrom<String> for $kind {
            type Error = $crate::error::Error;

            fn try_from(text: String) -> $crate::error::Result<Self> {
                text.parse()
            }
        }
    };
}

/// Defines the names of the variants of an enum, for parsing, display, serde and error messages. A variant may have
/// further names, which are accepted but not displayed.
macro_rules! named {
    ($kind:ident, $what:literal, $($variant:ident = $name:literal $(| $other:literal)*),+ $(,)?) => {
        impl $kind {
            /// The names, in the order of the variants.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// The name.
            pub fn name(self) -> &'static str {
                match self {
                    $($kind::$variant => $name),+
                }
            }
        }

        impl std::str::FromStr for $kind {
            type Err = $crate::error::Error;

            fn from_str(name: &str) -> $crate::error::Result<Self> {
                match name {
                    $($name $(| $other)* => Ok($kind::$variant),)+
                    _ => Err($crate::error::Error::unknown($what, name, Self::NAMES)),
                }
            }
        }

        impl std::fmt::Display for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        stands_as_text!($kind);
    };
}

/// A size in bytes, in the largest unit of which it is at least one.
pub fn readable(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let unit = (bytes.max(1).ilog2() as usize / 10).min(units.len() - 1);
    let digits = if unit == 0 { 0 } else { 1 };
    format!("{:.digits$} {}", bytes as f64 / 1024f64.powi(unit as i32), units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "cli")]
    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\nb \u{e9}"), "a\nb \u{e9}");
        assert_eq!(printable("a\u{1b}[31m\u{9b}\r\u{202e}b"), "a\\u001b[31m\\u009b\\u000d\\u202eb");
    }

    #[test]
    fn sums_have_the_digits_of_float32() {
        for (value, offset, want) in [
            (168.7f64, 150.0, 168.7),
            (1_700_000_000.25, 1_700_000_000.0, 1_700_000_000.25),
            (-3.1, -2.0, -3.1),
            (5.0, 5.0, 5.0),
        ] {
            assert_eq!(shortest_sum((value - offset) as f32, offset), want);
        }
        assert_eq!(shortest_sum(f32::NAN, 1.0).to_string(), "NaN");
    }

    #[test]
    fn numbers_are_short() {
        for (value, want) in
            [(0.05, "0.05"), (1e-5, "1e-5"), (2.5e-7, "2.5e-7"), (300.0, "300"), (-1.5, "-1.5"), (0.0, "0")]
        {
            assert_eq!((short(value), exact(value)), (want.to_string(), want.to_string()));
        }
        assert_eq!((short(96.53849792480469), short(0.000_019_999_892_2)), ("96.54".into(), "2e-5".into()));
        assert_eq!((exact(1e300), short(f64::INFINITY), short(f64::NAN)), ("1e300".into(), "inf".into(), "NaN".into()));
        assert_eq!(
            (count(1, "step"), count(0, "step"), count(2, "step")),
            ("1 step".into(), "0 steps".into(), "2 steps".into())
        );
    }
}
