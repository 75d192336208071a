//! The API's description, OpenAPI 3.1, from the table of routes and the types' own schemas.
//!
//! OpenAPI 3.1 schemas are JSON Schemas of draft 2020-12, which is what `schemars` makes of the types that are also
//! serialised; so nothing is described twice.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::super::problem::Problem;
use super::PREFIX;

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One operation.
#[derive(Clone, Copy)]
pub(super) struct Route {
    /// In lower case.
    pub(super) method: &'static str,
    /// Below [`PREFIX`].
    pub(super) path: &'static str,
    /// What it does.
    pub(super) summary: &'static str,
    pub(super) query: &'static [(&'static str, &'static str)],
    pub(super) body: Body,
    pub(super) status: u16,
    pub(super) answer: Answer,
}

/// What a request carries.
#[derive(Clone, Copy)]
pub(super) enum Body {
    Nothing,
    Json(SchemaOf),
    Bytes,
}

/// What a success answers.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    Nothing,
    Json(SchemaOf),
    Media(&'static str),
}

impl Body {
    pub(super) fn of<T: JsonSchema>() -> Self {
        Self::Json(|generator| generator.subschema_for::<T>())
    }
}

impl Answer {
    pub(super) fn of<T: JsonSchema>() -> Self {
        Self::Json(|generator| generator.subschema_for::<T>())
    }
}

impl Default for Route {
    fn default() -> Self {
        Self {
            method: "get",
            path: "/",
            summary: "",
            query: &[],
            body: Body::Nothing,
            status: 200,
            answer: Answer::Nothing,
        }
    }
}

impl Route {
    pub(super) fn query(self, query: &'static [(&'static str, &'static str)]) -> Self {
        Self { query, ..self }
    }

    pub(super) fn takes(self, body: Body) -> Self {
        Self { body, ..self }
    }

    pub(super) fn answers(self, status: u16, answer: Answer) -> Self {
        Self { status, answer, ..self }
    }

    fn parameters(&self) -> Vec<Value> {
        let in_path = self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let in_path = in_path
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}));
        let in_query = self.query.iter().map(|(name, what)| {
            json!({"name": name, "in": "query", "description": what, "schema": {"type": "string"}})
        });
        in_path.chain(in_query).collect()
    }

    fn describe(&self, generator: &mut SchemaGenerator) -> Value {
        let mut success = json!({"description": "done"});
        match self.answer {
            Answer::Nothing => {}
            Answer::Json(schema) => {
                success["content"] = json!({"application/json": {"schema": schema(generator)}})
            }
            Answer::Media(kind) => success["content"] = json!({kind: {}}),
        }
        let problem = generator.subschema_for::<Problem>();
        let mut operation = json!({
            "summary": self.summary,
            "responses": {
                self.status.to_string(): success,
                "default": {
                    "description": "not done, and why",
                    "content": {"application/problem+json": {"schema": problem}}
                },
            },
        });
        let parameters = self.parameters();
        if !parameters.is_empty() {
            operation["parameters"] = Value::Array(parameters);
        }
        match self.body {
            Body::Nothing => {}
            Body::Json(schema) => {
                operation["requestBody"] =
                    json!({"required": true, "content": {"application/json": {"schema": schema(generator)}}});
            }
            Body::Bytes => {
                operation["requestBody"] =
                    json!({"required": true, "content": {"application/octet-stream": {}}});
            }
        }
        operation
    }
}

/// The description of the whole API.
pub fn description() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for (route, _) in super::routes() {
        let operation = route.describe(&mut generator);
        let path = paths.entry(format!("{PREFIX}{}", route.path)).or_insert_with(|| json!({}));
        path[route.method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ulna station",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The local API of a station: for its own page and command line. Decision support only.",
        },
        "paths": paths,
        "components": {"schemas": generator.take_definitions(true)},
    })
}
