//! Operations: declared once, reachable everywhere.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Ctx, Download};
use crate::base::{Error, Result};

/// HTTP method of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Makes or acts.
    Post,
    /// Changes fields.
    Patch,
    /// Removes.
    Delete,
}

/// Input of an operation that takes nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Nothing {}

/// Input of an operation on one thing.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(bound = "T: crate::base::Prefix")]
#[schemars(bound = "T: crate::base::Prefix")]
pub struct ById<T: crate::base::Prefix> {
    /// Which one.
    pub id: crate::base::Id<T>,
}

/// What an operation runs.
pub type Run = Box<dyn Fn(&Ctx<'_>, Value) -> Result<Value> + Send + Sync>;

/// What an operation that gives a file runs.
pub type RunFile = Box<dyn Fn(&Ctx<'_>, Value) -> Result<Download> + Send + Sync>;

/// One operation: its name is its permission, span and audit verb.
pub struct Op {
    /// `noun.verb`.
    pub name: &'static str,
    /// What the actor needs: the name, or `{noun}.read` for reads.
    pub permission: String,
    /// One sentence for the reference.
    pub doc: &'static str,
    /// HTTP method.
    pub method: Method,
    /// Path below `/api/v1`, with `{name}` for parts that come from the path.
    pub path: &'static str,
    /// As how many ordinary requests it counts, for those who ask very often.
    pub cost: u32,
    /// JSON Schema of the input; path and query values are read by it.
    pub input: Value,
    /// JSON Schema of the output.
    pub output: Value,
    /// Runs it.
    pub run: Run,
    /// The event that tells of it before anything leaves, where it gives a secret or a file away.
    pub gives: Option<&'static str>,
    /// Runs it, where it gives a file instead of a value.
    pub file: Option<RunFile>,
}

/// The permission of operations on what is the actor's own; see [`Ops::own`].
pub const OWN: &str = "own";

/// Every operation of the product.
#[derive(Default)]
pub struct Ops(pub Vec<Op>);

impl Ops {
    /// A read; its permission is `{noun}.read`.
    pub fn get<I, O>(
        &mut self,
        name: &'static str,
        path: &'static str,
        doc: &'static str,
        run: fn(&Ctx<'_>, I) -> Result<O>,
    ) where
        I: DeserializeOwned + JsonSchema + 'static,
        O: Serialize + JsonSchema + 'static,
    {
        self.add(Method::Get, name, path, doc, run);
    }

    /// An act.
    pub fn post<I, O>(
        &mut self,
        name: &'static str,
        path: &'static str,
        doc: &'static str,
        run: fn(&Ctx<'_>, I) -> Result<O>,
    ) where
        I: DeserializeOwned + JsonSchema + 'static,
        O: Serialize + JsonSchema + 'static,
    {
        self.add(Method::Post, name, path, doc, run);
    }

    /// A change of fields.
    pub fn patch<I, O>(
        &mut self,
        name: &'static str,
        path: &'static str,
        doc: &'static str,
        run: fn(&Ctx<'_>, I) -> Result<O>,
    ) where
        I: DeserializeOwned + JsonSchema + 'static,
        O: Serialize + JsonSchema + 'static,
    {
        self.add(Method::Patch, name, path, doc, run);
    }

    /// A removal.
    pub fn delete<I, O>(
        &mut self,
        name: &'static str,
        path: &'static str,
        doc: &'static str,
        run: fn(&Ctx<'_>, I) -> Result<O>,
    ) where
        I: DeserializeOwned + JsonSchema + 'static,
        O: Serialize + JsonSchema + 'static,
    {
        self.add(Method::Delete, name, path, doc, run);
    }

    /// The operation before this gives a secret or a file away, and tells of it by this event before anything leaves.
    pub fn gives(&mut self, event: &'static str) {
        if let Some(op) = self.0.last_mut() {
            op.gives = Some(event);
        }
    }

    /// An act that gives a file, made while it is sent.
    pub fn file<I>(
        &mut self,
        name: &'static str,
        path: &'static str,
        doc: &'static str,
        run: fn(&Ctx<'_>, I) -> Result<Download>,
    ) where
        I: DeserializeOwned + JsonSchema + 'static,
    {
        fn elsewhere<I>(_: &Ctx<'_>, _: I) -> Result<()> {
            Err(Error::invalid("this operation gives a file").hint("ask for it over HTTPS"))
        }
        self.add(Method::Post, name, path, doc, elsewhere::<I>);
        if let Some(op) = self.0.last_mut() {
            op.file = Some(Box::new(move |ctx, input| run(ctx, read(input)?)));
        }
    }

    /// The operation before this is about what is the actor's own, such as a password: whoever is signed in may call it,
    /// and it asks itself whose the thing is.
    pub fn own(&mut self) {
        if let Some(op) = self.0.last_mut() {
            op.permission = OWN.to_owned();
        }
    }

    /// The operation before this is dear: one counts as so many ordinary requests.
    pub fn costs(&mut self, cost: u32) {
        if let Some(op) = self.0.last_mut() {
            op.cost = cost;
        }
    }

    fn add<I, O>(
        &mut self,
        method: Method,
        name: &'static str,
        path: &'static str,
        doc: &'static str,
        run: fn(&Ctx<'_>, I) -> Result<O>,
    ) where
        I: DeserializeOwned + JsonSchema + 'static,
        O: Serialize + JsonSchema + 'static,
    {
        let noun = name.split('.').next().unwrap_or(name);
        let permission = if method == Method::Get { format!("{noun}.read") } else { name.to_owned() };
        self.0.push(Op {
            name,
            permission,
            doc,
            method,
            path,
            cost: 1,
            input: schemars::schema_for!(I).to_value(),
            output: schemars::schema_for!(O).to_value(),
            run: Box::new(move |ctx, input| Ok(serde_json::to_value(run(ctx, read(input)?)?)?)),
            gives: None,
            file: None,
        });
    }
}

fn read<I: DeserializeOwned>(input: Value) -> Result<I> {
    serde_json::from_value(input)
        .map_err(|e| Error::invalid(format!("the input is not valid: {e}")).hint("see /api/v1/openapi.json"))
}
