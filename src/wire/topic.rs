//! Topic names. Both sets of kinds are closed: a topic outside them does not exist.

use std::fmt;

use crate::base::{AgentId, Error, Result, TenantId};

macro_rules! topic_kinds {
    ($(#[$doc:meta])* $name:ident { $($(#[$kind_doc:meta])* $kind:ident $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$kind_doc])* $kind,)* }

        impl $name {
            /// Every kind, in the order of the reference page.
            pub const ALL: &'static [$name] = &[$($name::$kind,)*];

            /// The last part of the topic.
            pub fn word(self) -> &'static str {
                match self { $($name::$kind => $word,)* }
            }

            /// The kind with this word.
            pub fn find(word: &str) -> Option<Self> {
                match word { $($word => Some($name::$kind),)* _ => None }
            }
        }
    };
}

topic_kinds! {
    /// What an agent says.
    UpKind {
        /// First message of a session: who I am, what I run, since when.
        Hello "hello",
        /// I am alive; sequence of the session and clock.
        Heartbeat "heartbeat",
        /// Samples of numbers.
        Metrics "metrics",
        /// Lines of text.
        Logs "logs",
        /// Spans of traces.
        Spans "spans",
        /// Things that happened.
        Events "events",
        /// A task was taken, moves on, or ended.
        Task "task",
        /// A new certificate is wanted: a signing request.
        Certificate "certificate",
    }
}

topic_kinds! {
    /// What an agent is told.
    DownKind {
        /// Do this.
        Task "task",
        /// Stop doing that.
        Cancel "cancel",
        /// What became of that?
        Ask "ask",
        /// How to behave: intervals, log sources.
        Configuration "configuration",
        /// These messages are on the server's disk; they may leave the spool.
        Acknowledgement "acknowledgement",
        /// A renewed certificate, or the trust that replaces the old one.
        Certificate "certificate",
        /// A signed statement of how far the audit log is, to be kept and told again.
        Checkpoint "checkpoint",
    }
}

/// Where a joining agent, which has no identity yet, publishes its request.
pub const JOIN_UP: &str = "muster/v1/join/up/request";
/// Where a joining agent receives the answer. Every joining session gets its own answer on this name, nobody else's.
pub const JOIN_DOWN: &str = "muster/v1/join/down/answer";

/// A topic of one agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// From the agent.
    Up(TenantId, AgentId, UpKind),
    /// To the agent.
    Down(TenantId, AgentId, DownKind),
}

impl Topic {
    /// Parses a topic name. Anything that is not exactly a topic of an agent is an error that names it.
    pub fn parse(text: &str) -> Result<Topic> {
        let wrong = || {
            Error::invalid(format!(
                "`{}` is not a topic of an agent",
                text.chars().take(120).collect::<String>()
            ))
            .hint("topics are `muster/v1/{tenant}/{agent}/up/{kind}` and `…/down/{kind}`")
        };
        let mut parts = text.split('/');
        let mut next = || parts.next();
        if next() != Some("muster") || next() != Some(super::VERSION) {
            return Err(wrong());
        }
        let tenant = next().ok_or_else(wrong)?;
        let agent = next().ok_or_else(wrong)?;
        let way = next().ok_or_else(wrong)?;
        let word = next().ok_or_else(wrong)?;
        if next().is_some() {
            return Err(wrong());
        }
        let (tenant_id, agent_id) = (tenant.parse::<TenantId>()?, agent.parse::<AgentId>()?);
        let topic = match way {
            "up" => Topic::Up(tenant_id, agent_id, UpKind::find(word).ok_or_else(wrong)?),
            "down" => Topic::Down(tenant_id, agent_id, DownKind::find(word).ok_or_else(wrong)?),
            _ => return Err(wrong()),
        };
        // Only the one canonical spelling is a topic, so that no two texts mean the same agent.
        if topic.to_string() == text { Ok(topic) } else { Err(wrong()) }
    }

    /// The filter by which an agent subscribes to everything that it is told.
    pub fn down_filter(tenant: TenantId, agent: AgentId) -> String {
        format!("muster/{}/{tenant}/{agent}/down/+", super::VERSION)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = super::VERSION;
        match self {
            Topic::Up(tenant, agent, kind) => {
                write!(f, "muster/{version}/{tenant}/{agent}/up/{}", kind.word())
            }
            Topic::Down(tenant, agent, kind) => {
                write!(f, "muster/{version}/{tenant}/{agent}/down/{}", kind.word())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_text_is_a_topic() {
        let (tenant, agent) = (TenantId::from_bits(1), AgentId::from_bits(2));
        for kind in UpKind::ALL {
            let topic = Topic::Up(tenant, agent, *kind);
            assert_eq!(Topic::parse(&topic.to_string()).unwrap(), topic);
        }
        let good = Topic::Down(tenant, agent, DownKind::Task).to_string();
        assert!(Topic::parse(&good).is_ok());
        for bad in [
            good.to_uppercase(),
            format!("{good}/x"),
            format!("/{good}"),
            good.replace("down", "up"),
            good.replace("v1", "v2"),
            good.replace("task", "#"),
            String::from("$SYS/broker"),
        ] {
            assert!(bad == good.replace("down", "up") || Topic::parse(&bad).is_err(), "{bad}");
        }
        assert!(Topic::parse(&good.replace("agt_0", "agt_O")).is_err());
    }
}
