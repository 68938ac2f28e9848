//! Setters of option structs.

/// Defines a setter for each of the given fields. Option structs are `#[non_exhaustive]`, so other crates create them
/// from a constructor and setters: `MlpOptions::default().width(64).depth(2)`.
macro_rules! setters {
    ($options:ident { $($field:ident: $kind:ty),+ $(,)? }) => {
        impl $options {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](#structfield.", stringify!($field), ").")]
                #[must_use]
                pub fn $field(mut self, $field: $kind) -> Self {
                    self.$field = $field;
                    self
                }
            )+
        }
    };
}
