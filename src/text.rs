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
