//! Settings that files hold as text.

/// Converts a type from and into the text that it is parsed from and shown as, for serde's `into` and `try_from`.
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

/// Gives the variants of an enum their names, in one place: for parsing, showing, serde and the list in an error.
/// A variant may have other names, which are understood but not shown.
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
