//! The reference of fields and codes in `README.md`, made from the schemas.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

const BEGIN: &str = "<!-- reference: written by `make schemas` -->\n";
const END: &str = "<!-- /reference -->";

const PAYLOADS: [(&str, &str); 8] = [
    ("result.json", "`result` and `latest`"),
    ("tombstone.json", "`tombstone`"),
    ("status.json", "`status`"),
    ("birth.json", "`birth`"),
    ("health.json", "`health`"),
    ("command.json", "`cmd/{name}/{id}`"),
    ("command-body.json", "The body of a command"),
    ("command-ack.json", "`cmd/{name}/{id}/ack`"),
];

#[derive(Default)]
struct Reference {
    text: String,
    /// Code lists met so far, by name: what it is, and `(code, meaning)`.
    codes: BTreeMap<String, (String, Vec<(String, String)>)>,
}

fn words(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// The definition that a schema refers to, itself or beside null.
fn referred(schema: &Value) -> Option<&str> {
    let direct = schema["$ref"].as_str();
    let beside_null = || schema["anyOf"].as_array()?.iter().find_map(|choice| choice["$ref"].as_str());
    direct.or_else(beside_null)?.strip_prefix("#/$defs/")
}

fn nullable(schema: &Value) -> bool {
    let is_null = |kind: &Value| kind == "null";
    schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(is_null))
        || schema["anyOf"].as_array().is_some_and(|all| all.iter().any(|choice| is_null(&choice["type"])))
}

fn plain_type(schema: &Value) -> String {
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => {
            kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect()
        }
        _ => Vec::new(),
    };
    match (kinds.first().copied().unwrap_or("value"), schema["format"].as_str()) {
        ("string", Some("date-time")) => "time".to_owned(),
        ("string", Some("date")) => "day".to_owned(),
        (kind, _) => kind.to_owned(),
    }
}

impl Reference {
    fn payload(&mut self, title: &str, schema: &Value) {
        writeln!(self.text, "### {title}\n\n{}\n\n| field | type | meaning |\n|---|---|---|", words(schema))
            .unwrap();
        let nothing = Map::new();
        let definitions = schema["$defs"].as_object().unwrap_or(&nothing);
        self.fields("", schema, definitions);
        self.text.push('\n');
    }

    fn fields(&mut self, within: &str, schema: &Value, definitions: &Map<String, Value>) {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let optional = !required.iter().any(|required| required == name);
            self.field(&format!("{within}{name}"), field, optional, definitions);
        }
    }

    fn field(&mut self, name: &str, schema: &Value, optional: bool, definitions: &Map<String, Value>) {
        let list = schema["type"] == "array" || schema["type"][0] == "array";
        let item = if list { &schema["items"] } else { schema };
        let definition = referred(item).and_then(|of| definitions.get_key_value(of));
        let is_object = definition.is_some_and(|(_, of)| of["type"] == "object");
        let kind = match definition {
            Some((of, found)) if found["oneOf"].is_array() => {
                self.codes.entry(of.clone()).or_insert_with(|| (words(found), codes(found)));
                format!("[{of}](#{})", of.to_lowercase())
            }
            Some((_, found)) => plain_type(found),
            None => plain_type(item),
        };
        let kind = if list { format!("list of {kind}") } else { kind };
        let or_null = if nullable(schema) { " or null" } else { "" };
        let may_lack = if optional && !nullable(schema) { ", may be absent" } else { "" };
        writeln!(self.text, "| `{name}` | {kind}{or_null}{may_lack} | {} |", words(schema)).unwrap();
        if let Some((_, found)) = definition.filter(|_| is_object) {
            let dots = if list { "[]." } else { "." };
            self.fields(&format!("{name}{dots}"), found, definitions);
        }
    }

    fn finish(mut self) -> String {
        for (name, (what, codes)) in &self.codes {
            writeln!(self.text, "### {name}\n\n{what}\n\n| code | meaning |\n|---|---|").unwrap();
            for (code, meaning) in codes {
                writeln!(self.text, "| `{code}` | {meaning} |").unwrap();
            }
            self.text.push('\n');
        }
        self.text
    }
}

/// Plain codes, or the variants of an object that a field `name` tells apart.
fn codes(schema: &Value) -> Vec<(String, String)> {
    let all = schema["oneOf"].as_array().into_iter().flatten();
    all.map(|variant| {
        let plain = variant["const"].as_str();
        let code = plain.or_else(|| variant["properties"]["name"]["const"].as_str()).unwrap();
        let others = variant["properties"].as_object().into_iter().flatten();
        let fields: String = others
            .filter(|(name, _)| *name != "name")
            .map(|(name, field)| format!(" `{name}`: {}", words(field)))
            .collect();
        (code.to_owned(), words(variant) + &fields)
    })
    .collect()
}

#[test]
fn the_readme_documents_every_field_and_code() {
    let schemas = contract::schema::all();
    let mut reference = Reference::default();
    for (file, title) in PAYLOADS {
        let (_, schema) = schemas.iter().find(|(name, _)| *name == file).unwrap();
        reference.payload(title, schema.as_value());
    }
    let made = reference.finish();
    for known in
        ["| `seq` | integer", "| `views[].rejected.reason` |", "| `not_a_radiograph` |", "### DropReason"]
    {
        assert!(made.contains(known), "{known} is not documented");
    }
    assert!(!made.contains("|  |"), "a field or code without a meaning:\n{made}");

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let page = fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once(BEGIN).unwrap();
    let (_, tail) = rest.split_once(END).unwrap();
    let expected = format!("{head}{BEGIN}\n{made}{END}{tail}");
    if std::env::var_os("ULNA_BLESS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap() == expected,
        "README.md is not what the types say; run `make schemas`"
    );
}
