//! One page of a list.

use serde::Serialize;

/// Rows and the cursor of the next page. The cursor is opaque text that the same list takes back.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Page<T> {
    /// The rows, in the list's order.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last one.
    pub next: Option<String>,
}
