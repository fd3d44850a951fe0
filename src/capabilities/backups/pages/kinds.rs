//! The forms of targets: one for each kind, made from one list.

use serde_json::{Map, Value};

use crate::base::{Error, Result};
use crate::engine::outbound::target::Settings;
use crate::kit::PageRequest;

/// How a field is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// As it stands.
    Text,
    /// As a whole number.
    Number,
    /// As yes or no.
    Check,
}

/// A field of a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// Its name in the settings.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// What stands in it while it is empty.
    pub example: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// How it is read.
    pub reads: Reads,
}

impl Field {
    /// Whether it is a box to tick.
    pub(crate) fn is_check(&self) -> bool {
        self.reads == Reads::Check
    }

    const fn text(name: &'static str, title: &'static str, example: &'static str) -> Field {
        Field { name, title, example, required: true, reads: Reads::Text }
    }

    const fn check(name: &'static str, title: &'static str) -> Field {
        Field { name, title, example: "", required: false, reads: Reads::Check }
    }

    #[must_use]
    const fn optional(mut self) -> Field {
        self.required = false;
        self
    }

    const fn number(name: &'static str, title: &'static str, example: &'static str) -> Field {
        Field { name, title, example, required: false, reads: Reads::Number }
    }
}

/// A kind of target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KindForm {
    /// Its word in the settings.
    pub kind: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// What it is, in one sentence.
    pub text: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
    /// What its secret is called; empty when it has none.
    pub secret: &'static str,
    /// Whether a copy there has most likely left the building.
    pub outside: bool,
}

/// Every kind.
pub(crate) const KINDS: &[KindForm] = &[
    KindForm {
        kind: "removable",
        title: "Stick or disk that comes and goes",
        text: "A medium that the machine mounts when it is plugged in. It is waited for; what it missed is copied when it is back.",
        fields: &[
            Field::text("mount_point", "Where it is mounted", "/media/backup"),
            Field::text("folder", "Folder on it", "muster").optional(),
            Field::text("label", "Only the one with this label", "BACKUP-BLUE").optional(),
            Field::check("eject", "Let go of it after a run, so that it can be pulled"),
        ],
        secret: "",
        outside: true,
    },
    KindForm {
        kind: "sftp",
        title: "Another server, over SSH",
        text: "A folder of a server with SFTP. The server is known by its host key, so that nobody can stand in between.",
        fields: &[
            Field::text("host", "Host", "nas.site.lan"),
            Field::number("port", "Port", "22"),
            Field::text("user", "User", "muster"),
            Field::text("folder", "Folder", "backups"),
            Field::text(
                "host_key",
                "Host key, as in /etc/ssh/ssh_host_ed25519_key.pub there",
                "ssh-ed25519 AAAA…",
            ),
        ],
        secret: "Private key of that user, as OpenSSH writes it, without a passphrase",
        outside: true,
    },
    KindForm {
        kind: "s3",
        title: "S3-compatible store",
        text: "A bucket of a store on your network. It must be there already.",
        fields: &[
            Field::text("endpoint", "Endpoint, with its scheme and port", "store.site.lan:9000"),
            Field::text("bucket", "Bucket", "muster"),
            Field::text("prefix", "Folder in it", "lyon").optional(),
            Field::text("access_key", "Access key", "muster"),
            Field::text("authority", "Certificate of its authority, as PEM", "-----BEGIN CERTIFICATE-----")
                .optional(),
        ],
        secret: "Secret access key",
        outside: true,
    },
    KindForm {
        kind: "folder",
        title: "Folder",
        text: "A folder of this machine, or of another one that is mounted here. It must be there already.",
        fields: &[
            Field::text("path", "Path", "/srv/backups"),
            Field::number("keep_free_bytes", "Bytes to leave free", "1000000000"),
        ],
        secret: "",
        outside: false,
    },
    KindForm {
        kind: "one-way",
        title: "One-way folder",
        text: "A folder that a data diode takes files from. Nothing is looked up or removed there.",
        fields: &[Field::text("path", "Path", "/srv/diode/out")],
        secret: "",
        outside: true,
    },
];

/// The settings that a form says.
pub(crate) fn settings(request: &PageRequest) -> Result<Settings> {
    let word = request.field("kind");
    let kind = KINDS.iter().find(|kind| kind.kind == word).ok_or_else(|| {
        Error::invalid("no kind of target is chosen").hint("use one of the forms of the page")
    })?;
    let mut fields = Map::from_iter([("kind".to_owned(), Value::from(kind.kind))]);
    for field in kind.fields {
        let text = request.field(field.name);
        let value = match field.reads {
            Reads::Check => Value::from(!text.is_empty()),
            _ if text.is_empty() && field.required => {
                return Err(Error::invalid(format!("`{}` is empty", field.title))
                    .hint(format!("for example `{}`", field.example)));
            }
            _ if text.is_empty() => continue,
            Reads::Number => text.parse::<u64>().map(Value::from).map_err(|_| {
                Error::invalid(format!("`{}` is not a whole number", field.title))
                    .hint(format!("for example `{}`", field.example))
            })?,
            Reads::Text => Value::from(text),
        };
        fields.insert(field.name.to_owned(), value);
    }
    serde_json::from_value(Value::Object(fields)).map_err(|e| {
        Error::invalid(format!("the target's settings are not valid: {e}")).hint("look at the fields")
    })
}
