//! The forms of providers: one list of fields for each kind, for a new one and for one that is there.

use serde_json::{Map, Value, json};

use super::super::model::{Claims, Mapping, ProviderView, Settings, mappings};
use super::super::ops::{ProviderAdded, ProviderChanged};
use crate::base::{Error, Result};
use crate::capabilities::identity::door::pages::typed;
use crate::engine::outbound::{ldap, oidc};
use crate::kit::PageRequest;

/// How a field looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Looks {
    Line,
    Area,
    Check,
    Secret,
}

/// A field as it is drawn.
#[derive(Clone)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) hint: &'static str,
    pub(super) looks: Looks,
    pub(super) required: bool,
    pub(super) value: String,
}

impl Field {
    pub(super) fn is_check(&self) -> bool {
        self.looks == Looks::Check
    }
    pub(super) fn is_area(&self) -> bool {
        self.looks == Looks::Area
    }
    pub(super) fn is_secret(&self) -> bool {
        self.looks == Looks::Secret
    }
    pub(super) fn is_on(&self) -> bool {
        !self.value.is_empty()
    }
}

/// A form.
#[derive(Clone)]
pub(super) struct Form {
    pub(super) kind: &'static str,
    pub(super) title: &'static str,
    pub(super) text: &'static str,
    /// What the elements' identifiers begin with.
    pub(super) mark: String,
    pub(super) fields: Vec<Field>,
    pub(super) error: String,
}

fn line(name: &'static str, title: &'static str, hint: &'static str) -> Field {
    Field { name, title, hint, looks: Looks::Line, required: false, value: String::new() }
}

fn needed(name: &'static str, title: &'static str, hint: &'static str) -> Field {
    Field { required: true, ..line(name, title, hint) }
}

fn with(looks: Looks, field: Field) -> Field {
    Field { looks, ..field }
}

fn shared(trusts: bool) -> Vec<Field> {
    let mut fields = vec![
        with(
            Looks::Area,
            line(
                "mappings",
                "Groups and their roles",
                "One line each: group => role, or group => role site:lyon for a part. * stands for everybody.",
            ),
        ),
        with(
            Looks::Check,
            line(
                "makes_people",
                "Make people at their first sign-in",
                "Whoever has a role by a group comes in. Otherwise they are linked by hand.",
            ),
        ),
    ];
    if trusts {
        let hint = "When it says that several factors were shown (amr: mfa), none is asked here.";
        fields.push(with(Looks::Check, line("trusts_factors", "Believe it about second factors", hint)));
    }
    fields
}

fn oidc_fields() -> Vec<Field> {
    let mut fields = vec![
        needed("name", "Name on the button", "What people call it."),
        needed("issuer", "Issuer", "Its address, exactly as it writes it."),
        needed("client_id", "Client id", "Our name there."),
        with(Looks::Secret, line("secret", "Client secret", "Kept sealed and never shown again.")),
        line("scopes", "Scopes", "What is asked for; many providers need one more for groups."),
        line("login", "Claim of the login name", "Used once, when a person is made."),
        line("called", "Claim of the name", ""),
        line("groups", "Claim of the groups", "A path with dots leads deeper: realm_access.roles"),
        with(
            Looks::Area,
            line(
                "authority",
                "Certificate of its authority, as PEM",
                "Who signed the certificate of its server.",
            ),
        ),
    ];
    fields.extend(shared(true));
    fields
}

fn ldap_fields() -> Vec<Field> {
    let mut fields = vec![
        needed("name", "Name", "What people call it."),
        needed("url", "Address", "ldaps, or ldap with StartTLS."),
        with(
            Looks::Check,
            line("start_tls", "StartTLS", "Makes a plain connection secure before anything is said on it."),
        ),
        with(
            Looks::Area,
            line(
                "authority",
                "Certificate of its authority, as PEM",
                "Who signed the certificate of its server.",
            ),
        ),
        line(
            "pattern",
            "Name of a person's entry",
            "uid={login},ou=people,dc=site,dc=lan; empty when people are searched for.",
        ),
        line("base", "Where people are searched for", "ou=people,dc=site,dc=lan"),
        line("filter", "How a person is found", "{login} stands for what they type."),
        line("reader", "Reading account", "Its whole name. Empty: the search is made by nobody."),
        with(
            Looks::Secret,
            line("secret", "Password of the reading account", "Kept sealed and never shown again."),
        ),
        line(
            "id_attribute",
            "What names a person for good",
            "entryUUID; objectGUID in Active Directory. Empty: the entry's name.",
        ),
        line("name_attribute", "Attribute of the name", ""),
        line(
            "group_attribute",
            "Attribute of the groups",
            "Where a person's entry lists them; empty when groups are searched for.",
        ),
        line("group_base", "Where groups are searched for", "ou=groups,dc=site,dc=lan; empty for none."),
        line("group_filter", "How the groups are found", "{dn} stands for the name of the person's entry."),
    ];
    fields.extend(shared(false));
    fields
}

fn lines(mappings: &[Mapping]) -> String {
    mappings.iter().map(Mapping::line).collect::<Vec<_>>().join("\n")
}

fn yes(on: bool) -> String {
    if on { "true".into() } else { String::new() }
}

