//! WebDriver (<https://www.w3.org/TR/webdriver2/>): JSON over HTTP to a driver on this machine.
//!
//! The crates that speak it bring an asynchronous HTTP stack and have half of the workspace built with other features;
//! the tests need six of its commands.

use anyhow::Context;
use serde_json::{Value, json};

use crate::http;

/// A driver, and the session in it.
pub struct Driver {
    port: u16,
    session: String,
}

impl Driver {
    /// The driver that listens on a port of 127.0.0.1.
    pub fn new(port: u16) -> Self {
        Self { port, session: String::new() }
    }

    /// Begins a session: starts the browser.
    ///
    /// # Errors
    /// When it does not start.
    pub fn begin(&mut self, capabilities: Value) -> anyhow::Result<()> {
        let body = json!({"capabilities": {"alwaysMatch": capabilities}});
        let begun = self.ask("POST", "/session", &body).context("cannot start the browser")?;
        let id = begun["sessionId"].as_str().context("the driver began a session without a name")?;
        self.session = format!("/session/{id}");
        Ok(())
    }

    /// Ends the session: closes the browser.
    ///
    /// # Errors
    /// When the driver does not answer.
    pub fn end(&mut self) -> anyhow::Result<()> {
        let session = std::mem::take(&mut self.session);
        if session.is_empty() {
            return Ok(());
        }
        self.ask("DELETE", &session, &Value::Null).map(drop)
    }

    /// A command of the session that asks for something.
    ///
    /// # Errors
    /// When the driver refuses it, with its words.
    pub fn get(&self, command: &str) -> anyhow::Result<Value> {
        self.ask("GET", &format!("{}/{command}", self.session), &Value::Null)
    }

    /// A command of the session that does something.
    ///
    /// # Errors
    /// As [`Driver::get`].
    pub fn post(&self, command: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask("POST", &format!("{}/{command}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut answer = http::ask(self.port, method, path, "application/json", body.as_bytes())?.json()?;
        let value = answer["value"].take();
        if let Some(error) = value.get("error").and_then(Value::as_str) {
            let message = value["message"].as_str().unwrap_or_default();
            anyhow::bail!("{method} {path} {body}: {error}: {message}");
        }
        Ok(value)
    }
}
