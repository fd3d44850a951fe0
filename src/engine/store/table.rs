//! The name and the types of a table.

use std::marker::PhantomData;

/// A table: a name, a key that sorts, and values that serde can write. Declare one as a constant of its slice.
pub struct Table<K, V> {
    name: &'static str,
    kind: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Table<K, V> {
    /// The table called `name`. Names that begin with `_` are the store's own.
    pub const fn new(name: &'static str) -> Self {
        Table { name, kind: PhantomData }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}