type Typed<'a> = Option<(&'a PageRequest, &'a str)>;

impl Form {
    fn fill(mut self, value: impl Fn(&str) -> String, typed: Typed<'_>) -> Form {
        for field in self.fields.iter_mut().filter(|field| field.looks != Looks::Secret) {
            field.value = match typed {
                Some((request, _)) => request.field(field.name).to_owned(),
                None => value(field.name),
            };
        }
        self.error = typed.map(|(_, why)| why.to_owned()).unwrap_or_default();
        self
    }

    fn new(kind: &'static str, mark: String) -> Form {
        let (title, text, fields) = match kind {
            "oidc" => (
                "OpenID provider",
                "Keycloak, Entra ID, AD FS, Authentik, Dex and others. People sign in there and come back.",
                oidc_fields(),
            ),
            _ => (
                "Directory (LDAP)",
                "OpenLDAP, Active Directory, FreeIPA and others. People type its password at our sign-in page.",
                ldap_fields(),
            ),
        };
        Form { kind, title, text, mark, fields, error: String::new() }
    }

    /// Forms for new ones.
    pub(super) fn empty<'a>(typed: &impl Fn(&str) -> Typed<'a>) -> Vec<Form> {
        let claims = Claims::default();
        let value = move |name: &str| match name {
            "scopes" => oidc::scopes(),
            "login" => claims.login.clone(),
            "called" => claims.name.clone(),
            "groups" => claims.groups.clone(),
            "filter" => ldap::filter(),
            "id_attribute" => ldap::id_attribute(),
            "name_attribute" => ldap::name_attribute(),
            "group_attribute" => ldap::group_attribute(),
            "group_filter" => ldap::group_filter(),
            _ => String::new(),
        };
        ["oidc", "ldap"].map(|kind| Form::new(kind, kind.to_owned()).fill(&value, typed(kind))).into()
    }

    /// The form of one that is there.
    pub(super) fn of(view: &ProviderView, typed: Typed<'_>) -> Form {
        let form = Form::new(view.settings.word(), view.id.clone());
        let settings = serde_json::to_value(&view.settings).unwrap_or_default();
        let value = |name: &str| match name {
            "name" => view.name.to_string(),
            "login" => view.claims.login.clone(),
            "called" => view.claims.name.clone(),
            "groups" => view.claims.groups.clone(),
            "mappings" => lines(&view.mappings),
            "makes_people" => yes(view.makes_people),
            "trusts_factors" => yes(view.trusts_factors),
            name => match &settings[name] {
                Value::Bool(on) => yes(*on),
                other => other.as_str().unwrap_or_default().to_owned(),
            },
        };
        form.fill(value, typed)
    }
}

/// What the fields of a form say.
struct Said {
    settings: Settings,
    claims: Claims,
    mappings: Vec<Mapping>,
}

fn said(kind: &str, request: &PageRequest) -> Result<Said> {
    let field = |name: &str| request.field(name).to_owned();
    let authority = Some(field("authority")).filter(|pem| !pem.is_empty());
    let settings = match kind {
        "oidc" => Settings::Oidc(oidc::Settings {
            issuer: field("issuer"),
            client_id: field("client_id"),
            scopes: field("scopes"),
            authority,
        }),
        "ldap" => {
            let mut values = Map::from_iter([
                ("kind".to_owned(), json!("ldap")),
                ("authority".to_owned(), json!(authority)),
            ]);
            let texts =
                ldap_fields().into_iter().filter(|field| field.looks == Looks::Line && field.name != "name");
            values.extend(texts.map(|one| (one.name.to_owned(), json!(field(one.name)))));
            values.insert("start_tls".into(), json!(!field("start_tls").is_empty()));
            serde_json::from_value(Value::Object(values))?
        }
        _ => {
            return Err(
                Error::invalid("no kind of provider is chosen").hint("use one of the forms of the page")
            );
        }
    };
    let claims = Claims { login: field("login"), name: field("called"), groups: field("groups") };
    let claims = if kind == "oidc" { claims } else { Claims::default() };
    Ok(Said { settings, claims, mappings: mappings(&field("mappings"))? })
}

/// A new provider.
pub(super) fn added(request: &PageRequest) -> Result<ProviderAdded> {
    let said = said(request.field("kind"), request)?;
    Ok(ProviderAdded {
        name: request.field("name").parse()?,
        settings: said.settings,
        secret: Some(typed(request, "secret")).filter(|secret| !secret.expose().is_empty()),
        claims: said.claims,
        mappings: said.mappings,
        makes_people: !request.field("makes_people").is_empty(),
        trusts_factors: !request.field("trusts_factors").is_empty(),
    })
}

/// A change of one.
pub(super) fn changed(id: &str, request: &PageRequest) -> Result<ProviderChanged> {
    let new = added(request)?;
    Ok(ProviderChanged {
        id: id.to_owned(),
        name: Some(new.name),
        on: None,
        settings: Some(new.settings),
        secret: new.secret,
        claims: Some(new.claims),
        mappings: Some(new.mappings),
        makes_people: Some(new.makes_people),
        trusts_factors: Some(new.trusts_factors),
    })
}
