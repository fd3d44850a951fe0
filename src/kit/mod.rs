//! The contract between the outside, the capabilities and the engines.
//!
//! [`Ctx`] says who, when and where, and is the first argument of everything. A [`Permit`] is the only way to a write.
//! An [`Op`] is declared once; REST route, OpenAPI entry, permission, span and audit verb are derived from it. A
//! [`Capability`] is one slice of the product.
//!
//! Invariant: no permit, no write; the permit's name is the action that the change records.
//! Invariant: a context has one tenant, that of who acts; the home's people and keys alone act on the whole site.
//! Invariant: an operation, a page, an uplink handler, a job and a follower may open a write; nothing below them does.

mod actor;
mod approved;
mod capability;
pub mod chart;
mod ctx;
mod event;
mod generation;
pub mod guide;
mod notice;
mod oauth;
mod op;
mod page;
mod presence;
mod qr;
mod recovery;
mod rights;
mod role;
mod settings;
mod site;
mod step_up;
mod tenants;
mod view;
mod zone;

pub use actor::Actor;
pub use approved::{Approved, Asked, Intent, Marks, NeedsSecond};
pub use capability::{AgentRef, Capability, Durable, Follower, Followers, Job, Jobs, UplinkFn, Uplinks};
pub use ctx::{Change, Ctx, Permit, Request};
pub use event::{Category, EventKind, PROGRAM_EVENTS, Weight, difference, event_kind};
pub use generation::{CURSORS, KIT_TABLES, begin_generation, followed, generation};
pub use notice::{Count, Counts, Notice, Notices};
pub use oauth::OauthClient;
pub use op::{ById, Method, Nothing, OWN, Op, Ops, Run, RunFile};
pub use page::{
    Access, Cookie, Download, Flash, Live, LiveFn, NavItem, NextPart, Page, PageFn, PageRequest, Pages,
    Reply, Shell, html,
};
pub use presence::{Presence, Seen};
pub use qr::{QR_BYTES_MAX, qr};
#[cfg(test)]
pub(crate) use recovery::sample as recovery_sample;
pub use recovery::{Difference, FieldDifference, Finding, Findings, Restored, Returnable, Undone};
pub use rights::{Grant, PATTERNS_MAX, Permissions, Rights, Scope, Sight};
pub use role::{ROLE_NAME_CHARACTERS_MAX, Role, RoleName};
pub use settings::{Door, Guards, KeysOpenedBy, Served, Settings, Theme, Unwritable};
pub use site::{Parts, PerSite, Site};
pub use step_up::{DANGEROUS, PROOF_LASTS};
pub use tenants::{HOME, Places, Quota, Quotas, Tenant, Tenants, is_sites};
#[cfg(test)]
pub(crate) use view::proof;
pub use view::{Markup, part, query, told};
pub use zone::{Zone, local};
