//! The cache of a build without files: it remembers nothing.

/// Holds nothing.
#[derive(Clone, Debug)]
pub(crate) struct Cache;

impl Cache {
    /// See `cache.rs`.
    pub fn of_user(_: &str) -> Self {
        Self
    }

    /// Never.
    pub fn remembers(&self) -> bool {
        false
    }

    /// Nothing.
    pub fn load(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    /// Drops the content.
    pub fn save(&self, _: &str, _: &[u8]) {}
}
