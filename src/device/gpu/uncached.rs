//! The cache in builds without the feature `files`: stores nothing.

/// See `cache.rs`.
#[derive(Clone, Debug)]
pub(crate) struct Cache;

impl Cache {
    /// See `cache.rs`.
    pub fn of_user(_: &str) -> Self {
        Self
    }

    /// Always false.
    pub fn is_enabled(&self) -> bool {
        false
    }

    /// Always `None`.
    pub fn load(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    /// Does nothing.
    pub fn save(&self, _: &str, _: &[u8]) {}
}
