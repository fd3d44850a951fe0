//! Every event that this capability tells.

use crate::kit::{Category, EventKind};

/// The catalogue.
pub(super) const EVENTS: &[EventKind] =
    &[EventKind::ordinary(Category::Change, "settings.changed", "The site was renamed", &["name"])];
